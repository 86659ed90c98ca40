//! The cause cards: one file per cause, each a pure function from the case to a verdict.
//!
//! A card states its necessary conditions first (a violated one vetoes it: `None`), then what it
//! claims of the blame, then the evidence for and against, each with its numbers and source. The
//! claim is what ranks it: confidence is the share of the failures that it explains (the lower end
//! of the 95 % interval, so that few failures never make a certainty), tempered by what speaks
//! against it.

pub(crate) mod idle_in_transaction;
pub(crate) mod lock_pile_up;
pub(crate) mod long_statement;
pub(crate) mod missing_index;
pub(crate) mod server_down;
pub(crate) mod slot_exhaustion;
pub(crate) mod unknown;

use std::collections::BTreeMap;

use trace::{DynoId, Micros};

use crate::blame::{Account, Row};
use crate::failures::{Failure, Failures};
use crate::finding::{Coincidence, DynoContrast, Evidence, Finding, Resource, Timeline};
use crate::occupancy::Steps;
use crate::plan::Scan;
use crate::stats;
use crate::story::Story;
use crate::words;
use crate::work::Work;

/// A contributing cause must explain at least this share of the failures to be worth a word.
const WORTH_A_WORD: f64 = 0.05;
/// A quicker or shorter use of a connection shortens how long a slot is needed, but a dyno's own
/// pool keeps its connections open anyway: of a slot's blame, the cause of its use explains half.
const USE_OF_A_SLOT: f64 = 0.5;

/// Everything the cards look at.
pub(crate) struct Case<'c, 'a> {
    pub(crate) story: &'c Story<'a>,
    pub(crate) failures: &'c Failures<'a>,
    pub(crate) account: &'c Account,
    pub(crate) timeline: &'c Timeline,
    pub(crate) occupancy: &'c BTreeMap<DynoId, Steps>,
    pub(crate) contrast: Option<&'c DynoContrast>,
    pub(crate) coincidence: Option<Coincidence>,
    pub(crate) scans: &'c [Scan],
    pub(crate) work: &'c Work,
}

/// What a card says.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) finding: Finding,
    /// How much of each row of the account it explains, 0 to 1.
    pub(crate) claims: Vec<f64>,
}

/// A card.
pub(crate) type Card = fn(&Case<'_, '_>) -> Option<Verdict>;

/// All cards but `unknown`, which judges what the others leave.
pub(crate) const CARDS: [Card; 6] = [
    slot_exhaustion::judge,
    long_statement::judge,
    lock_pile_up::judge,
    idle_in_transaction::judge,
    missing_index::judge,
    server_down::judge,
];

impl Case<'_, '_> {
    /// All failures that count.
    pub(crate) fn total(&self) -> f64 {
        self.failures.list.len() as f64
    }

    /// What a claim explains: the claimed part of every row, in the order of the rows, and the
    /// failures in it.
    pub(crate) fn claim(&self, part: impl Fn(&Row) -> f64) -> (Vec<f64>, f64) {
        let rows = &self.account.rows;
        let claims: Vec<f64> = rows.iter().map(part).collect();
        let explained = rows.iter().zip(&claims).map(|(row, claim)| row.failures * claim).sum();
        (claims, explained)
    }

    /// Confidence in a cause that explains so many of all failures; `doubt` is 1 for none.
    pub(crate) fn confidence(&self, explained: f64, doubt: f64) -> f64 {
        stats::wilson(explained, self.total())[0] * doubt
    }

    /// Share of all failures.
    pub(crate) fn share(&self, failures: f64) -> f64 {
        failures / self.total().max(1.0)
    }

    /// What the pool's own samples say of the queue; `None` if nobody waited for a lease.
    pub(crate) fn queue(&self) -> Option<Evidence> {
        let queued = || self.story.pool.iter().filter(|sample| sample.waiting > 0);
        let most = queued().max_by_key(|sample| sample.waiting)?;
        let full = queued().filter(|sample| sample.leased >= sample.limit).count();
        Some(words::evidence(
            "requests queued while all leases were taken",
            format!(
                "{} samples with a queue had all {} leased; up to {} waited",
                words::of(full, queued().count()),
                most.limit,
                most.waiting
            ),
            "samples of the pool",
        ))
    }

    /// "12.3 s to 40.1 s of the recording" for these failures.
    pub(crate) fn when<'f>(&self, failures: impl Iterator<Item = &'f Failure<'f>>) -> String {
        let mut times = failures.map(|failure| failure.to);
        let first = times.next().unwrap_or(self.story.from);
        self.story.between(first, times.max().unwrap_or(first))
    }
}

/// How much of a row the *use* of a connection explains (as against its being held at all).
pub(crate) fn use_part(row: &Row) -> f64 {
    match row.resource {
        Resource::ServerSlots => USE_OF_A_SLOT,
        Resource::Pool | Resource::Lock | Resource::Execution | Resource::DynoPool => 1.0,
        Resource::Server => 0.0,
    }
}

/// The largest sum of failures by some attribute of the rows; of equals, the first by order.
pub(crate) fn largest<K: Ord>(rows: impl Iterator<Item = (K, f64)>) -> Option<(K, f64)> {
    let mut sums: BTreeMap<K, f64> = BTreeMap::new();
    for (key, failures) in rows {
        *sums.entry(key).or_default() += failures;
    }
    sums.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best })
}

/// Mean over a time, or nothing where there was nothing to measure.
pub(crate) type Measure<'m> = &'m dyn Fn(Micros, Micros) -> Option<f64>;
