//! `surgetank demo --report FILE.html`: the eight acts as a page.

use diagnose::compare::Proof;
use maud::{Markup, html};

use super::page::{self, Entry, Key, page};
use super::{sections, tables};
use crate::chart::{self, DynoColours};
use crate::number::{self, count, percent, plural, share, span};
use crate::story::{DynoRun, Part, RunCompare, StoryProof, StoryReport};
use crate::words::{self, Tone};

/// The story as one self-contained HTML file. Parts that the run did not reach are left out.
#[must_use]
pub fn story(story: &StoryReport<'_>) -> String {
    let colours = colours(story);
    let (tone, sentence) = words::story_verdict(story);
    let compare = story.run_compare.as_ref().map(|c| run_compare(c, &colours)).unwrap_or_default();
    let diagnosed = story.diagnosis.map(sections::gap_texts).into_iter().flatten();
    let gaps: Vec<&str> = diagnosed.chain(story.gaps.iter().map(String::as_str)).collect();
    let body = html! {
        (page::verdict(&sentence, tone == Tone::Good, &keys(story)))
        (acts(story))
        (baseline(story, &colours))
        @if let Some(diagnosis) = story.diagnosis {
            (sections::timeline(diagnosis, &colours))
            (sections::dynos(diagnosis, &colours, &compare))
            (sections::causes(diagnosis, &colours))
        } @else if story.run_compare.is_some() {
            section #dynos { h2 { "Which dyno fails" } (compare) }
        }
        @if !story.curve.is_empty() { (curve(story)) }
        @if !story.arms.is_empty() { (arms(story)) }
        @if let Some(told) = &story.proof { (proof(told)) }
        (page::gaps(&gaps))
        (reproduce(story))
    };
    let subtitle = format!("{} · seed {}", story.generated_at, story.seed);
    page(&story.title, &subtitle, &contents(story), &body)
}

/// One table of colours for the whole story.
fn colours(story: &StoryReport<'_>) -> DynoColours {
    let counted = story.baseline.by_dyno.iter().map(|dyno| dyno.dyno.as_str());
    let run = story.run_compare.iter().flat_map(|c| &c.runs).map(|run| run.dyno.as_str());
    let diagnosed = story.diagnosis.iter().flat_map(|d| {
        let blamed = d.blame.iter().map(|share| share.dyno.as_str());
        d.dynos.iter().map(|dyno| dyno.dyno.as_str()).chain(blamed)
    });
    let drawn = story.diagnosis.iter().flat_map(|d| d.timeline.dynos.iter().map(String::as_str));
    DynoColours::new(counted.chain(run).chain(diagnosed).chain(drawn))
}

/// Whether the page has this part: links go only where something is.
fn has(story: &StoryReport<'_>, part: Part) -> bool {
    match part {
        Part::Baseline => story.baseline.requests > 0,
        Part::RunCompare => story.run_compare.is_some(),
        Part::Timeline | Part::Causes => story.diagnosis.is_some(),
        Part::Curve => !story.curve.is_empty(),
        Part::Arms => !story.arms.is_empty(),
        Part::Proof => story.proof.is_some(),
    }
}

fn anchor(part: Part) -> Entry {
    match part {
        Part::Baseline => ("baseline", "Before"),
        Part::RunCompare => ("run-compare", "Same command, two dynos"),
        Part::Timeline => ("timeline", "When it fails"),
        Part::Curve => ("curve", "Under load"),
        Part::Causes => ("causes", "Why it fails"),
        Part::Arms => ("arms", "The fix"),
        Part::Proof => ("proof", "Proof"),
    }
}

fn contents(story: &StoryReport<'_>) -> Vec<Entry> {
    let parts = [
        Part::Baseline,
        Part::Timeline,
        Part::RunCompare,
        Part::Causes,
        Part::Curve,
        Part::Arms,
        Part::Proof,
    ];
    let mut contents = vec![("verdict", "Verdict"), ("acts", "The acts")];
    contents.extend(parts.into_iter().filter(|part| has(story, *part)).map(anchor));
    contents.extend([("gaps", "What was not checked"), ("reproduce", "How to repeat it")]);
    contents
}

