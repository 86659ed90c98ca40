//! Act 1. Customers see database errors now and then. The stack traces in the logs do not agree.
//!
//! The shop runs as web.1, web.2 and worker.1 at the rate of a busy hour; web.1 is restarted once,
//! as platforms do daily. That is all. If the hour was not busy enough for anything to fail, a
//! busier one is played.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use load::Ramp;
use proxy::Mode;
use recording::Recording;
use report::RunCompare;
use trace::Event;

use super::super::scene::{Restart, Scene, Take};
use super::super::{Shown, Stage, Tale};

/// How often a busier hour is looked for, if at first nothing of note fails.
const HOURS_MAX: u32 = 4;
/// How much busier each hour is.
const BUSIER: f64 = 1.3;

pub(crate) async fn play(stage: &Stage, tale: &mut Tale) -> anyhow::Result<Shown> {
    let mut take = play_hour(stage, tale).await?;
    for _ in 1..HOURS_MAX {
        if is_the_report(&take) {
            break;
        }
        // What the shop can serve was measured while the machine had other work: it can do more.
        tale.rate *= BUSIER;
        std::fs::remove_dir_all(&take.recording).context("the recording of a quiet hour")?;
        take = play_hour(stage, tale).await?;
    }
    tale.note(&take);
    tale.count_before(&take);
    let errors = error_lines(&take.recording)?;
    let (offered, failed) = (take.load.offered, take.failed());
    let shown = Shown {
        ok: failed > 0 && failed < offered && !errors.is_empty(),
        sentence: format!(
            "{failed} of {offered} requests failed at {:.0}/s, \
             with {} different errors in the logs",
            tale.rate,
            errors.len()
        ),
        details: errors.into_iter().take(6).map(|(line, n)| format!("{n}× {line}")).collect(),
    };
    tale.incident = Some(take);
    Ok(shown)
}

/// One hour of the shop's, shortened, with one restart in it.
async fn play_hour(stage: &Stage, tale: &Tale) -> anyhow::Result<Take> {
    let span = stage.timing().incident;
    // Quiet before the restart, busy after it: the hour in which a daily restart hurts.
    let quiet = span / 5;
    let ramp = Ramp::constant(tale.rate / 2.0, quiet)
        .then(Ramp::constant(tale.rate, span.saturating_sub(quiet)));
    let scene = Scene {
        name: "incident".to_owned(),
        mode: Mode::Observe,
        model: stage.customers(),
        ramp,
        seed: tale.seed,
        restarts: vec![Restart::web(1, quiet)],
        compare: Some(span * 3 / 5),
    };
    stage.play(&scene).await
}

/// Whether this is what customers reported: some requests fail, and more on one dyno than on the
/// other, so that the same command can work here and fail there.
fn is_the_report(take: &Take) -> bool {
    let failed_tries = |compare: &RunCompare| {
        compare.runs.iter().map(|run| run.failed_tries).collect::<BTreeSet<u32>>().len()
    };
    take.failed() > 0 && take.compare.as_ref().is_some_and(|compare| failed_tries(compare) > 1)
}

/// The shop's error lines, without what differs from line to line; most frequent first.
fn error_lines(recording: &std::path::Path) -> anyhow::Result<Vec<(String, u32)>> {
    let recording = Recording::read(recording).context("the incident's recording")?;
    let mut counts = BTreeMap::<String, u32>::new();
    for event in recording.events() {
        if let Event::LineLogged(line) = event {
            let without_numbers: String =
                line.text.chars().filter(|c| !c.is_ascii_digit()).collect();
            let dyno = recording.dyno_name(line.dyno);
            *counts.entry(format!("{dyno}: {without_numbers}")).or_default() += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(counts)
}
