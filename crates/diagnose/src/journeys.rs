//! Which database requests an app's HTTP request caused.
//!
//! Told by the trace where the app writes its `traceparent` into its statements (sqlcommenter
//! does); else by time, where the dyno served nothing else meanwhile. What cannot be told is not
//! guessed.

use std::collections::{BTreeMap, HashMap};

use trace::{DynoId, Event, HttpServed, Micros, Request, RequestTraced, SessionId, TraceId};

/// How it is known which database requests an HTTP request caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToldBy {
    /// Their statements name its trace. Statements that name none are left out.
    Trace,
    /// They are all that its dyno asked meanwhile, and it served no other request then.
    Time,
    /// It is not: its dyno served others at the same time, or no dyno served it.
    Nothing,
}

/// An HTTP request with what it asked of the database.
#[derive(Clone, Debug)]
pub struct Journey<'a> {
    /// The request.
    pub http: &'a HttpServed,
    /// What it asked, in the order of arrival.
    pub database: Vec<&'a Request>,
    /// How that is known.
    pub told_by: ToldBy,
}

impl Journey<'_> {
    /// Time its database requests waited for a server connection.
    #[must_use]
    pub fn queue(&self) -> Micros {
        self.sum(Request::queue)
    }

    /// Time its database requests took in all, waiting included.
    #[must_use]
    pub fn database_time(&self) -> Micros {
        self.sum(Request::total)
    }

    fn sum(&self, of: fn(&Request) -> Micros) -> Micros {
        self.database.iter().fold(Micros::ZERO, |sum, request| sum + of(request))
    }
}

/// All HTTP requests, in the order of the events.
#[must_use]
pub fn journeys(events: &[Event]) -> Vec<Journey<'_>> {
    let mut http: BTreeMap<DynoId, Vec<&HttpServed>> = BTreeMap::new();
    let mut asked: BTreeMap<DynoId, Vec<&Request>> = BTreeMap::new();
    let mut sessions: HashMap<SessionId, Vec<&Request>> = HashMap::new();
    for event in events {
        match event {
            Event::Request(request) => {
                asked.entry(request.dyno).or_default().push(request);
                sessions.entry(request.session).or_default().push(request);
            }
            Event::HttpServed(served) => http.entry(served.dyno).or_default().push(served),
            _ => {}
        }
    }
    asked.values_mut().for_each(|requests| requests.sort_by_key(|request| request.arrived));
    sessions.values_mut().for_each(|requests| requests.sort_by_key(|request| request.arrived));
    let traced = by_trace(events, &sessions);
    let alone: BTreeMap<DynoId, Alone> =
        http.iter().map(|(dyno, served)| (*dyno, Alone::of(served))).collect();
    let index = Index { traced, asked, alone };
    let served = events.iter().filter_map(|event| match event {
        Event::HttpServed(served) => Some(&**served),
        _ => None,
    });
    served.map(|http| index.journey(http)).collect()
}

/// From the acceptance of a request by its dyno to its end.
fn span(http: &HttpServed) -> (Micros, Micros) {
    (http.at - http.service, http.at)
}

/// The database requests of each trace, in the order of arrival.
fn by_trace<'a>(
    events: &'a [Event],
    sessions: &HashMap<SessionId, Vec<&'a Request>>,
) -> HashMap<TraceId, Vec<&'a Request>> {
    let mut traced: HashMap<TraceId, Vec<&Request>> = HashMap::new();
    for event in events {
        let Event::RequestTraced(RequestTraced { at, session, trace }) = event else { continue };
        let requests = sessions.get(session).map_or(&[][..], Vec::as_slice);
        let next = requests.partition_point(|request| request.arrived <= *at);
        let meant = next.checked_sub(1).map(|last| requests[last]);
        // One that was not recorded must not lend its trace to the one before it.
        if let Some(meant) = meant.filter(|request| *at <= request.done) {
            let named = traced.entry(*trace).or_default();
            // A batch may have several statements of one trace.
            if named.last().is_none_or(|last| *last != meant) {
                named.push(meant);
            }
        }
    }
    traced.values_mut().for_each(|requests| requests.sort_by_key(|request| request.arrived));
    traced
}

struct Index<'a> {
    traced: HashMap<TraceId, Vec<&'a Request>>,
    asked: BTreeMap<DynoId, Vec<&'a Request>>,
    alone: BTreeMap<DynoId, Alone>,
}

