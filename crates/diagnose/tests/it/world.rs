//! What the stories share: a table without an index, a simulated pool, and the checks that hold for
//! every diagnosis.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use diagnose::Diagnosis;
use diagnose::finding::Cause;
use recording::Recording;
use testkit::golden::{BEGIN, Story, ms};
use trace::{
    BackendPid, DynoId, Event, Fingerprint, Micros, Outcome, PoolSampled, Request, RequestKind,
    SessionId, TableSampled, TransactionState,
};

/// The shop's lookup that no index serves.
pub(crate) const LOOKUP: &str = "SELECT id, total FROM orders WHERE customer_id = $1";
/// A lookup by primary key.
pub(crate) const BY_KEY: &str = "SELECT * FROM products WHERE id = $1";
/// The worker's report.
pub(crate) const REPORT: &str =
    "SELECT date_trunc($1, created_at), sum(total) FROM orders GROUP BY 1";

/// Diagnoses a story, and checks what must hold for every diagnosis.
#[track_caller]
pub(crate) fn diagnose(story: Story) -> Diagnosis {
    let recording = Recording::from_events(story.events());
    let diagnosis = diagnose::diagnose(&recording);
    let again = diagnose::diagnose(&recording);
    assert_eq!(format!("{diagnosis:#?}"), format!("{again:#?}"), "not the same twice");
    check(&diagnosis);
    diagnosis
}

#[track_caller]
fn check(diagnosis: &Diagnosis) {
    let shares: f64 = diagnosis.blame.iter().map(|share| share.share).sum();
    assert!(diagnosis.blame.is_empty() || (shares - 1.0).abs() < 1e-6, "shares sum to {shares}");
    for finding in &diagnosis.findings {
        assert!((0.0..=1.0).contains(&finding.confidence), "{finding:#?}");
        assert!(finding.failures_explained > 0.0, "{finding:#?}");
        assert!(!finding.evidence_for.is_empty(), "{finding:#?}");
        for text in [&finding.summary, &finding.disproof, &finding.fix] {
            assert!(text.ends_with(['.', ';']) && !text.contains("  "), "{text:?}");
        }
        let culprit = &finding.culprit;
        let named =
            culprit.dyno.is_some() || culprit.statement.is_some() || culprit.resource.is_some();
        assert!(named || finding.cause == Cause::Unknown, "{finding:#?}");
    }
    let bins = &diagnosis.timeline.bins;
    assert!(
        bins.len() <= 200 && bins.iter().all(|b| b.held.len() == diagnosis.timeline.dynos.len())
    );
    assert!(!diagnosis.gaps.iter().any(|gap| gap.contains("accounted")), "{:?}", diagnosis.gaps);
}

/// The causes found, first one first.
pub(crate) fn causes(diagnosis: &Diagnosis) -> Vec<Cause> {
    diagnosis.findings.iter().map(|finding| finding.cause).collect()
}

/// The text of the top finding's culprit statement.
pub(crate) fn culprit_statement(diagnosis: &Diagnosis) -> Option<&str> {
    Some(&*diagnosis.top()?.culprit.statement.as_ref()?.text)
}

/// The name of the top finding's culprit dyno.
pub(crate) fn culprit_dyno(diagnosis: &Diagnosis) -> Option<&str> {
    diagnosis.top()?.culprit.dyno.as_deref()
}

/// Half a million orders and no index on the customer: what PostgreSQL says of [`LOOKUP`].
pub(crate) fn no_index(story: &mut Story, lookup: Fingerprint, until: Micros) {
    for (at, seq_scans, seq_rows_read) in [(ms(0), 100, 50_000_000), (until, 1100, 550_000_000)] {
        let table = "public.orders".into();
        let sample = TableSampled {
            at,
            table,
            seq_scans,
            seq_rows_read,
            index_scans: 0,
            live_rows: 500_000,
        };
        story.table(sample);
    }
    story.statement_totals(ms(0), lookup, 100, ms(6000), 2500);
    story.statement_totals(until, lookup, 1100, ms(66_000), 27_500);
    let scan = r#"{"Node Type":"Seq Scan","Relation Name":"orders","Alias":"orders",
                   "Plan Rows":25,"Filter":"(customer_id = $1)"}"#;
    story.plan(
        ms(10),
        lookup,
        &format!(r#"[{{"Plan":{{"Node Type":"Gather","Plans":[{scan}]}}}}]"#),
    );
}

/// Numbers that look random and are the same each time (Knuth's MMIX generator).
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Work for a pool: one statement, and the pause before its transaction is committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// When it comes.
    pub(crate) at: Micros,
    /// Whose it is.
    pub(crate) dyno: DynoId,
    /// What it executes.
    pub(crate) statement: Fingerprint,
    /// For how long.
    pub(crate) server: Micros,
    /// How long its transaction then idles; zero for a statement of its own.
    pub(crate) idle: Micros,
}

