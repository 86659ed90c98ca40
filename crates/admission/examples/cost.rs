//! What admission costs: nanoseconds for a whole transaction (request, two changes between
//! executing and idling, end, and letting in the next) and for the shortest (request, end, next).
//!
//! `cargo run --release -p admission --example cost`

use std::io::Write;

use admission::{Admission, Ask, Decision, Governor, Ticket, Verdict, Window};
use trace::{Clock, DynoId, Fingerprint, LimitChanged, Micros};

const ROUNDS: u64 = 2_000_000;
const DYNOS: u64 = 100;

/// A law that never moves, asked each 40 ms.
#[derive(Debug)]
struct Fixed;

impl Governor for Fixed {
    fn decision(&self) -> Decision {
        Decision { limit: 10, long: 10, slot: Micros::from_millis(40), settle: Micros(5000) }
    }

    fn slot_ended(&mut self, _: &Window) -> Decision {
        self.decision()
    }

    fn refused(&mut self, _: Micros) -> Decision {
        self.decision()
    }

    fn restarted(&mut self, _: Micros) -> Decision {
        self.decision()
    }

    fn knee(&self) -> Option<u32> {
        None
    }

    fn change(&self) -> Option<LimitChanged> {
        None
    }

    fn untold(&mut self) -> Option<LimitChanged> {
        None
    }
}

/// The nanoseconds of a round while so many wait.
fn measure(clock: Clock, waiting: u64, with_idle: bool) -> f64 {
    let mut admission = Admission::new(100, Some(Box::new(Fixed)));
    let mut running: Vec<Ticket> = Vec::new();
    let mut now = Micros::from_secs(1);
    let mut asked = 0;
    let mut request = |admission: &mut Admission, now: Micros| {
        asked += 1;
        let (dyno, statement) = (asked * 7 % DYNOS, Fingerprint(asked % 50));
        let dyno = DynoId(u16::try_from(dyno).unwrap_or(0));
        let ask = Ask { dyno, statement, arrived: now, until: Micros(u64::MAX) };
        admission.request(ask, now)
    };
    // Ten execute, and so many wait behind them.
    for _ in 0..10 + waiting {
        if let Verdict::Granted(ticket) = request(&mut admission, now) {
            running.push(ticket);
        }
    }
    let begin = clock.now();
    for round in 0..ROUNDS {
        now = now + Micros(10);
        let index = usize::try_from(round % 10).unwrap_or(0);
        let (ticket, statement) = (running[index], Fingerprint(round % 50));
        if with_idle {
            admission.rests(ticket, statement, now);
            admission.works(ticket, now);
        }
        admission.end(ticket, Some(statement), now);
        match (request(&mut admission, now), admission.next(now)) {
            (Verdict::Granted(ticket), _) | (_, Some(ticket)) => running[index] = ticket,
            (Verdict::Queued(_), None) => return f64::NAN,
        }
    }
    let took = clock.now() - begin;
    #[expect(clippy::cast_precision_loss, reason = "a count of millions")]
    let rounds = ROUNDS as f64;
    took.as_secs_f64() * 1e9 / rounds
}

fn main() -> std::io::Result<()> {
    let clock = Clock::start();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:>8}  {:>18}  {:>18}", "waiting", "one statement, ns", "two statements, ns")?;
    for waiting in [0, 1, 100, 10_000] {
        let (one, two) = (measure(clock, waiting, false), measure(clock, waiting, true));
        writeln!(out, "{waiting:>8}  {one:>18.0}  {two:>18.0}")?;
    }
    Ok(())
}