impl<'a> Index<'a> {
    fn journey(&self, http: &'a HttpServed) -> Journey<'a> {
        let (from, to) = span(http);
        let named = self.traced.get(&http.trace).map_or(&[][..], Vec::as_slice);
        // A client may give several of its requests one trace.
        let own = |request: &&Request| {
            request.dyno == http.dyno && from <= request.arrived && request.arrived <= to
        };
        let named: Vec<&Request> = named.iter().copied().filter(own).collect();
        if !named.is_empty() {
            return Journey { http, database: named, told_by: ToldBy::Trace };
        }
        let alone = self.alone.get(&http.dyno).is_some_and(|alone| alone.is(from, to));
        if http.dyno == DynoId::default() || !alone {
            return Journey { http, database: Vec::new(), told_by: ToldBy::Nothing };
        }
        let all = self.asked.get(&http.dyno).map_or(&[][..], Vec::as_slice);
        let first = all.partition_point(|request| request.arrived < from);
        let meanwhile = all[first..].iter().take_while(|request| request.arrived <= to);
        Journey { http, database: meanwhile.copied().collect(), told_by: ToldBy::Time }
    }
}

/// When one dyno's requests begin and end: enough to say how many were under way in a span.
#[derive(Debug)]
struct Alone {
    begins: Vec<Micros>,
    ends: Vec<Micros>,
}

impl Alone {
    fn of(served: &[&HttpServed]) -> Self {
        let (mut begins, mut ends): (Vec<_>, Vec<_>) = served.iter().map(|http| span(http)).unzip();
        begins.sort_unstable();
        ends.sort_unstable();
        Self { begins, ends }
    }

    /// Whether of all requests only one touches this span, which is its own.
    fn is(&self, from: Micros, to: Micros) -> bool {
        let begun = self.begins.partition_point(|begin| *begin <= to);
        let over = self.ends.partition_point(|end| *end < from);
        begun - over == 1
    }
}

#[cfg(test)]
mod tests {
    use trace::{BackendPid, Blame, Fingerprint, Outcome, RequestKind, TransactionState};

    use super::*;

    const TRACE: TraceId = TraceId([7; 16]);

    fn http(from: u64, to: u64, trace: TraceId) -> Event {
        Event::HttpServed(Box::new(HttpServed {
            at: Micros(to),
            dyno: DynoId(1),
            method: "GET".into(),
            path: "/".into(),
            status: 200,
            code: "".into(),
            service: Micros(to - from),
            request_id: "".into(),
            trace,
        }))
    }

    fn asked(session: u32, at: u64, done: u64) -> Event {
        Event::Request(Request {
            session: SessionId(session),
            dyno: DynoId(1),
            kind: RequestKind::Simple,
            statement: Fingerprint(session.into()),
            backend: BackendPid(1),
            arrived: Micros(at),
            assigned: Micros(at + 1),
            sent: Micros(at + 1),
            first_byte: Micros(done),
            done: Micros(done),
            bytes_in: 1,
            bytes_out: 1,
            rows: 0,
            outcome: Outcome::Ok,
            blame: Blame::Nobody,
            transaction: TransactionState::Idle,
        })
    }

    fn traced(session: u32, at: u64, trace: TraceId) -> Event {
        Event::RequestTraced(RequestTraced { at: Micros(at), session: SessionId(session), trace })
    }

    fn told(events: &[Event]) -> Vec<(ToldBy, Vec<u64>)> {
        let told = |journey: &Journey<'_>| {
            (journey.told_by, journey.database.iter().map(|r| r.arrived.0).collect())
        };
        journeys(events).iter().map(told).collect()
    }

    #[test]
    fn a_trace_tells_even_where_a_dyno_serves_two_at_once() {
        let other = TraceId([8; 16]);
        let events = [
            traced(1, 110, TRACE),
            traced(2, 120, other),
            traced(1, 140, TRACE),
            asked(1, 110, 130),
            asked(2, 118, 150),
            asked(1, 139, 160),
            asked(1, 170, 175),
            http(100, 200, TRACE),
            http(105, 190, other),
        ];
        assert_eq!(told(&events), [(ToldBy::Trace, vec![110, 139]), (ToldBy::Trace, vec![118])]);
        let journey = &journeys(&events)[0];
        assert_eq!((journey.queue(), journey.database_time()), (Micros(2), Micros(41)));
    }

    #[test]
    fn without_a_trace_only_a_request_alone_is_joined() {
        let events = [
            asked(1, 90, 95),
            asked(1, 110, 120),
            asked(2, 130, 140),
            http(100, 200, TRACE),
            asked(1, 310, 320),
            http(300, 400, TraceId::NONE),
            http(399, 410, TraceId::NONE),
        ];
        assert_eq!(
            told(&events),
            [(ToldBy::Time, vec![110, 130]), (ToldBy::Nothing, vec![]), (ToldBy::Nothing, vec![])]
        );
    }

    #[test]
    fn one_trace_of_a_client_does_not_mix_its_requests_up() {
        let events = [
            traced(1, 110, TRACE),
            asked(1, 110, 120),
            http(100, 200, TRACE),
            traced(1, 310, TRACE),
            asked(1, 310, 320),
            http(300, 400, TRACE),
            // Its request was lost: the one before has another end.
            traced(1, 350, TraceId([9; 16])),
        ];
        assert_eq!(told(&events), [(ToldBy::Trace, vec![110]), (ToldBy::Trace, vec![310])]);
    }
}
