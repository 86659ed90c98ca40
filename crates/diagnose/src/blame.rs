//! Blame accounting: what each failed request lacked is charged to whoever held it meanwhile.
//!
//! * A refused connect is divided equally over all open server connections of that moment.
//! * A wait for a lease is divided over the lease holders by the seconds they held during the wait.
//! * A wait for a lock goes to those at the end of the chain of blockers.
//! * An HTTP failure with no failed database request of its own goes to what the dyno's own
//!   connections were doing, provided most of them were busy: an app pool with idle connections is
//!   not exhausted.
//! * A cancelled statement answers for its own execution, less what it spent waiting for locks.
//!
//! Every failure is charged exactly once, or counted as uncharged with the reason;
//! [`Account::residual`] says how far the books are from balancing.

use std::collections::BTreeMap;

use trace::{DynoId, Fingerprint, Micros};

use crate::failures::{Failure, Failures, Lack};
use crate::finding::{BlameShare, HolderState, Resource};
use crate::ledger::{self, Wait};
use crate::story::Story;
use crate::story::holds::{HoldKey, Holder};

/// A dyno's own pool is taken to be exhausted if at least this share of its connections' time was
/// busy.
const BUSY: f64 = 0.5;
/// Rows below this share of the blame are told without their statement.
const WORTH_A_STATEMENT: f64 = 0.002;

/// One line of the account.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) resource: Resource,
    pub(crate) key: HoldKey,
    /// Seconds of waiting charged to it.
    pub(crate) waited: f64,
    /// Failures charged to it.
    pub(crate) failures: f64,
}

/// Why a failure could be charged to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Uncharged {
    /// No holder was recorded at that time.
    NoHolder,
    /// It waited for a lock that no sample shows.
    LockUnseen,
    /// The connect was refused for a reason that is not a lack.
    Entry,
    /// An HTTP failure while the dyno's connections were mostly idle.
    NotTheDatabase,
}

/// One refused connect, and who held how many slots at that moment.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) dyno: DynoId,
    pub(crate) at: Micros,
    pub(crate) held: BTreeMap<Holder, f64>,
}

/// The whole account.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// By failures charged, most first.
    pub(crate) rows: Vec<Row>,
    /// Failures that were charged.
    pub(crate) charged: f64,
    pub(crate) uncharged: BTreeMap<Uncharged, u64>,
    /// Every refused connect, with who held the slots then.
    pub(crate) refusals: Vec<Refused>,
    /// Share of the failed requests' waiting that the rows do not add up to. 0 if the books
    /// balance.
    pub(crate) residual: f64,
}

impl Account {
    /// Charges all failures.
    pub(crate) fn of(story: &Story<'_>, failures: &Failures<'_>) -> Self {
        let mut books =
            Books { story, rows: BTreeMap::new(), account: Self::default(), waited: 0.0 };
        books.weighed(failures);
        for failure in &failures.list {
            match failure.lack {
                // These are weighed against the holds.
                Lack::Slot | Lack::Lease | Lack::Untold => {}
                Lack::Server => books.server(failure),
                Lack::Activity => books.own_idleness(failure),
                Lack::Time | Lack::Lock => books.execution(failure),
                Lack::Entry => books.uncharged(Uncharged::Entry),
            }
        }
        books.close()
    }

    /// The rows as the diagnosis tells them.
    pub(crate) fn shares(&self, story: &Story<'_>) -> Vec<BlameShare> {
        let mut told: BTreeMap<(Resource, HoldKey), (f64, f64)> = BTreeMap::new();
        for row in &self.rows {
            let sum = told.entry((row.resource, self.told_key(row))).or_default();
            sum.0 += row.waited;
            sum.1 += row.failures;
        }
        let share =
            |((resource, key), (waited, failures)): ((Resource, HoldKey), (f64, f64))| BlameShare {
                resource,
                dyno: holder_name(story, &key.holder),
                state: key.state,
                statement: story.statement(key.statement),
                waited: micros(waited),
                failures,
                share: failures / self.charged,
            };
        let mut shares: Vec<BlameShare> = told.into_iter().map(share).collect();
        shares.sort_by(|a, b| b.failures.total_cmp(&a.failures));
        shares
    }

