//! Places that transactions keep through a short pause: who waits for one is called when it is
//! free.
//!
//! All else that frees a place is a session's doing, and calls who waits as it does it. A pause
//! that has lasted too long is nobody's doing.

use std::convert::Infallible;

use super::{Gate, State};
use crate::timer::sleep;

impl Gate {
    /// Sees to it that it is watched when the next place becomes free.
    pub(super) fn keep_places(&self, state: &mut State) {
        if !state.watched && state.admission.place_freed().is_some() {
            state.watched = true;
            self.kept.notify_one();
        }
    }

    /// Watches places for as long as it is polled. Cancellation safe, but then nobody does.
    pub(crate) async fn watch_places(&self) -> Infallible {
        loop {
            let next = {
                let mut state = self.lock();
                let now = self.journal.now();
                state.admission.tick(now);
                state.wake(now);
                let next = state.admission.place_freed();
                state.watched = next.is_some();
                next.map(|at| at.since(now).to_duration())
            };
            match next {
                Some(wait) => sleep(wait).await,
                None => self.kept.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use trace::{Clock, DynoNames, Fingerprint, NoSink};

    use super::Gate;
    use crate::call::Turn;
    use crate::gate::{Asked, Last, Lease, Terms};
    use crate::journal::Journal;
    use crate::pool::{Asker, Key, Need};
    use crate::sequences::SequenceUser;
    use crate::settings::Registry;

    fn gate() -> Arc<Gate> {
        let clock = Clock::start();
        let names = Arc::new(DynoNames::new(clock));
        let terms = Terms {
            cap: Some(5),
            adaptive: true,
            remembered: Some(1),
            patience: Duration::from_secs(3600),
            dynos: Arc::default(),
        };
        Arc::new(Gate::new("db", &terms, Arc::new(Journal::new(clock, Arc::new(NoSink), names))))
    }

    /// As if its connection had been opened.
    fn connect(lease: &mut Lease) {
        let settings = Registry::default().only_name(b"");
        let (key, need) = (&Key::default(), Need::Any);
        let _open = lease.take(Asker {
            key,
            settings: &settings,
            sequences: &SequenceUser::default(),
            worker: 0,
            need,
        });
        lease.opened();
    }

    #[tokio::test]
    async fn who_waits_for_a_kept_place_is_called_though_nobody_does_anything() {
        let gate = gate();
        let who = (gate.journal.dyno("web.1"), Fingerprint::NONE);
        let (mut leases, call) = (Vec::new(), Arc::default());
        let waiting = loop {
            match gate.request(who, gate.journal.now(), &call) {
                Asked::Granted(mut lease) => {
                    connect(&mut lease);
                    leases.push(lease);
                }
                Asked::Queued(waiting) => break waiting,
            }
        };
        for lease in &leases {
            lease.rests(Last { statement: Fingerprint::NONE, at: gate.journal.now() }, true);
        }
        // Nobody ticks, ends or asks; but for the watch nothing would ever happen.
        let turn = async {
            tokio::select! {
                turn = waiting.turn() => turn,
                never = gate.watch_places() => match never {},
            }
        };
        let turn = tokio::time::timeout(Duration::from_secs(60), turn).await;
        assert_eq!(turn.ok(), Some(Turn::Granted));
    }
}
