//! What admission costs: nanoseconds for a whole transaction (request, two changes between
//! executing and idling, end, and letting in the next) and for the shortest (request, end, next).
//! Time on the CPU, as Linux counts it: others may be busy too.

use admission::{Admission, Ask, Decision, Governor, Ticket, Verdict, Window};
use bench_kit::say;
use trace::{DynoId, Fingerprint, Micros};

use crate::goals::{Goals, Wanted};

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
}

/// Nanoseconds that this process has been on a CPU.
fn on_cpu() -> std::io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    let first = text.split(' ').next().and_then(|number| number.parse().ok());
    first.ok_or_else(|| std::io::Error::other("schedstat is not what it was"))
}

/// The nanoseconds of a round while so many wait.
fn measure(waiting: u64, with_idle: bool) -> std::io::Result<u64> {
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
    let begin = on_cpu()?;
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
            (Verdict::Queued(_), None) => return Err(std::io::Error::other("nobody is next")),
        }
    }
    Ok((on_cpu()? - begin) / ROUNDS)
}

/// The table, and what a statement costs at the worst of them.
pub(crate) fn run(goals: &Goals) -> anyhow::Result<()> {
    say("\nAdmission, ns on the CPU\n waiting   one statement   two statements   each further")?;
    let mut most = 0.0_f64;
    for waiting in [0, 1, 100, 10_000] {
        let (one, two) = (measure(waiting, false)?, measure(waiting, true)?);
        say(&format!("{waiting:>8}  {one:>14}  {two:>15}  {:>13}", two.saturating_sub(one)))?;
        let each = if waiting <= 100 { two / 2 } else { 0 };
        most = most.max(f64::from(u32::try_from(each).unwrap_or(u32::MAX)));
    }
    let what = "ns a statement, two in a transaction, up to 100 waiting";
    goals.number("cost", what, most, Wanted::AtMost(200.0));
    Ok(())
}
