//! How things look in JSON: the fields of Heroku's schema that its command line reads, and those
//! beside them that cost nothing.

use serde_json::{Value, json};
use trace::DynoState;

use super::Shared;
use crate::drains::Drain;
use crate::dyno::{DynoInfo, Size};
use crate::hash::fnv1a;
use crate::release::Release;
use crate::router::Maintenance;

/// ISO 8601 in UTC, as everywhere in the API.
pub(super) fn time(micros: u64) -> String {
    let micros = i64::try_from(micros).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A UUID that is always the same for the same words.
fn id_of(words: &str) -> String {
    let half = |salt: &str| fnv1a(format!("{salt}{words}").as_bytes());
    crate::random::uuid_of(half("a"), half("b"))
}

pub(super) fn account(shared: &Shared) -> Value {
    let user = &shared.staging.platform.releases.app().user;
    json!({ "id": id_of(user), "email": user, "name": user, "verified": true })
}

pub(super) fn app(shared: &Shared) -> Value {
    let releases = &shared.staging.platform.releases;
    let (oldest, newest) = releases.span().unzip();
    let user = &releases.app().user;
    json!({
        "id": shared.identity.app_id,
        "name": shared.name,
        "owner": { "id": id_of(user), "email": user },
        "generation": { "id": id_of("cedar"), "name": "cedar" },
        "process_tier": "production",
        "space": null,
        "team": null,
        "maintenance": shared.staging.maintenance.as_ref().is_some_and(Maintenance::is_on),
        "web_url": shared.staging.info["router"].as_str().map(|router| format!("http://{router}/")),
        "created_at": oldest.map(time),
        "updated_at": newest.map(time),
        "released_at": newest.map(time),
    })
}

/// App and name together, as other resources refer to it.
pub(super) fn app_reference(shared: &Shared) -> Value {
    json!({ "id": shared.identity.app_id, "name": shared.name })
}

pub(super) fn dyno(shared: &Shared, dyno: &DynoInfo) -> Value {
    let name = dyno.name.to_string();
    let release_id = shared.staging.platform.releases.id(dyno.release);
    json!({
        "id": id_of(&format!("{} {name}", shared.identity.app_id)),
        "app": app_reference(shared),
        "name": name,
        "type": dyno.name.process_type(),
        "command": dyno.command,
        "state": state(dyno.state),
        "size": dyno.size,
        "attach_url": null,
        "release": { "id": release_id, "version": dyno.release },
        "created_at": time(dyno.since.0),
        "updated_at": time(dyno.since.0),
    })
}

/// Heroku's words for states, of which there is none for one that is being stopped.
fn state(state: DynoState) -> &'static str {
    match state {
        DynoState::Starting => "starting",
        DynoState::Up => "up",
        DynoState::Crashed => "crashed",
        DynoState::Stopping | DynoState::Down => "down",
    }
}

pub(super) fn formation(
    shared: &Shared,
    process_type: &str,
    (quantity, size): (u32, Size),
    command: &str,
) -> Value {
    json!({
        "id": id_of(&format!("{} {process_type}", shared.identity.app_id)),
        "app": app_reference(shared),
        "type": process_type,
        "quantity": quantity,
        "size": size,
        "command": command,
    })
}

pub(super) fn drain(drain: &Drain) -> Value {
    json!({ "id": drain.id, "token": drain.token, "url": drain.url, "addon": null })
}

pub(super) fn release(shared: &Shared, release: &Release, current: bool) -> Value {
    json!({
        "id": release.id,
        "app": app_reference(shared),
        "version": release.version,
        "description": release.description,
        "status": release.status,
        "current": current,
        "eligible_for_rollback": release.is_eligible(),
        "user": { "id": id_of(&release.user), "email": release.user },
        "slug": release.slug.as_deref().map(|slug| json!({ "id": id_of(slug), "commit": slug })),
        "addon_plan_names": [],
        "output_stream_url": null,
        "created_at": time(release.created_at),
        "updated_at": time(release.created_at),
    })
}
