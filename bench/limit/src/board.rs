//! What the clients have seen: transactions in tenths of a second, latencies, failures.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

/// Width of a bin.
pub(crate) const BIN: Duration = Duration::from_millis(100);

/// One tally for all clients of a run: they are tasks of one thread.
#[derive(Debug)]
pub(crate) struct Board {
    start: Instant,
    /// By group of clients.
    groups: Vec<Group>,
    failures: Cell<u64>,
    refused: Cell<u64>,
    first_failure: RefCell<Option<String>>,
}

#[derive(Debug)]
struct Group {
    bins: RefCell<Vec<u32>>,
    /// In microseconds.
    latencies: RefCell<Histogram<u32>>,
}

impl Board {
    /// For so many groups of clients.
    pub(crate) fn new(groups: usize) -> anyhow::Result<Self> {
        let group = || {
            let latencies = Histogram::new_with_bounds(1, 120_000_000, 3)?;
            anyhow::Ok(Group { bins: RefCell::default(), latencies: RefCell::new(latencies) })
        };
        Ok(Self {
            start: Instant::now(),
            groups: (0..groups).map(|_| group()).collect::<Result<_, _>>()?,
            failures: Cell::new(0),
            refused: Cell::new(0),
            first_failure: RefCell::default(),
        })
    }

    /// Latencies from now on only.
    pub(crate) fn forget_latencies(&self) {
        for group in &self.groups {
            group.latencies.borrow_mut().reset();
        }
    }

    /// How long it has been counting.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// A transaction was done that was wanted at `began`.
    pub(crate) fn done(&self, group: usize, began: Instant) {
        let Some(group) = self.groups.get(group) else { return };
        let now = Instant::now();
        let bin = bin(now - self.start);
        let mut bins = group.bins.borrow_mut();
        if bins.len() <= bin {
            bins.resize(bin + 1, 0);
        }
        if let Some(count) = bins.get_mut(bin) {
            *count += 1;
        }
        let micros = u64::try_from((now - began).as_micros()).unwrap_or(u64::MAX);
        group.latencies.borrow_mut().saturating_record(micros);
    }

    /// One was refused (53300).
    pub(crate) fn refused(&self) {
        self.refused.set(self.refused.get() + 1);
    }

    /// One failed otherwise.
    pub(crate) fn failed(&self, why: &str) {
        self.failures.set(self.failures.get() + 1);
        self.first_failure.borrow_mut().get_or_insert_with(|| why.to_owned());
    }

    /// How many failed and were refused, and how the first failed.
    pub(crate) fn failures(&self) -> (u64, u64, Option<String>) {
        (self.failures.get(), self.refused.get(), self.first_failure.borrow().clone())
    }

    /// Transactions of a group in a span of time, whole bins.
    pub(crate) fn count(&self, group: usize, from: Duration, to: Duration) -> u64 {
        let Some(group) = self.groups.get(group) else { return 0 };
        let bins = group.bins.borrow();
        let (from, to) = (bin(from), bin(to).min(bins.len()));
        bins.get(from.min(to)..to).unwrap_or_default().iter().map(|count| u64::from(*count)).sum()
    }

    /// All transactions.
    pub(crate) fn total(&self) -> u64 {
        (0..self.groups.len()).map(|group| self.count(group, Duration::ZERO, Duration::MAX)).sum()
    }

    /// Transactions of all groups a second, in a span of whole bins.
    pub(crate) fn rate(&self, from: Duration, to: Duration) -> f64 {
        let count: u64 = (0..self.groups.len()).map(|group| self.count(group, from, to)).sum();
        count as f64 / to.saturating_sub(from).as_secs_f64().max(1e-9)
    }

    /// Transactions of all groups a second, bin by bin.
    pub(crate) fn series(&self) -> Vec<f64> {
        let end = bin(self.elapsed());
        let mut sums = vec![0.0; end];
        for group in &self.groups {
            for (sum, count) in sums.iter_mut().zip(group.bins.borrow().iter()) {
                *sum += f64::from(*count) / BIN.as_secs_f64();
            }
        }
        sums
    }

    /// A quantile of a group's latencies, in milliseconds.
    pub(crate) fn latency(&self, group: usize, quantile: f64) -> f64 {
        let group = self.groups.get(group);
        let micros = group.map_or(0, |one| one.latencies.borrow().value_at_quantile(quantile));
        Duration::from_micros(micros).as_secs_f64() * 1e3
    }
}

fn bin(at: Duration) -> usize {
    usize::try_from(at.as_millis() / BIN.as_millis()).unwrap_or(usize::MAX)
}
