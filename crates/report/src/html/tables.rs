//! The tables behind the charts: every row has an id that numbers elsewhere link to.

use diagnose::compare::Arm;
use diagnose::finding::{BlameShare, Diagnosis, DynoTotals, Evidence};
use maud::{Markup, html};

use super::page;
use crate::chart::DynoColours;
use crate::number::{count, fraction, p_value, percent, plural, share, span};
use crate::story::CurvePoint;
use crate::{number, words};

/// Rows of the bin table; a longer recording is better read as a file.
const BINS_MAX: usize = 200;

/// Counts per dyno, ids `dyno-1`, `dyno-2`, …
pub(super) fn dynos(dynos: &[DynoTotals], colours: &DynoColours) -> Markup {
    html! {
        div.scroll { table #dyno-table {
            caption { "Requests and connections per dyno, over the whole recording." }
            thead { tr {
                th scope="col" { "Dyno" }
                th.r scope="col" { "HTTP requests" } th.r scope="col" { "failed" }
                th.r scope="col" { "Database requests" } th.r scope="col" { "failed" }
                th.r scope="col" { "Failure rate" } th.r scope="col" { "95 % interval" }
                th.r scope="col" { "Connections held" } th.r scope="col" { "most" }
            } }
            tbody {
                @for (n, dyno) in dynos.iter().enumerate() {
                    @let [low, rate, high] = dyno.failure_rate.map(percent);
                    tr id={ "dyno-" (n + 1) } {
                        th.nw scope="row" { (page::dyno(&dyno.dyno, colours)) }
                        td.r { (count(dyno.totals.http_requests)) }
                        td.r { (count(dyno.totals.http_failures)) }
                        td.r { (count(dyno.totals.database_requests)) }
                        td.r { (count(dyno.totals.database_failures)) }
                        td.r { (rate) }
                        td.r.nw { (low) " to " (high) }
                        td.r { (fraction(dyno.held_mean)) }
                        td.r { (dyno.held_max) }
                    }
                }
            }
        } }
    }
}

/// Who held what failed requests lacked, ids `blame-1`, …
pub(super) fn blame(shares: &[BlameShare], colours: &DynoColours) -> Markup {
    html! {
        div.scroll { table #blame-table {
            caption { "Who held what the failed requests lacked. The shares add up to 100 %." }
            thead { tr {
                th scope="col" { "Holder" } th scope="col" { "Held" } th scope="col" { "While" }
                th scope="col" { "Statement" } th.r scope="col" { "Failures" }
                th.r scope="col" { "Waited" } th.r scope="col" { "Share" }
            } }
            tbody {
                @for (n, row) in shares.iter().enumerate() {
                    tr id={ "blame-" (n + 1) } {
                        th.nw scope="row" { (page::dyno(&row.dyno, colours)) }
                        td { (words::resource(row.resource)) }
                        td { (words::state(row.state)) }
                        td { code { (words::blamed_statement(row, 160)) } }
                        td.r { (fraction(row.failures)) }
                        td.r.nw { (span(row.waited)) }
                        td.r { (percent(row.share)) }
                    }
                }
            }
        } }
    }
}

/// Evidence with its sources, ids `{id}-1`, …
pub(super) fn evidence(rows: &[Evidence], id: &str, caption: &str) -> Markup {
    html! {
        div.scroll { table.evidence {
            caption { (caption) }
            thead { tr {
                th scope="col" { "Claim" } th scope="col" { "Measured" } th scope="col" { "Source" }
            } }
            tbody {
                @for (n, row) in rows.iter().enumerate() {
                    tr id={ (id) "-" (n + 1) } {
                        td { (row.claim) }
                        td { strong { (row.measured) } }
                        td.quiet { (row.source) }
                    }
                }
            }
        } }
    }
}

/// The tests on the whole recording, ids `contrast` and `coincidence`.
pub(super) fn tests(diagnosis: &Diagnosis) -> Markup {
    html! {
        @if diagnosis.contrast.is_some() || diagnosis.coincidence.is_some() {
            div.scroll { table {
                caption { "Is it chance?" }
                thead { tr {
                    th scope="col" { "Question" } th scope="col" { "Measured" }
                    th.r scope="col" { "p" } th scope="col" { "Test" }
                } }
                tbody {
                    @if let Some(c) = &diagnosis.contrast {
                        tr #contrast {
                            td { "Does " (c.dyno) " fail more than its siblings?" }
                            td { (percent(c.rate)) " against " (percent(c.rate_of_others)) }
                            td.r.nw { (p_value(c.p_value)) }
                            td.quiet { "Fisher's exact test, two-sided" }
                        }
                    }
                    @if let Some(c) = &diagnosis.coincidence {
                        tr #coincidence {
                            td { "Do failures come when query time is high?" }
                            td {
                                "median " (span(c.query_time_failing)) " in bins with failures, "
                                (span(c.query_time_healthy)) " in others; AUC "
                                (format!("{:.2}", c.auc))
                            }
                            td.r.nw { (p_value(c.p_value)) }
                            td.quiet { "Mann-Whitney's AUC against circular shifts" }
                        }
                    }
                }
            } }
        }
    }
}

