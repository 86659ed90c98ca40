//! Which requests count as failures, and what each of them lacked.
//!
//! An app's own errors (a unique violation, an undefined table) are answers, not failures. A failed
//! HTTP request that has a failed database request of its own is not counted twice: the database
//! request stands for it.

use std::collections::BTreeMap;

use trace::{DynoId, HttpServed, Micros, Outcome, Request, RequestKind, SqlState};

use crate::story::Story;

/// A client that gave up earlier than this is a client that went away, not one that lost patience.
const PATIENCE: Micros = Micros::from_secs(1);
/// How long before an HTTP failure a refused connect still explains it: apps retry, and wait for
/// their own pool, before they answer.
const REFUSAL_EXPLAINS: Micros = Micros::from_secs(1);
/// How far the router's and the proxy's times of the same request may differ.
const SAME_REQUEST: Micros = Micros::from_millis(100);

/// What a failed request lacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Lack {
    /// A connection slot of the server: 53300.
    Slot,
    /// A lease of the pool: timed out, or its client gave up, in the queue.
    Lease,
    /// The server: gone, unreachable, shutting down, out of some other resource.
    Server,
    /// Time to execute: cancelled by a time-out, or its client gave up.
    Time,
    /// A lock: `lock_timeout`, NOWAIT or deadlock.
    Lock,
    /// A transaction that was kept alive: `idle_in_transaction_session_timeout`.
    Activity,
    /// Entry: a connect that failed for some other reason (password, database name, …).
    Entry,
    /// Something that no database request of its own tells: an HTTP failure.
    Untold,
}

/// One failure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure<'a> {
    pub(crate) lack: Lack,
    pub(crate) dyno: DynoId,
    /// When it began to wait.
    pub(crate) from: Micros,
    /// When it failed.
    pub(crate) to: Micros,
    /// The database request; `None` for HTTP failures.
    pub(crate) request: Option<&'a Request>,
}

/// All failures, in the order of their ends, and what was looked at and not counted.
#[derive(Debug, Default)]
pub(crate) struct Failures<'a> {
    pub(crate) list: Vec<Failure<'a>>,
    /// HTTP failures that came with an app's own database error.
    pub(crate) http_of_app_errors: u64,
    /// HTTP failures while the dyno was not up, by Heroku's code.
    pub(crate) http_of_restarts: BTreeMap<&'a str, u64>,
}

impl<'a> Failures<'a> {
    pub(crate) fn of(story: &Story<'a>) -> Self {
        let mut found = Self::default();
        let mut traces = Traces::default();
        for request in &story.requests {
            match lack(request, story) {
                Some(lack) => {
                    traces.failed.entry(request.dyno).or_default().push(request.done);
                    found.list.push(failure(request, lack));
                }
                None if matches!(request.outcome, Outcome::Error(_)) => {
                    traces.app_errors.entry(request.dyno).or_default().push(request.done);
                }
                None => {}
            }
        }
        for served in story.http.iter().filter(|served| failed(served)) {
            found.http(served, &traces, story);
        }
        found.list.sort_by_key(|failure| (failure.to, failure.from));
        found
    }

    /// Of these failures, those that lacked this.
    pub(crate) fn lacking(&self, lack: Lack) -> impl Iterator<Item = &Failure<'a>> + Clone {
        self.list.iter().filter(move |failure| failure.lack == lack)
    }

    /// Sorts one HTTP failure into what explains it.
    fn http(&mut self, served: &'a HttpServed, traces: &Traces, story: &Story<'_>) {
        let (from, to) = (served.at - served.service, served.at);
        let until = to + SAME_REQUEST;
        let refused_since = from - REFUSAL_EXPLAINS;
        if any_between(traces.failed.get(&served.dyno), refused_since, until) {
            return;
        }
        if any_between(traces.app_errors.get(&served.dyno), from - SAME_REQUEST, until) {
            self.http_of_app_errors += 1;
            return;
        }
        let nobody = !story.names.contains_key(&served.dyno);
        if nobody || !story.was_up(served.dyno, from, to) {
            *self.http_of_restarts.entry(&served.code).or_default() += 1;
            return;
        }
        let dyno = served.dyno;
        self.list.push(Failure { lack: Lack::Untold, dyno, from, to, request: None });
    }
}

