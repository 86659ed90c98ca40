//! Act 2. The same command works on one dyno and fails on the other.
//!
//! It was run during the incident, in the environment of both dynos at once.

use report::DynoRun;

use super::super::{Shown, Tale};

pub(crate) fn play(tale: &Tale) -> Shown {
    let compare = tale.incident.as_ref().and_then(|take| take.compare.as_ref());
    let Some(compare) = compare else {
        return Shown { ok: false, sentence: "the command was not run".into(), details: vec![] };
    };
    let works = |run: &&DynoRun| run.status == 200;
    let good = compare.runs.iter().find(works);
    let bad = compare.runs.iter().find(|run| !works(run));
    let sentence = match (good, bad) {
        (Some(good), Some(bad)) => format!(
            "the same curl gives {} on {} and {} on {} ({} of {} tries against {})",
            good.status,
            good.dyno,
            bad.status,
            bad.dyno,
            bad.failed_tries,
            bad.tries,
            good.failed_tries
        ),
        _ => "the command gave the same on both dynos in every try".to_owned(),
    };
    let line = |run: &DynoRun| {
        format!(
            "{}: {} in {:.0} ms, {} database requests of which {} failed",
            run.dyno,
            run.output.trim(),
            run.elapsed.as_millis_f64(),
            run.database_requests,
            run.database_failures
        )
    };
    let details = std::iter::once(compare.command.clone()).chain(compare.runs.iter().map(line));
    Shown { ok: good.is_some() && bad.is_some(), sentence, details: details.collect() }
}