/// The bins with failures, ids `bin-1`, …
pub(super) fn bins(diagnosis: &Diagnosis) -> Markup {
    let start = diagnosis.timeline.bins.first().map(|bin| bin.at).unwrap_or_default();
    let failing: Vec<_> = diagnosis.timeline.bins.iter().filter(|bin| bin.failures > 0).collect();
    html! {
        details {
            summary {
                "The numbers: " (plural(failing.len() as u64, "bin", "bins")) " of "
                (span(diagnosis.timeline.width)) " with failures"
            }
            div.scroll { table #bin-table {
                caption {
                    "Bins with failures"
                    @if failing.len() > BINS_MAX { ", the first " (BINS_MAX) }
                    "."
                }
                thead { tr {
                    th.r scope="col" { "From" } th.r scope="col" { "Requests" }
                    th.r scope="col" { "Failed" } th.r scope="col" { "Wait p95" }
                    th.r scope="col" { "Query p95" } th.r scope="col" { "Executing" }
                    @for dyno in &diagnosis.timeline.dynos { th.r scope="col" { (dyno) " held" } }
                } }
                tbody {
                    @for bin in failing.iter().take(BINS_MAX) {
                        tr {
                            th.r.nw scope="row" { (words::offset(bin.at, start)) }
                            td.r { (bin.requests) }
                            td.r { (bin.failures) }
                            td.r.nw { (span(bin.wait_p95)) }
                            td.r.nw { (span(bin.query_p95)) }
                            td.r { (bin.executing) }
                            @for held in &bin.held { td.r { (held) } }
                        }
                    }
                }
            } }
            @if !diagnosis.timeline.marks.is_empty() {
                h3 { "Marks" }
                ul {
                    @for (at, label) in &diagnosis.timeline.marks {
                        li { (words::offset(*at, start)) ": " (label) }
                    }
                }
            }
        }
    }
}

/// The load curve, ids `rate-1`, …
pub(super) fn curve(points: &[CurvePoint]) -> Markup {
    html! {
        div.scroll { table #curve-table {
            caption { "The same mix of requests at rising rates." }
            thead { tr {
                th.r scope="col" { "Requests/s" } th.r scope="col" { "Requests" }
                th.r scope="col" { "Failed" } th.r scope="col" { "Share" }
                th.r scope="col" { "95 % interval" }
            } }
            tbody {
                @for (n, point) in points.iter().enumerate() {
                    @let interval = number::wilson(point.failed, point.requests);
                    @let [low, rate, high] = interval.map(percent);
                    tr id={ "rate-" (n + 1) } {
                        th.r scope="row" { (number::rate(point.rate)) }
                        td.r { (count(point.requests)) }
                        td.r { (count(point.failed)) }
                        td.r { (rate) }
                        td.r.nw { (low) " to " (high) }
                    }
                }
            }
        } }
    }
}

/// The arms, ids `arm-1`, …
pub(super) fn arms(arms: &[Arm]) -> Markup {
    html! {
        div.scroll { table #arm-table {
            caption { "All arms met the same arrivals. Latency counts from the intended start." }
            thead { tr {
                th scope="col" { "Arm" } th.r scope="col" { "Requests" }
                th.r scope="col" { "Failed" } th.r scope="col" { "Share" }
                th.r scope="col" { "p50" } th.r scope="col" { "p99" }
                th.r scope="col" { "Restarts with failures" }
            } }
            tbody {
                @for (n, arm) in arms.iter().enumerate() {
                    tr id={ "arm-" (n + 1) } {
                        th scope="row" { (arm.name) }
                        td.r { (count(arm.requests)) }
                        td.r { (count(arm.failed)) }
                        td.r { (percent(share(arm.failed, arm.requests))) }
                        td.r.nw { (span(arm.p50)) }
                        td.r.nw { (span(arm.p99)) }
                        td.r { (arm.trials.failed) " of " (arm.trials.total) }
                    }
                }
            }
        } }
    }
}