/// When each dyno's database requests ended badly, in time.
#[derive(Default)]
struct Traces {
    failed: BTreeMap<DynoId, Vec<Micros>>,
    app_errors: BTreeMap<DynoId, Vec<Micros>>,
}

fn any_between(times: Option<&Vec<Micros>>, from: Micros, to: Micros) -> bool {
    let Some(times) = times else { return false };
    let next = times.partition_point(|at| *at < from);
    times.get(next).is_some_and(|at| *at <= to)
}

/// Whether the router's client got an error that is not its own fault.
pub(crate) fn failed(served: &HttpServed) -> bool {
    served.status >= 500
}

fn failure<'a>(request: &'a Request, lack: Lack) -> Failure<'a> {
    // The server decides on a refusal at the moment of its answer: who held the slots earlier is no
    // matter.
    let at = request.first_byte.clamp(request.arrived, request.done);
    let (from, to) = match lack {
        Lack::Slot => (at, at),
        _ => (request.arrived, request.done),
    };
    Failure { lack, dyno: request.dyno, from, to, request: Some(request) }
}

/// What the request lacked; `None` if it did not fail.
pub(crate) fn lack(request: &Request, story: &Story<'_>) -> Option<Lack> {
    match request.outcome {
        Outcome::Ok => None,
        Outcome::QueueTimeout => Some(Lack::Lease),
        Outcome::ServerGone | Outcome::ServerUnreachable => Some(Lack::Server),
        Outcome::ClientGone => gave_up(request, story),
        Outcome::Error(state) => lack_of(state, request.kind),
    }
}

/// SQLSTATEs that stand for a lack (manual, appendix A); all others are the app's own.
fn lack_of(state: SqlState, kind: RequestKind) -> Option<Lack> {
    match state {
        SqlState::TOO_MANY_CONNECTIONS => return Some(Lack::Slot),
        SqlState::QUERY_CANCELED => return Some(Lack::Time),
        SqlState::LOCK_NOT_AVAILABLE | SqlState::DEADLOCK_DETECTED => return Some(Lack::Lock),
        SqlState::IDLE_IN_TRANSACTION_TIMEOUT => return Some(Lack::Activity),
        SqlState::PROTOCOL_VIOLATION if kind != RequestKind::Connect => return None,
        _ => {}
    }
    match &state.0[..2] {
        // Connection, insufficient resources, operator intervention, system, internal.
        b"08" | b"53" | b"57" | b"58" | b"XX" => Some(Lack::Server),
        _ if kind == RequestKind::Connect => Some(Lack::Entry),
        _ => None,
    }
}

/// A client that left after waiting long, while its dyno was up, lost patience.
fn gave_up(request: &Request, story: &Story<'_>) -> Option<Lack> {
    if request.total() < PATIENCE || !story.was_up(request.dyno, request.arrived, request.done) {
        return None;
    }
    let queued = request.queue() >= request.done.since(request.assigned);
    Some(if queued { Lack::Lease } else { Lack::Time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_as_a_failure() {
        let of = |code: &[u8; 5]| lack_of(SqlState(*code), RequestKind::Simple);
        for (code, want) in [
            (b"53300", Some(Lack::Slot)),
            (b"57P01", Some(Lack::Server)),
            (b"57P03", Some(Lack::Server)),
            (b"53100", Some(Lack::Server)),
            (b"57014", Some(Lack::Time)),
            (b"55P03", Some(Lack::Lock)),
            (b"40P01", Some(Lack::Lock)),
            (b"25P03", Some(Lack::Activity)),
            (b"23505", None),
            (b"42P01", None),
            (b"25P02", None),
            (b"08P01", None),
            (b"28P01", None),
        ] {
            assert_eq!(of(code), want, "{}", String::from_utf8_lossy(code));
        }
        let at_connect = lack_of(SqlState::INVALID_PASSWORD, RequestKind::Connect);
        assert_eq!(at_connect, Some(Lack::Entry));
    }
}
