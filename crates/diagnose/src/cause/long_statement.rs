//! A long statement (a report) occupies the connections or the database that others wait for.
//!
//! Necessary: a statement that takes far longer than the usual one, that no index explains, and
//! that either held a part of what failed requests lacked, or measurably did harm while it ran: its
//! runs are compared with the time just before and after each, so that neither load nor trend is
//! taken for its effect. Harm counts as far as it was measured: the failures above what the time
//! around the runs had, or that part of the failures during the runs by which the runs stretched
//! other statements.

use trace::{Fingerprint, Micros, Request};

use super::{Case, Measure, Verdict, largest, use_part};
use crate::blame::{Row, holder_name};
use crate::finding::{Cause, Culprit, Evidence, Finding, HolderState};
use crate::stats;
use crate::timeline::is_query;
use crate::words::{evidence, of, p_value, percent, short, span};
use crate::work::StatementWork;

/// A statement is long from here on …
const LONG: Micros = Micros::from_millis(250);
/// … if it also takes so many times as long as half of all executions.
const LONGER: u64 = 4;
/// Held so much of what failed requests lacked: to blame without further proof.
const HELD_ENOUGH: f64 = 0.1;
/// Chance below which a comparison of its runs counts.
const SIGNIFICANT: f64 = 0.05;
/// Others must be slowed by this factor at least.
const SLOWER: f64 = 1.2;

/// A long statement and what it did.
struct Suspect<'c> {
    statement: Fingerprint,
    work: &'c StatementWork,
    /// Its claims on the account, and the failures in them.
    claim: (Vec<f64>, f64),
    /// Its share of the blame.
    held: f64,
    /// Failures while it ran.
    meanwhile: f64,
    /// How others' statements fared while it ran.
    slowdown: Option<Paired>,
    /// How many requests failed while it ran.
    failing: Option<Paired>,
}

pub(crate) fn judge(case: &Case<'_, '_>) -> Option<Verdict> {
    let others = Others::of(case);
    let suspects = case.work.statements.iter().filter(|(statement, work)| {
        let indexed = case.scans.iter().all(|scan| scan.statement != **statement);
        indexed && work.median >= LONG && work.median.0 >= LONGER * case.work.median.0
    });
    let judged = suspects.map(|(statement, work)| Suspect::of(case, *statement, work, &others));
    let worst = judged.reduce(|a, b| if b.explained() > a.explained() { b } else { a })?;
    (case.share(worst.explained()) >= super::WORTH_A_WORD).then(|| worst.verdict(case)).flatten()
}

impl<'c> Suspect<'c> {
    fn of(
        case: &Case<'c, '_>,
        statement: Fingerprint,
        work: &'c StatementWork,
        others: &Others,
    ) -> Self {
        let episodes = work.episodes();
        let (from, to) = (case.story.from, case.story.to);
        let failures: Vec<Micros> = case.failures.list.iter().map(|failure| failure.to).collect();
        let count = |from: Micros, to: Micros| {
            let before = |at| failures.partition_point(|failure| *failure < at);
            (before(to) - before(from)) as f64
        };
        let rate = |from, to: Micros| Some(count(from, to) / to.since(from).as_secs_f64());
        let query_time = |from, to| others.mean(statement, from, to);
        let rows = case.account.rows.iter().filter(|row| is_of(row, statement));
        let held: f64 = rows.map(|row| row.failures).sum();
        Self {
            statement,
            work,
            claim: case.claim(|row| if is_of(row, statement) { use_part(row) } else { 0.0 }),
            held: held / case.account.charged.max(1.0),
            meanwhile: episodes.iter().map(|(from, to)| count(*from, *to)).sum(),
            slowdown: paired(&episodes, from, to, &query_time),
            failing: paired(&episodes, from, to, &rate),
        }
    }

