//! Config vars, releases and log drains.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HeaderMap, RANGE};
use serde::Deserialize;

use super::answer::{Answered, Fault, created, ok, read};
use super::{Shared, resources};
use crate::control;
use crate::release::{ConfigChanges, Release};

pub(super) fn config(shared: &Shared) -> Answered {
    ok(&shared.staging.platform.releases.config_vars())
}

pub(super) async fn configure(shared: &Arc<Shared>, body: Incoming) -> Answered {
    let changes: ConfigChanges = read(body).await?;
    let releases = &shared.staging.platform.releases;
    releases.set_config(changes).await?;
    ok(&releases.config_vars())
}

/// What clients ask of a list: `version ..; order=desc, max=15`.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    descending: bool,
    most: usize,
}

impl Range {
    fn of(headers: &HeaderMap) -> Self {
        let text = headers.get(RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
        let options = text.split_once(';').map_or("", |(_, options)| options);
        let mut range = Self { descending: false, most: 200 };
        for option in options.split(',').map(str::trim) {
            match option.split_once('=') {
                Some(("order", order)) => range.descending = order == "desc",
                Some(("max", most)) => range.most = most.parse().unwrap_or(range.most).min(1000),
                _ => {}
            }
        }
        range
    }
}

pub(super) fn releases(shared: &Shared, headers: &HeaderMap) -> Answered {
    let range = Range::of(headers);
    let releases = &shared.staging.platform.releases;
    let current = releases.current_version();
    let mut all = releases.list();
    if !range.descending {
        all.reverse();
    }
    all.truncate(range.most);
    let shown =
        |release: &Release| resources::release(shared, release, current == Some(release.version));
    ok(&all.iter().map(shown).collect::<Vec<_>>())
}

/// By number, with or without `v`, or by id.
fn find(shared: &Shared, named: &str) -> Answered<Release> {
    let releases = &shared.staging.platform.releases;
    if let Ok(version) = named.trim_start_matches(['v', 'V']).parse() {
        return Ok(releases.release(version)?);
    }
    let version = releases.version(named).ok_or_else(|| Fault::not_found("release"))?;
    Ok(releases.release(version)?)
}

pub(super) fn release(shared: &Shared, named: &str) -> Answered {
    let release = find(shared, named)?;
    let current = shared.staging.platform.releases.current_version();
    let is_current = current == Some(release.version);
    ok(&resources::release(shared, &release, is_current))
}

pub(super) fn config_of(shared: &Shared, named: &str) -> Answered {
    ok(&find(shared, named)?.config_vars)
}

#[derive(Deserialize)]
struct RollbackOrder {
    release: Option<String>,
}

pub(super) async fn roll_back(shared: &Arc<Shared>, body: Incoming) -> Answered {
    let order: RollbackOrder = read(body).await?;
    let named = order
        .release
        .ok_or_else(|| Fault::invalid("Only a rollback makes a release here: name a `release`."))?;
    let version = find(shared, &named)?.version;
    let release = shared.staging.platform.releases.rollback(Some(version)).await?;
    created(&resources::release(shared, &release, true))
}

#[derive(Deserialize)]
struct AppOrder {
    maintenance: bool,
}

/// Of an app itself only the router's maintenance mode can be changed.
pub(super) async fn maintain(shared: &Arc<Shared>, body: Incoming) -> Answered {
    let order: AppOrder = read(body).await?;
    let mode = shared.staging.maintenance.as_ref();
    let mode = mode.ok_or_else(|| Fault::invalid("There is no router."))?;
    control::maintain(&*shared.staging, mode, order.maintenance);
    ok(&resources::app(shared))
}

pub(super) fn drains(shared: &Shared) -> Answered {
    let drains = shared.staging.platform.drains.list();
    ok(&drains.iter().map(resources::drain).collect::<Vec<_>>())
}

pub(super) fn drain(shared: &Shared, named: &str) -> Answered {
    ok(&resources::drain(&shared.staging.platform.drains.find(named)?))
}

#[derive(Deserialize)]
struct DrainOrder {
    url: String,
}

pub(super) async fn add_drain(shared: &Arc<Shared>, body: Incoming) -> Answered {
    let order: DrainOrder = read(body).await?;
    created(&resources::drain(&shared.staging.platform.drains.add(&order.url)?))
}

pub(super) fn remove_drain(shared: &Shared, named: &str) -> Answered {
    ok(&resources::drain(&shared.staging.platform.drains.remove(named)?))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn ranges_are_read_as_clients_write_them() {
        let range = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static(text));
            Range::of(&headers)
        };
        assert_eq!(range("version ..; order=desc,max=1"), Range { descending: true, most: 1 });
        assert_eq!(range("version ..; max=15, order=desc"), Range { descending: true, most: 15 });
        assert_eq!(range("id .."), Range { descending: false, most: 200 });
    }
}