fn keys(story: &StoryReport<'_>) -> Vec<Key> {
    let mut keys = Vec::new();
    if has(story, Part::Baseline) {
        let baseline = &story.baseline;
        keys.push(Key {
            anchor: "baseline-all".to_owned(),
            value: percent(share(baseline.failed, baseline.requests)),
            label: format!(
                "of requests failed before: {} of {}",
                count(baseline.failed),
                count(baseline.requests)
            ),
            class: if baseline.failed > 0 { "bad" } else { "" },
        });
    }
    keys.extend(story.diagnosis.and_then(sections::cause_key));
    if let (Some(knee), true) = (story.knee, has(story, Part::Curve)) {
        keys.push(Key {
            anchor: "curve".to_owned(),
            value: format!("{}/s", number::rate(knee)),
            label: "requests per second from which failures grow".to_owned(),
            class: "",
        });
    }
    if let Some(arm) = story.fixed_arm() {
        keys.push(Key {
            anchor: format!("arm-{}", story.arms.len()),
            value: count(arm.failed),
            label: format!("of {} requests failed with {}", count(arm.requests), arm.name),
            class: if arm.failed == 0 { "good" } else { "bad" },
        });
    }
    if let Some(told) = &story.proof {
        let reached = told.proof.confidence >= told.asked;
        keys.push(Key {
            anchor: "proof-numbers".to_owned(),
            value: number::confidence(told.proof.confidence),
            label: format!(
                "confidence that it is no luck, {} asked",
                number::confidence(told.asked)
            ),
            class: if reached { "good" } else { "bad" },
        });
    }
    keys
}

fn acts(story: &StoryReport<'_>) -> Markup {
    html! {
        section #acts {
            h2 { "The acts" }
            div.scroll { table {
                thead { tr {
                    th scope="col" { "Act" } th scope="col" { "What it showed" }
                    th scope="col" { "Evidence" } th.r scope="col" { "Time" } th scope="col" { "" }
                } }
                tbody {
                    @for (n, act) in story.acts.iter().enumerate() {
                        tr id={ "act-" (n + 1) } {
                            th.nw scope="row" { (n + 1) ". " (act.name) }
                            td {
                                (words::sentence(&act.sentence))
                                @if !act.details.is_empty() {
                                    details open[!act.ok] {
                                        summary { "details" }
                                        pre { (act.details.join("\n")) }
                                    }
                                }
                            }
                            td {
                                @if let Some(part) = act.evidence.filter(|part| has(story, *part)) {
                                    @let (anchor, name) = anchor(part);
                                    a href={ "#" (anchor) } { (name) }
                                }
                            }
                            td.r.nw { (format!("{:.1} s", act.seconds)) }
                            td.nw { (page::mark(act.ok)) }
                        }
                    }
                }
            } }
        }
    }
}

fn baseline(story: &StoryReport<'_>, colours: &DynoColours) -> Markup {
    let baseline = &story.baseline;
    let row = |requests: u64, failed: u64| {
        html! {
            td.r { (count(requests)) } td.r { (count(failed)) }
            td.r { (percent(share(failed, requests))) }
        }
    };
    html! {
        @if has(story, Part::Baseline) {
            section #baseline {
                h2 { "Before anything was changed" }
                div.scroll { table {
                    thead { tr {
                        th scope="col" { "Dyno" } th.r scope="col" { "Requests" }
                        th.r scope="col" { "Failed" } th.r scope="col" { "Share" }
                    } }
                    tbody {
                        @for (n, dyno) in baseline.by_dyno.iter().enumerate() {
                            tr id={ "baseline-" (n + 1) } {
                                th scope="row" { (page::dyno(&dyno.dyno, colours)) }
                                (row(dyno.requests, dyno.failed))
                            }
                        }
                        tr #baseline-all {
                            th scope="row" { "all" } (row(baseline.requests, baseline.failed))
                        }
                    }
                } }
            }
        }
    }
}