    /// Small rows are told together, without their statements.
    fn told_key(&self, row: &Row) -> HoldKey {
        let mut key = row.key.clone();
        if row.failures < WORTH_A_STATEMENT * self.charged {
            key.statement = Fingerprint::NONE;
        }
        key
    }
}

/// How a holder is called.
pub(crate) fn holder_name(story: &Story<'_>, holder: &Holder) -> String {
    match holder {
        Holder::Dyno(dyno) => story.dyno_name(*dyno),
        Holder::Outside(application) if application.is_empty() => "a client outside".to_owned(),
        Holder::Outside(application) => format!("a client outside ({application})"),
        Holder::FreePool => "the pool's free connections".to_owned(),
        Holder::Postgres => "PostgreSQL".to_owned(),
    }
}

fn micros(seconds: f64) -> Micros {
    // Sums of differences may end a hair below zero.
    Micros::from_duration(std::time::Duration::from_secs_f64(seconds.max(0.0)))
}

/// The account while it is being written.
struct Books<'b, 'a> {
    story: &'b Story<'a>,
    rows: BTreeMap<(Resource, HoldKey), (f64, f64)>,
    account: Account,
    /// Seconds that were to be charged.
    waited: f64,
}

impl Books<'_, '_> {
    /// Failures whose holders must be found in the holds.
    fn weighed(&mut self, failures: &Failures<'_>) {
        let weighed = |failure: &&Failure<'_>| {
            matches!(failure.lack, Lack::Slot | Lack::Lease | Lack::Untold)
        };
        let list: Vec<&Failure<'_>> = failures.list.iter().filter(weighed).collect();
        let waits: Vec<Wait> =
            list.iter().map(|failure| Wait { from: failure.from, to: failure.to }).collect();
        let holds = &self.story.holds;
        let keys = &holds.keys;
        ledger::weigh(&holds.list, keys.len(), &waits, |wait, weights| {
            let failure = list[wait];
            match failure.lack {
                Lack::Slot => self.slot(failure, weights),
                Lack::Lease => self.lease(failure, weights),
                _ => self.own_pool(failure, weights),
            }
        });
    }

    fn slot(&mut self, failure: &Failure<'_>, held: &[f64]) {
        self.divide(failure, Resource::ServerSlots, held, |_| true);
        let mut by_holder: BTreeMap<Holder, f64> = BTreeMap::new();
        for (key, held) in self.story.holds.keys.iter().zip(held).filter(|(_, held)| **held > 0.0) {
            *by_holder.entry(key.holder.clone()).or_default() += held;
        }
        let refused = Refused { dyno: failure.dyno, at: failure.to, held: by_holder };
        self.account.refusals.push(refused);
    }

    fn lease(&mut self, failure: &Failure<'_>, held: &[f64]) {
        self.divide(failure, Resource::Pool, held, |key| matches!(key.holder, Holder::Dyno(_)));
    }

    /// An HTTP failure whose dyno had no failed database request.
    fn own_pool(&mut self, failure: &Failure<'_>, held: &[f64]) {
        let own = |key: &HoldKey| key.holder == Holder::Dyno(failure.dyno);
        let busy = |key: &HoldKey| own(key) && key.state != HolderState::Idle;
        let keys = &self.story.holds.keys;
        let sum = |wanted: &dyn Fn(&HoldKey) -> bool| -> f64 {
            keys.iter().zip(held).filter(|(key, _)| wanted(key)).map(|(_, held)| held).sum()
        };
        let (busy_seconds, all) = (sum(&busy), sum(&own));
        if all > 0.0 && busy_seconds < BUSY * all {
            self.uncharged(Uncharged::NotTheDatabase);
        } else {
            self.divide(failure, Resource::DynoPool, held, busy);
        }
    }

    /// Divides one failure over the keys that count, by their weights.
    fn divide(
        &mut self,
        failure: &Failure<'_>,
        resource: Resource,
        weights: &[f64],
        counts: impl Fn(&HoldKey) -> bool,
    ) {
        let keys = &self.story.holds.keys;
        let holders = || {
            let all = keys.iter().zip(weights);
            // Integrals are differences of sums: what is not above rounding is nothing.
            all.filter(|(key, weight)| **weight > 1e-9 && counts(key))
        };
        let total: f64 = holders().map(|(_, weight)| weight).sum();
        if total <= 0.0 {
            return self.uncharged(Uncharged::NoHolder);
        }
        let charges: Vec<(HoldKey, f64)> =
            holders().map(|(key, weight)| (key.clone(), weight / total)).collect();
        let waited = failure.to.since(failure.from).as_secs_f64();
        self.waited += waited;
        for (key, part) in charges {
            self.charge(resource, key, part, waited);
        }
    }

    fn server(&mut self, failure: &Failure<'_>) {
        let key = HoldKey {
            holder: Holder::Postgres,
            state: HolderState::Executing,
            statement: Fingerprint::NONE,
        };
        self.charge_whole(Resource::Server, failure, vec![(key, 1.0)]);
    }

    fn own_idleness(&mut self, failure: &Failure<'_>) {
        let statement = failure.request.map_or(Fingerprint::NONE, |request| request.statement);
        let holder = Holder::Dyno(failure.dyno);
        let key = HoldKey { holder, state: HolderState::IdleInTransaction, statement };
        self.charge_whole(Resource::DynoPool, failure, vec![(key, 1.0)]);
    }

    /// A statement that ran out of time: what it waited for locks goes to the holders, the rest to
    /// itself.
    fn execution(&mut self, failure: &Failure<'_>) {
        let Some(request) = failure.request else {
            return self.uncharged(Uncharged::NoHolder);
        };
        let samples = self.story.locks.of(request.backend, request.sent, request.done);
        let server = request.done.since(request.sent).as_secs_f64();
        let seen = samples.len() as f64 * self.story.locks.period.as_secs_f64();
        let of_lock = match failure.lack {
            Lack::Lock => 1.0,
            _ if server > 0.0 => (seen / server).min(1.0),
            _ => 0.0,
        };
        let blockers = self.blockers(request.backend, samples);
        if blockers.is_empty() && failure.lack == Lack::Lock {
            return self.uncharged(Uncharged::LockUnseen);
        }
        let of_lock = if blockers.is_empty() { 0.0 } else { of_lock };
        let waited = failure.to.since(failure.from).as_secs_f64();
        self.waited += waited;
        let known: f64 = blockers.values().sum();
        for (key, weight) in blockers {
            self.charge(Resource::Lock, key, of_lock * weight / known, waited);
        }
        let state = HolderState::Executing;
        let holder = Holder::Dyno(failure.dyno);
        let itself = HoldKey { holder, state, statement: request.statement };
        self.charge(Resource::Execution, itself, 1.0 - of_lock, waited);
    }

    /// The holders at the end of each sampled chain.
    fn blockers(
        &self,
        waiter: trace::BackendPid,
        samples: &[&trace::LockWaitSampled],
    ) -> BTreeMap<HoldKey, f64> {
        let mut blockers = BTreeMap::new();
        for sample in samples {
            let roots = self.story.locks.roots(waiter, sample.at);
            for root in &roots {
                if let Some(key) = self.story.holds.at(*root, sample.at) {
                    *blockers.entry(key.clone()).or_default() += 1.0 / roots.len() as f64;
                }
            }
        }
        blockers
    }

    fn charge_whole(&mut self, resource: Resource, failure: &Failure<'_>, to: Vec<(HoldKey, f64)>) {
        let waited = failure.to.since(failure.from).as_secs_f64();
        self.waited += waited;
        for (key, part) in to {
            self.charge(resource, key, part, waited);
        }
    }

    /// Charges this part of one failure that waited so many seconds.
    fn charge(&mut self, resource: Resource, key: HoldKey, part: f64, waited: f64) {
        if part > 0.0 {
            let row = self.rows.entry((resource, key)).or_default();
            row.0 += part * waited;
            row.1 += part;
            self.account.charged += part;
        }
    }

    fn uncharged(&mut self, reason: Uncharged) {
        *self.account.uncharged.entry(reason).or_default() += 1;
    }

    fn close(mut self) -> Account {
        let seconds: f64 = self.rows.values().map(|(waited, _)| waited).sum();
        if self.waited > 0.0 {
            self.account.residual = (seconds - self.waited).abs() / self.waited;
        }
        let row = |((resource, key), (waited, failures))| Row { resource, key, waited, failures };
        self.account.rows = self.rows.into_iter().map(row).collect();
        // Stable: equal rows stay in the order of their keys.
        self.account.rows.sort_by(|a, b| b.failures.total_cmp(&a.failures));
        self.account
    }
}
