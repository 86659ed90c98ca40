//! What one session has done. Only its own task writes; anybody may read at any time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use trace::{BackendPid, Micros, Request, RequestKind, TransactionState};

/// Upper bounds of a histogram's buckets in microseconds; what is longer falls into one more.
pub const BOUNDS: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000,
];

/// How many took how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By [`BOUNDS`], each without the ones below; the last is for what is longer than all.
    pub buckets: [u64; BOUNDS.len() + 1],
}

impl Histogram {
    /// How many in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// Sums over requests. Times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that are done.
    pub requests: u64,
    /// Of these, those that ended with an error.
    pub errors: u64,
    /// Transactions that are done.
    pub transactions: u64,
    /// Times that a server connection was assigned.
    pub assignments: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// From sending a request to the end of its answer.
    pub server_time: u64,
    /// From the first request of a transaction to its end.
    pub transaction_time: u64,
    /// Waiting for a server connection.
    pub wait_time: u64,
    /// Waits by length.
    pub waits: Histogram,
    /// Times at the server by length.
    pub served: Histogram,
}

impl Totals {
    /// Adds others.
    pub fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        self.errors += more.errors;
        self.transactions += more.transactions;
        self.assignments += more.assignments;
        self.bytes_in += more.bytes_in;
        self.bytes_out += more.bytes_out;
        self.server_time += more.server_time;
        self.transaction_time += more.transaction_time;
        self.wait_time += more.wait_time;
        for (sum, one) in self.waits.buckets.iter_mut().zip(more.waits.buckets) {
            *sum += one;
        }
        for (sum, one) in self.served.buckets.iter_mut().zip(more.served.buckets) {
            *sum += one;
        }
    }
}

/// A histogram that one task writes.
#[derive(Debug, Default)]
struct Counts([AtomicU64; BOUNDS.len() + 1]);

impl Counts {
    fn count(&self, time: u64) {
        let index = BOUNDS.partition_point(|bound| *bound < time);
        if let Some(bucket) = self.0.get(index) {
            add(bucket, 1);
        }
    }

    fn read(&self) -> Histogram {
        Histogram { buckets: std::array::from_fn(|index| self.0[index].load(Relaxed)) }
    }
}

/// Adds where nobody else writes: a load and a store, no locked instruction.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(more), Relaxed);
}

/// A session's sums.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: AtomicU64,
    errors: AtomicU64,
    transactions: AtomicU64,
    assignments: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    server_time: AtomicU64,
    transaction_time: AtomicU64,
    wait_time: AtomicU64,
    waits: Counts,
    served: Counts,
    /// When the present transaction's first request was sent; zero if none is open.
    began: AtomicU64,
    /// Whether the present transaction has a server connection.
    holds: AtomicBool,
    last: AtomicU64,
}

impl Counters {
    /// Counts a request. To be called by the session's own task only.
    pub(crate) fn count(&self, request: &Request) {
        let is_connect = request.kind == RequestKind::Connect;
        add(&self.bytes_in, request.bytes_in.into());
        add(&self.bytes_out, request.bytes_out.into());
        add(&self.errors, u64::from(!request.outcome.is_ok()));
        self.last.store(request.done.0, Relaxed);
        if is_connect {
            return;
        }
        add(&self.requests, 1);
        let is_served = request.backend != BackendPid::NONE;
        let is_first = self.began.load(Relaxed) == 0;
        let began = if is_first { request.sent.0 } else { self.began.load(Relaxed) };
        // A transaction waits once; a `BEGIN` may need no server connection yet.
        if !self.holds.load(Relaxed) && (is_served || !request.outcome.is_ok()) {
            let wait = request.queue().0;
            add(&self.assignments, is_served.into());
            add(&self.wait_time, wait);
            self.waits.count(wait);
            self.holds.store(is_served, Relaxed);
        }
        if is_served {
            let served = request.done.since(request.sent).0;
            add(&self.server_time, served);
            self.served.count(served);
        }
        if request.transaction == TransactionState::Idle {
            add(&self.transactions, 1);
            add(&self.transaction_time, request.done.0.saturating_sub(began));
            self.began.store(0, Relaxed);
            self.holds.store(false, Relaxed);
        } else {
            self.began.store(began.max(1), Relaxed);
        }
    }

    /// When the last request ended.
    pub(crate) fn last(&self) -> Micros {
        Micros(self.last.load(Relaxed))
    }

    pub(crate) fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        Totals {
            requests: read(&self.requests),
            errors: read(&self.errors),
            transactions: read(&self.transactions),
            assignments: read(&self.assignments),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            server_time: read(&self.server_time),
            transaction_time: read(&self.transaction_time),
            wait_time: read(&self.wait_time),
            waits: self.waits.read(),
            served: self.served.read(),
        }
    }
}