/// The same command side by side.
fn run_compare(compare: &RunCompare, colours: &DynoColours) -> Markup {
    let line = |name: &str, cell: &dyn Fn(&DynoRun) -> Markup| {
        html! { tr { th scope="row" { (name) } @for run in &compare.runs { td { (cell(run)) } } } }
    };
    let text = |text: String| html! { (text) };
    html! {
        div #run-compare {
            h3 { "The same command on each dyno" }
            pre { code { (compare.command) } }
            div.scroll { table {
                thead { tr {
                    th scope="col" { "" }
                    @for run in &compare.runs {
                        th scope="col" { (page::dyno(&run.dyno, colours)) }
                    }
                } }
                tbody {
                    (line("Status", &|run| text(run.status.to_string())))
                    (line("Output", &|run| html! { pre { (run.output) } }))
                    (line("Time", &|run| text(span(run.elapsed))))
                    (line("Database requests", &|run| text(count(run.database_requests))))
                    (line("of these failed", &|run| text(count(run.database_failures))))
                    (line("Tries that failed", &|run| {
                        text(format!("{} of {}", run.failed_tries, run.tries))
                    }))
                    (line("Environment that differs", &|run| html! {
                        @for (name, value) in &run.environment { code { (name) "=" (value) } br; }
                    }))
                }
            } }
        }
    }
}

fn curve(story: &StoryReport<'_>) -> Markup {
    html! {
        section #curve {
            h2 { "Only under load" }
            @if let Some(knee) = story.knee {
                p {
                    @let rate = format!("{} requests per second", number::rate(knee));
                    "Failures grow from " (page::number("curve-table", &rate)) "."
                }
            } @else {
                p { "No rate was found from which failures grow." }
            }
            (page::figure(&chart::load_curve(&story.curve, story.knee), "chart-curve"))
            (tables::curve(&story.curve))
        }
    }
}

fn arms(story: &StoryReport<'_>) -> Markup {
    let last = format!("arm-{}", story.arms.len());
    html! {
        section #arms {
            h2 { "The fix, measured" }
            @if let (Some(before), Some(after)) = (story.baseline_arm(), story.fixed_arm()) {
                p {
                    "From " (before.name) " to " (after.name) ": failures from "
                    (page::number("arm-1", &count(before.failed))) " to "
                    (page::number(&last, &count(after.failed))) ", 99th percentile from "
                    (page::number("arm-1", &span(before.p99))) " to "
                    (page::number(&last, &span(after.p99))) "."
                }
            }
            (page::figure(&chart::arms(&story.arms), "chart-arms"))
            (tables::arms(&story.arms))
        }
    }
}

fn proof(told: &StoryProof) -> Markup {
    let Proof { before, after, p_value, needed, .. } = told.proof;
    let row = |name: &str, value: String| {
        html! { tr { th scope="row" { (name) } td { (value) } } }
    };
    let failed = |failed: u32, total: u32| format!("{failed} of {total} with failures");
    html! {
        section #proof {
            h2 { "Proof" }
            p {
                "A restart under load is a trial: requests could have failed. After the fix "
                (page::number("proof-numbers", &plural(u64::from(after.total), "trial", "trials")))
                " ran; the longest time without a failed request is "
                (page::number("proof-numbers", &span(told.failure_free))) "."
            }
            (page::figure(&chart::uptime_proof(told), "chart-proof"))
            div.scroll { table #proof-numbers {
                tbody {
                    (row("Restarts before the fix", failed(before.failed, before.total)))
                    (row("Restarts after it", failed(after.failed, after.total)))
                    (row("Time without a failure", span(told.failure_free)))
                    (row("Chance, had the fix changed nothing", number::p_value(p_value)))
                    (row("Confidence", number::confidence(told.proof.confidence)))
                    (row("Asked", number::confidence(told.asked)))
                    (row("Restarts without failure needed for it",
                        needed.map_or_else(|| "no number would do".to_owned(), |n| n.to_string())))
                }
            } }
        }
    }
}

fn reproduce(story: &StoryReport<'_>) -> Markup {
    html! {
        section #reproduce {
            h2 { "How to repeat it" }
            @if !story.reproduce.is_empty() { pre { code { (story.reproduce.join("\n")) } } }
            p { "The seed is " strong { (story.seed) } ": it fixes the arrivals of every arm." }
            @if !story.recordings.is_empty() {
                div.scroll { table {
                    caption { "Recordings" }
                    thead { tr { th scope="col" { "What" } th scope="col" { "Where" } } }
                    tbody { @for file in &story.recordings {
                        tr { th scope="row" { (file.name) } td { code { (file.path) } } }
                    } }
                } }
            }
            @if !story.versions.is_empty() {
                div.scroll { table {
                    caption { "Versions" }
                    thead { tr { th scope="col" { "What" } th scope="col" { "Version" } } }
                    tbody { @for (name, version) in &story.versions {
                        tr { th scope="row" { (name) } td { (version) } }
                    } }
                } }
            }
        }
    }
}