impl Job {
    /// One statement, a transaction of its own.
    pub(crate) fn new(at: Micros, dyno: DynoId, statement: Fingerprint, server: Micros) -> Self {
        Self { at, dyno, statement, server, idle: Micros::ZERO }
    }
}

/// `regulate` mode: serves the jobs in the order of their arrival with `limit` server connections,
/// and refuses those that would wait longer than `patience`.
pub(crate) fn serve(story: &mut Story, limit: i32, patience: Micros, mut jobs: Vec<Job>) {
    jobs.sort_by_key(|job| job.at);
    let mut free: BinaryHeap<Reverse<(Micros, i32)>> =
        (1..=limit).map(|backend| Reverse((Micros::ZERO, backend))).collect();
    for backend in 1..=limit {
        let session = SessionId(u32::try_from(backend).expect("positive"));
        let backend = BackendPid(backend);
        story.event(Event::ServerOpened { at: BEGIN, backend, session });
    }
    let (mut leases, mut queued) = (Vec::new(), Vec::new());
    for (i, job) in jobs.iter().enumerate() {
        let session = SessionId(u32::try_from(i).expect("stories are short") + 10_000);
        let Reverse((free_at, backend)) = free.pop().expect("a pool has a connection");
        let start = free_at.max(job.at);
        let queue = start.since(job.at);
        if queue > patience {
            free.push(Reverse((free_at, backend)));
            refuse(story, job, session, patience);
            queued.push((job.at, job.at + patience));
            continue;
        }
        queued.push((job.at, start));
        let end = lease(story, job, session, BackendPid(backend), start);
        leases.push((start, end));
        free.push(Reverse((end, backend)));
    }
    let end = leases.iter().map(|lease| lease.1).max().unwrap_or_default();
    let (leases, queued) = (Spans::new(&leases), Spans::new(&queued));
    let limit = u32::try_from(limit).expect("positive");
    story.every(ms(100), ms(0), end, |story, at| {
        let (leased, waiting) = (leases.at(at), queued.at(at));
        story.pool(PoolSampled { at, limit, open: limit, leased, waiting });
    });
}

/// Spans of time, to be asked how many hold a moment.
struct Spans {
    starts: Vec<Micros>,
    ends: Vec<Micros>,
}

impl Spans {
    fn new(spans: &[(Micros, Micros)]) -> Self {
        let (mut starts, mut ends): (Vec<_>, Vec<_>) = spans.iter().copied().unzip();
        starts.sort_unstable();
        ends.sort_unstable();
        Self { starts, ends }
    }

    fn at(&self, at: Micros) -> u32 {
        let until = |times: &[Micros]| times.partition_point(|time| *time <= at);
        u32::try_from(until(&self.starts) - until(&self.ends)).expect("few")
    }
}

fn refuse(story: &mut Story, job: &Job, session: SessionId, patience: Micros) {
    let at = BEGIN + job.at;
    let gave_up = at + patience;
    let mut request = request(job, session, BackendPid::NONE, at, gave_up, gave_up);
    request.outcome = Outcome::QueueTimeout;
    request.blame = request.outcome.blame();
    story.event(Event::Request(request));
}

/// One transaction on a leased connection; returns when the lease ends.
fn lease(
    story: &mut Story,
    job: &Job,
    session: SessionId,
    backend: BackendPid,
    start: Micros,
) -> Micros {
    let end = start + job.server;
    let mut first = request(job, session, backend, BEGIN + job.at, BEGIN + start, BEGIN + end);
    if job.idle == Micros::ZERO {
        story.event(Event::Request(first));
        return end;
    }
    first.transaction = TransactionState::Open;
    story.event(Event::Request(first));
    let commit = end + job.idle;
    let done = commit + ms(1);
    let at = BEGIN + commit;
    let mut last = request(job, session, backend, at, at, BEGIN + done);
    last.statement = Fingerprint(0xC0);
    story.event(Event::Request(last));
    done
}

fn request(
    job: &Job,
    session: SessionId,
    backend: BackendPid,
    arrived: Micros,
    sent: Micros,
    done: Micros,
) -> Request {
    Request {
        session,
        dyno: job.dyno,
        kind: RequestKind::Extended,
        statement: job.statement,
        backend,
        arrived,
        assigned: sent,
        sent,
        first_byte: done,
        done,
        bytes_in: 60,
        bytes_out: 200,
        rows: 1,
        outcome: Outcome::Ok,
        blame: Outcome::Ok.blame(),
        transaction: TransactionState::Idle,
    }
}