    /// Failures that it explains: by what it held, or by the harm that was measured.
    fn explained(&self) -> f64 {
        let stretched = self.slows().map_or(0.0, |paired| 1.0 - 1.0 / paired.ratio);
        let more = self.fails().map_or(0.0, |paired| paired.excess);
        let harm = (self.meanwhile * stretched).max(more.min(self.meanwhile));
        let held = if self.held >= HELD_ENOUGH { self.claim.1 } else { 0.0 };
        held.max(harm)
    }

    fn slows(&self) -> Option<Paired> {
        self.slowdown.filter(|p| p.p_value < SIGNIFICANT && p.ratio >= SLOWER)
    }

    fn fails(&self) -> Option<Paired> {
        self.failing.filter(|p| p.p_value < SIGNIFICANT)
    }

    fn verdict(self, case: &Case<'_, '_>) -> Option<Verdict> {
        let statement = case.story.statement(self.statement)?;
        let explained = self.explained();
        let rows = case.account.rows.iter().filter(|row| is_of(row, self.statement));
        let blamed = largest(rows.map(|row| (row.key.holder.clone(), row.failures)));
        let holder =
            blamed.map(|(holder, _)| holder).or_else(|| self.work.holders.first().cloned())?;
        let name = holder_name(case.story, &holder);
        let finding = Finding {
            cause: Cause::LongStatement,
            confidence: case.confidence(explained, 1.0),
            failures_explained: explained,
            summary: format!(
                "{name} runs \"{}\" for {} at a time; {} of what failed requests lacked was held \
                 by it, and {} of {:.0} failures came while it ran.",
                short(&statement),
                span(self.work.median),
                percent(self.held),
                self.meanwhile,
                case.total(),
            ),
            evidence_for: self.evidence_for(case),
            evidence_against: self.evidence_against(case),
            culprit: Culprit {
                dyno: Some(name.clone()),
                statement: Some(statement),
                resource: None,
            },
            disproof:
                "As many failures under the same arrivals without this statement would prove this \
                       wrong."
                    .to_owned(),
            fix: format!(
                "Run it elsewhere (a replica), at another time, or in smaller steps; in regulate \
                 mode give {name}'s long statements a lane of their own."
            ),
        };
        Some(Verdict { finding, claims: self.claim.0 })
    }

    fn evidence_for(&self, case: &Case<'_, '_>) -> Vec<Evidence> {
        let mut list = vec![evidence(
            "it takes far longer than the usual statement",
            format!(
                "{} runs, half of them above {}; of all statements half are below {}",
                self.work.runs.len(),
                span(self.work.median),
                span(case.work.median)
            ),
            "executions on server connections, waiting for locks left out",
        )];
        if self.held > 0.0 {
            list.push(evidence(
                "it held what failed requests lacked",
                format!("{} of the blame", percent(self.held)),
                "requests on each connection while others waited or were refused",
            ));
        }
        list.extend(case.queue());
        list.extend(self.slows().map(|paired| {
            evidence(
                "other statements are slower while it runs",
                paired.told("as slow"),
                "each run against the time just before and after it, sign test",
            )
        }));
        list.extend(self.fails().map(|paired| {
            evidence(
                "more requests fail while it runs",
                format!(
                    "{:.0} failures above those of the time around; {}",
                    paired.excess,
                    paired.told("as many")
                ),
                "each run against the time just before and after it, sign test",
            )
        }));
        list
    }

    fn evidence_against(&self, case: &Case<'_, '_>) -> Vec<Evidence> {
        let mut list = Vec::new();
        if self.held < HELD_ENOUGH {
            list.push(evidence(
                "it held little of what failed requests lacked",
                format!("{} of the blame", percent(self.held)),
                "requests on each connection while others waited or were refused",
            ));
        }
        if let Some(paired) = self.failing.filter(|paired| paired.p_value >= SIGNIFICANT) {
            list.push(evidence(
                "failures do not come more often while it runs than just before and after",
                p_value(paired.p_value),
                "each run against the time just before and after it, sign test",
            ));
        }
        if let Some(chance) = case.coincidence.filter(|c| c.p_value >= SIGNIFICANT || c.auc <= 0.5)
        {
            list.push(evidence(
                "failures do not come when query time is high",
                format!("AUC {:.2}, {}", chance.auc, p_value(chance.p_value)),
                "bins of the recording, all circular shifts",
            ));
        }
        list
    }
}

