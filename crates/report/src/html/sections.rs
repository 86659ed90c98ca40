//! The sections that a diagnosis and a story have in common.

use diagnose::finding::{Advice, Culprit, Diagnosis, Evidence, Finding};
use maud::{Markup, html};

use super::{page, tables};
use crate::chart::{self, DynoColours};
use crate::number::{fraction, p_value, percent, plural, span};
use crate::words;

/// Failures, waits and query time over time.
pub(super) fn timeline(diagnosis: &Diagnosis, colours: &DynoColours) -> Markup {
    html! {
        section #timeline {
            h2 { "When it fails" }
            @if let Some(c) = &diagnosis.coincidence {
                p {
                    "In time with failures the median query takes "
                    (page::number("coincidence", &span(c.query_time_failing))) ", at other times "
                    (page::number("coincidence", &span(c.query_time_healthy))) " ("
                    (page::number("coincidence", &format!("p = {}", p_value(c.p_value)))) ")."
                }
            }
            @if diagnosis.timeline.bins.is_empty() {
                p { "The recording is too short for a timeline." }
            } @else {
                (page::figure(&chart::timeline(&diagnosis.timeline, colours), "chart-timeline"))
                (tables::bins(diagnosis))
            }
        }
    }
}

/// Which dyno fails.
pub(super) fn dynos(diagnosis: &Diagnosis, colours: &DynoColours, beside: &Markup) -> Markup {
    html! {
        section #dynos {
            h2 { "Which dyno fails" }
            @if let Some(c) = &diagnosis.contrast {
                p {
                    (c.dyno) " fails in " (page::number("contrast", &percent(c.rate)))
                    " of its requests, its siblings in "
                    (page::number("contrast", &percent(c.rate_of_others)))
                    " (Fisher's exact test, "
                    (page::number("contrast", &format!("p = {}", p_value(c.p_value)))) ")."
                }
            }
            @if !diagnosis.dynos.is_empty() {
                (page::figure(&chart::dyno_contrast(&diagnosis.dynos, colours), "chart-dynos"))
                (tables::dynos(&diagnosis.dynos, colours))
            }
            (tables::tests(diagnosis))
            (beside)
        }
    }
}

/// The causes with all that speaks for and against them, and the blame.
pub(super) fn causes(diagnosis: &Diagnosis, colours: &DynoColours) -> Markup {
    html! {
        section #causes {
            h2 { "Why it fails" }
            @if diagnosis.findings.is_empty() {
                p { "Nothing in the recording asks for a cause." }
            }
            @for (n, finding) in diagnosis.findings.iter().enumerate() { (cause(n + 1, finding)) }
            @if !diagnosis.blame.is_empty() {
                h3 { "Blame" }
                (tables::blame(&diagnosis.blame, colours))
            }
            @if !diagnosis.advice.is_empty() {
                h3 { "Advice" }
                @for (n, advice) in diagnosis.advice.iter().enumerate() {
                    (recommend(n + 1, advice))
                }
            }
        }
    }
}

fn cause(n: usize, finding: &Finding) -> Markup {
    let id = format!("cause-{n}");
    html! {
        article id=(id) {
            h3 {
                (n) ". " (words::cause(finding.cause))
                span.tag { "explains at least " (percent(finding.confidence)) }
                span.tag { (fraction(finding.failures_explained)) " failures explained" }
            }
            p { (words::sentence(&finding.summary)) (measured(&id, &finding.evidence_for)) }
            dl {
                (culprit(&finding.culprit))
                dt { "Fix" } dd { (finding.fix) }
                dt { "Disproved if" } dd { (finding.disproof) }
            }
            @if !finding.evidence_for.is_empty() {
                (tables::evidence(&finding.evidence_for, &format!("{id}-for"), "Speaks for it"))
            }
            @if !finding.evidence_against.is_empty() {
                @let rows = format!("{id}-against");
                (tables::evidence(&finding.evidence_against, &rows, "Speaks against it"))
            }
        }
    }
}

/// The strongest measurement as a link to its row.
fn measured(id: &str, evidence: &[Evidence]) -> Markup {
    html! {
        @if let Some(first) = evidence.first() {
            " (" (page::number(&format!("{id}-for-1"), &first.measured)) ")"
        }
    }
}

fn culprit(culprit: &Culprit) -> Markup {
    html! {
        @if let Some(dyno) = &culprit.dyno { dt { "Dyno" } dd { (dyno) } }
        @if let Some(resource) = &culprit.resource { dt { "Resource" } dd { code { (resource) } } }
        @if let Some(statement) = &culprit.statement {
            dt { "Statement" }
            dd {
                code { (statement.text) } " "
                small { (format!("{:016x}", statement.fingerprint.0)) }
            }
        }
    }
}

fn recommend(n: usize, advice: &Advice) -> Markup {
    html! {
        article id={ "advice-" (n) } {
            p { strong { (words::sentence(&words::action(advice))) } }
            @if let Some(sql) = words::sql(advice) { pre { code { (sql) } } }
            @if !advice.because.is_empty() {
                (tables::evidence(&advice.because, &format!("advice-{n}-because"), "Because"))
            }
        }
    }
}

/// A count of failures for a key number, with what it counts.
pub(super) fn failed_key(diagnosis: &Diagnosis) -> page::Key {
    let (failed, requests, what) = words::failures(diagnosis);
    page::Key {
        anchor: "dyno-table".to_owned(),
        value: percent(crate::number::share(failed, requests)),
        label: format!("of {what} failed: {}", plural(failed, "failure", "failures")),
        class: if failed > 0 { "bad" } else { "good" },
    }
}

/// The top cause as a key number.
pub(super) fn cause_key(diagnosis: &Diagnosis) -> Option<page::Key> {
    let top = diagnosis.top()?;
    let culprit = words::culprit_name(&top.culprit).unwrap_or("no culprit");
    Some(page::Key {
        anchor: "cause-1".to_owned(),
        value: words::short(culprit, 24),
        label: format!(
            "{}, confidence {}",
            words::cause(top.cause).to_lowercase(),
            percent(top.confidence)
        ),
        class: "",
    })
}

/// The gaps of a diagnosis as text.
pub(super) fn gap_texts(diagnosis: &Diagnosis) -> impl Iterator<Item = &str> {
    diagnosis.gaps.iter().map(String::as_str)
}
