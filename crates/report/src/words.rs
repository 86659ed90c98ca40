//! The words of the domain as prose: one word for one thing, in HTML, text and JSON alike.

use diagnose::finding::{
    Action, Advice, BlameShare, Cause, Culprit, Diagnosis, Finding, HolderState, Resource,
};
use trace::Micros;

use crate::number;
use crate::story::{StoryProof, StoryReport};

/// A cause as a heading.
pub(crate) fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::SlotExhaustion => "Connection slots used up",
        Cause::LongStatement => "Long statement in the way",
        Cause::LockPileUp => "Pile-up behind a lock",
        Cause::IdleInTransaction => "Transactions held open idle",
        Cause::MissingIndex => "Missing index",
        Cause::ServerDown => "Server down or unreachable",
        Cause::Unknown => "Unknown cause",
    }
}

/// What was scarce.
pub(crate) fn resource(resource: Resource) -> &'static str {
    match resource {
        Resource::ServerSlots => "server connections",
        Resource::Pool => "Surgetank's pool",
        Resource::Lock => "a lock",
        Resource::Execution => "execution time",
        Resource::DynoPool => "the dyno's own pool",
        Resource::Server => "the server",
    }
}

/// What a holder was doing.
pub(crate) fn state(state: HolderState) -> &'static str {
    match state {
        HolderState::Executing => "executing",
        HolderState::LockWaiting => "waiting for a lock",
        HolderState::IdleInTransaction => "idle in transaction",
        HolderState::Idle => "idle",
    }
}

/// Who is behind it, as one phrase: `web.2 (max_connections)`, `worker.1`, `SELECT …`.
pub(crate) fn culprit(culprit: &Culprit) -> Option<String> {
    let statement = culprit.statement.as_ref().map(|s| short(&s.text, 60));
    match (&culprit.dyno, statement, &culprit.resource) {
        (Some(dyno), _, Some(resource)) => Some(format!("{dyno} ({resource})")),
        (Some(dyno), Some(statement), None) => Some(format!("{dyno}: {statement}")),
        (Some(dyno), None, None) => Some(dyno.clone()),
        (None, Some(statement), _) => Some(statement),
        (None, None, resource) => resource.clone(),
    }
}

/// Who is behind it, in the fewest words: the dyno, else the resource, else the statement.
pub(crate) fn culprit_name(culprit: &Culprit) -> Option<&str> {
    let statement = culprit.statement.as_ref().map(|s| s.text.as_str());
    culprit.dyno.as_deref().or(culprit.resource.as_deref()).or(statement)
}

/// An action as an instruction, without its SQL.
pub(crate) fn action(advice: &Advice) -> String {
    match &advice.action {
        Action::CreateIndex { table, columns, .. } => {
            format!("create an index on {table} ({})", columns.join(", "))
        }
        Action::LimitPool { limit } => {
            format!("regulate: at most {limit} server connections for all dynos together")
        }
    }
}

/// The SQL of an action, where it has one.
pub(crate) fn sql(advice: &Advice) -> Option<&str> {
    match &advice.action {
        Action::CreateIndex { sql, .. } => Some(sql),
        Action::LimitPool { .. } => None,
    }
}

/// What a holder was running, one line; a dash where nothing is known.
pub(crate) fn blamed_statement(blame: &BlameShare, width: usize) -> String {
    blame.statement.as_ref().map_or_else(|| "–".to_owned(), |s| short(&s.text, width))
}

/// The text on one line, cut to `width` characters with an ellipsis; control characters, which
/// could steer a terminal, become spaces.
pub(crate) fn short(text: &str, width: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= width {
        return line;
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// Seconds from the start of the recording: `12.4 s`.
pub(crate) fn offset(at: Micros, start: Micros) -> String {
    format!("{:.1} s", at.since(start).as_secs_f64())
}

/// The text as a sentence: a capital first, a full stop last.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return String::new() };
    // Names such as `web.2` keep their spelling also at the head of a sentence.
    let word = text.split_whitespace().next().unwrap_or_default();
    let is_name = word.chars().any(|c| c.is_ascii_digit() || "._(".contains(c));
    let mut out = if is_name {
        text.to_owned()
    } else {
        first.to_uppercase().chain(chars).collect::<String>()
    };
    if !out.ends_with(['.', '!', '?', '…']) {
        out.push('.');
    }
    out
}

/// How good the news is; decides the colour beside the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// It holds, or nothing is wrong.
    Good,
    /// Something fails, and the cause is known.
    Bad,
}

/// The verdict on a diagnosis alone.
pub(crate) fn verdict(diagnosis: &Diagnosis) -> (Tone, String) {
    let (failed, requests, what) = failures(diagnosis);
    match diagnosis.top() {
        Some(top) => (Tone::Bad, format!("{} {}", sentence(&top.summary), explains(top))),
        None if failed == 0 && requests == 0 => {
            (Tone::Bad, "The recording holds no requests, so nothing can be said.".to_owned())
        }
        None if failed == 0 => {
            (Tone::Good, format!("All {} {what} succeeded.", number::count(requests)))
        }
        None => (
            Tone::Bad,
            format!(
                "{} of {} {what} failed, and the recording names no cause.",
                number::count(failed),
                number::count(requests)
            ),
        ),
    }
}

fn explains(finding: &Finding) -> String {
    let confidence = number::percent(finding.confidence);
    if finding.failures_explained < 0.5 {
        return format!("No failure came of it yet (confidence {confidence}).");
    }
    let failures = number::fraction(finding.failures_explained);
    let what = if failures == "1" { "failure" } else { "failures" };
    format!("It explains {failures} {what} (confidence {confidence}).")
}

/// Failures, requests, and what kind they are: HTTP where there was any, else the database's.
pub(crate) fn failures(diagnosis: &Diagnosis) -> (u64, u64, &'static str) {
    let totals = &diagnosis.totals;
    if totals.http_requests > 0 {
        (totals.http_failures, totals.http_requests, "HTTP requests")
    } else {
        (totals.database_failures, totals.database_requests, "database requests")
    }
}

/// The verdict on the whole story.
pub(crate) fn story_verdict(story: &StoryReport<'_>) -> (Tone, String) {
    if let Some((n, act)) = story.acts.iter().enumerate().find(|(_, act)| !act.ok) {
        let what = sentence(&act.sentence);
        return (Tone::Bad, format!("Act {} ({}) did not hold: {what}", n + 1, act.name));
    }
    let mut parts = Vec::new();
    if let Some(top) = story.diagnosis.and_then(Diagnosis::top) {
        parts.push(sentence(&top.summary));
    }
    if let Some(arm) = story.fixed_arm() {
        let outcome = if arm.failed == 0 {
            format!("none of {} requests failed", number::count(arm.requests))
        } else {
            format!("{} of {} requests still failed", number::count(arm.failed), arm.requests)
        };
        parts.push(format!("With {} under the same arrivals, {outcome}.", arm.name));
    }
    parts.extend(story.proof.as_ref().map(proof));
    if parts.is_empty() {
        parts.push("The story has not been told to its end.".to_owned());
    }
    let good = story.is_ok() && story.fixed_arm().is_none_or(|arm| arm.failed == 0);
    (if good { Tone::Good } else { Tone::Bad }, parts.join(" "))
}

/// The uptime proof as a sentence.
fn proof(told: &StoryProof) -> String {
    let reached = told.proof.confidence >= told.asked;
    format!(
        "Chance {} {} (asked: {}).",
        if reached { "is ruled out at" } else { "is ruled out only at" },
        number::confidence(told.proof.confidence),
        number::confidence(told.asked),
    )
}
