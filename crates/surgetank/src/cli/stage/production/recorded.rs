//! A recording: what it shows of the place it was made at.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use recording::Recording;
use trace::{DynoId, Event, Micros, Outcome, RequestKind};

use super::{ConfigVar, Dynos, Production};

/// So many answers are looked at before the quickest of them says how far PostgreSQL is.
const ANSWERS_MIN: usize = 50;
/// Of the quickest answers, so many in a hundred are left out as luck.
const LUCK_PERCENT: usize = 1;
/// A round trip below this is that of the same machine, and not worth imitating.
const NEAR: Duration = Duration::from_micros(200);

pub(super) fn read(folder: &Path) -> anyhow::Result<Production> {
    let recording =
        Recording::read(folder).with_context(|| format!("recording {}", folder.display()))?;
    let mut production = of(recording.events());
    if production.formation.is_empty() {
        production.notes.push("the recording names no dyno such as `web.1`".to_owned());
    }
    production.diagnosis = Some(diagnose::diagnose(&recording));
    Ok(production)
}

fn of(events: &[Event]) -> Production {
    let mut production = Production::default();
    let mut released = false;
    let mut names: BTreeMap<DynoId, &str> = BTreeMap::new();
    let mut seen: BTreeSet<DynoId> = BTreeSet::new();
    let mut sizes: BTreeMap<DynoId, &str> = BTreeMap::new();
    let mut answers: Vec<Micros> = Vec::new();
    for event in events {
        match event {
            Event::DynoNamed { dyno, name, .. } => {
                names.insert(*dyno, name);
            }
            Event::DynoSized { dyno, size, .. } => {
                sizes.insert(*dyno, size);
            }
            Event::ReleaseDeployed { config, .. } => {
                released = true;
                let var = |name: &str| {
                    let (name, value) = (name.to_owned(), None);
                    ConfigVar { name, value, required: true }
                };
                production.config = config.iter().map(|name| var(name)).collect();
            }
            Event::SettingSeen { name, value, .. } => {
                production.settings.insert(name.to_string(), value.to_string());
            }
            Event::TableSampled(sample) => {
                production.tables.insert(sample.table.to_string(), sample.live_rows);
            }
            Event::SessionOpened { dyno, .. } | Event::DynoStateChanged { dyno, .. } => {
                seen.insert(*dyno);
            }
            Event::Request(request) => {
                seen.insert(request.dyno);
                // What fails may never have reached PostgreSQL.
                if request.kind != RequestKind::Connect && request.outcome == Outcome::Ok {
                    answers.push(request.server());
                }
            }
            _ => {}
        }
    }
    for (dyno, name) in seen.iter().filter_map(|dyno| Some((dyno, names.get(dyno)?))) {
        let Ok(name) = name.parse::<platform::DynoName>() else { continue };
        // One-off dynos are nobody's formation.
        if matches!(name.process_type(), "run" | "release" | "scheduler") {
            continue;
        }
        let dynos: &mut Dynos = production.formation.entry(name.process_type().into()).or_default();
        dynos.quantity += 1;
        // Of several sizes of one type, as after a change, any: that of the dyno named last.
        dynos.size = sizes.get(dyno).map(|size| (*size).to_owned()).or(dynos.size.take());
    }
    if sizes.is_empty() {
        production.notes.push("the recording holds no sizes of dynos".to_owned());
    }
    if !released {
        production.notes.push("the recording holds no names of config vars".to_owned());
    }
    production.round_trip = round_trip(answers);
    production
}

/// At most this: even the quickest statement takes PostgreSQL some time.
fn round_trip(mut answers: Vec<Micros>) -> Option<Duration> {
    if answers.len() < ANSWERS_MIN {
        return None;
    }
    answers.sort_unstable();
    let quick = answers[answers.len() * LUCK_PERCENT / 100].to_duration();
    (quick >= NEAR).then_some(quick)
}

#[cfg(test)]
mod tests {
    use testkit::golden::{Ask, Story, ms};

    use super::*;

    #[test]
    fn a_recording_says_formation_settings_and_distance() {
        let mut story = Story::new();
        story.setting("max_connections", "120");
        story.setting("server_version", "15.4");
        let select = story.statement("SELECT 1");
        for name in ["web.1", "web.2", "worker.1", "run.1234"] {
            let dyno = story.dyno(name);
            if !name.starts_with("run") {
                story.size(dyno, if name == "web.2" { "Standard-2X" } else { "Standard-1X" });
            }
            let connection = story.connection(dyno, ms(0), ms(10_000));
            story.every(ms(50), ms(100), ms(9_000), |story, at| {
                story.request(connection, Ask::at(at).of(select).server(ms(3)));
            });
        }
        story.release(1, &["STRIPE_KEY"]);
        story.release(2, &["STRIPE_KEY", "LANG"]);
        let production = of(&story.events());
        let formation: Vec<_> = production
            .formation
            .iter()
            .map(|(name, it)| (name.as_str(), it.quantity, it.size.as_deref()))
            .collect();
        let sizes = [Some("Standard-2X"), Some("Standard-1X")];
        assert_eq!(formation, [("web", 2, sizes[0]), ("worker", 1, sizes[1])]);
        let config: Vec<_> = production.config.iter().map(|var| var.name.as_str()).collect();
        assert_eq!(config, ["STRIPE_KEY", "LANG"]);
        assert!(production.notes.is_empty(), "{:?}", production.notes);
        assert_eq!(production.settings["max_connections"], "120");
        assert_eq!(production.round_trip, Some(Duration::from_millis(3)));
    }

    #[test]
    fn an_older_recording_says_what_it_does_not_hold() {
        let mut story = Story::new();
        let dyno = story.dyno("web.1");
        story.connection(dyno, ms(0), ms(10));
        let production = of(&story.events());
        assert_eq!(production.formation["web"], Dynos { quantity: 1, size: None });
        assert_eq!(production.notes.len(), 2, "{:?}", production.notes);
    }

    #[test]
    fn a_near_or_unknown_server_has_no_distance() {
        assert_eq!(round_trip(vec![Micros(150); 500]), None);
        assert_eq!(round_trip(vec![Micros(5000); 10]), None);
        let mut some = vec![Micros(5000); 200];
        some[0] = Micros(1);
        assert_eq!(round_trip(some), Some(Duration::from_millis(5)));
    }
}