fn is_of(row: &Row, statement: Fingerprint) -> bool {
    row.key.statement == statement && row.key.state == HolderState::Executing
}

/// A measure inside the runs against the same measure just outside, run by run.
#[derive(Clone, Copy, Debug)]
struct Paired {
    up: u64,
    runs: u64,
    /// Median of inside over outside, where outside was not zero.
    ratio: f64,
    /// Inside less outside, summed over the seconds of all runs.
    excess: f64,
    p_value: f64,
}

impl Paired {
    fn told(&self, what: &str) -> String {
        let p = p_value(self.p_value);
        format!("{:.1} times {what}; higher in {} runs, {p}", self.ratio, of(self.up, self.runs))
    }
}

/// Compares each episode with the stretches of up to its own length just before and after it.
fn paired(
    episodes: &[(Micros, Micros)],
    from: Micros,
    to: Micros,
    measure: Measure<'_>,
) -> Option<Paired> {
    let (mut up, mut down, mut runs) = (0, 0, 0);
    let (mut ratios, mut excess) = (Vec::new(), 0.0);
    for (i, (start, end)) in episodes.iter().enumerate() {
        let length = end.since(*start);
        let last = if i == 0 { from } else { episodes[i - 1].1 };
        let next = episodes.get(i + 1).map_or(to, |episode| episode.0);
        let before = measure_if_long(last.max(*start - length), *start, measure);
        let after = measure_if_long(*end, next.min(*end + length), measure);
        let outside = match (before, after) {
            (Some(before), Some(after)) => f64::midpoint(before, after),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => continue,
        };
        let Some(inside) = measure_if_long(*start, *end, measure) else { continue };
        runs += 1;
        excess += (inside - outside) * length.as_secs_f64();
        up += u64::from(inside > outside);
        down += u64::from(inside < outside);
        if outside > 0.0 {
            ratios.push(inside / outside);
        }
    }
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios.get(ratios.len() / 2).copied().unwrap_or(1.0);
    (runs > 0).then(|| Paired { up, runs, ratio, excess, p_value: stats::sign_test(up, down) })
}

/// Nothing can be measured in a moment.
fn measure_if_long(from: Micros, to: Micros, measure: Measure<'_>) -> Option<f64> {
    (to.since(from) >= Micros::from_millis(50)).then(|| measure(from, to)).flatten()
}

/// The server time of all queries, to be asked for its mean over any time.
struct Others {
    /// End, statement and server time of each query, by end.
    queries: Vec<(Micros, Fingerprint, f64)>,
}

impl Others {
    fn of(case: &Case<'_, '_>) -> Self {
        let queries = case.story.requests.iter().filter(|request| is_query(request));
        let told = |r: &&Request| (r.done, r.statement, r.server().as_secs_f64());
        let mut queries: Vec<_> = queries.map(told).collect();
        queries.sort_by_key(|(done, statement, _)| (*done, *statement));
        Self { queries }
    }

    /// Mean server time of the other statements that ended in this time.
    fn mean(&self, but: Fingerprint, from: Micros, to: Micros) -> Option<f64> {
        let start = self.queries.partition_point(|(done, ..)| *done < from);
        let end = self.queries.partition_point(|(done, ..)| *done < to);
        let (mut sum, mut count) = (0.0, 0_u32);
        for (_, _, time) in self.queries[start..end].iter().filter(|(_, s, _)| *s != but) {
            sum += time;
            count += 1;
        }
        (count > 0).then(|| sum / f64::from(count))
    }
}
