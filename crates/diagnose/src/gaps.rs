//! What the recording does not hold, and what therefore was not checked.

use recording::Recording;

use crate::blame::Account;
use crate::failures::Failures;
use crate::story::Story;
use crate::words::percent;

/// Books that are further off than this are told.
const BALANCED: f64 = 0.01;

/// All gaps, as sentences.
pub(crate) fn of(
    recording: &Recording,
    story: &Story<'_>,
    failures: &Failures<'_>,
    account: &Account,
) -> Vec<String> {
    let mut gaps = Vec::new();
    let lost = recording.lost();
    if lost > 0 {
        gaps.push(format!("{lost} events found no room and are missing: all counts are too low."));
    }
    if let Some(damage) = recording.truncated() {
        gaps.push(format!("The recording is damaged: {damage}."));
    }
    if story.activity.is_empty() {
        gaps.push(
            "No samples of pg_stat_activity: clients outside Surgetank and waits for locks are not \
             seen."
                .to_owned(),
        );
    }
    if story.plans.is_empty() {
        gaps.push("No plans: whether an index is missing was not checked.".to_owned());
    } else if story.tables.is_empty() {
        gaps.push("No table statistics: whether an index is missing was not checked.".to_owned());
    }
    if story.usable_slots().is_none() {
        gaps.push("No setting max_connections: how full the server was is not known.".to_owned());
    }
    if story.http.is_empty() {
        gaps.push("No HTTP requests: failures are those of database requests alone.".to_owned());
    }
    gaps.extend(not_counted(failures));
    if account.residual > BALANCED {
        gaps.push(format!(
            "{} of the failed requests' waiting could not be accounted for.",
            percent(account.residual)
        ));
    }
    gaps
}

/// HTTP failures that are not the database's.
fn not_counted(failures: &Failures<'_>) -> Vec<String> {
    let mut told = Vec::new();
    if failures.http_of_app_errors > 0 {
        told.push(format!(
            "{} failed HTTP requests came with an error of the app's own statements and are not \
             counted.",
            failures.http_of_app_errors
        ));
    }
    for (code, count) in &failures.http_of_restarts {
        let code = if code.is_empty() { "no code" } else { code };
        told.push(format!(
            "{count} failed HTTP requests ({code}) came while no dyno was up for them and are not \
             counted."
        ));
    }
    told
}
