//! What a request is told that has waited in vain.

use std::sync::atomic::Ordering;
use std::time::Duration;

use trace::{DynoId, Event, Micros, Refusal, SessionId, SqlState};

use super::Gate;
use crate::answer::Answer;

/// Holders that are named.
const NAMED: usize = 3;

impl Gate {
    /// The truth for a request that waited in vain, recorded as a refusal.
    pub(crate) fn refuse(&self, session: SessionId, dyno: DynoId, waited: Micros) -> Answer {
        let at = self.journal.now();
        let state = self.lock();
        let holders = state.admission.holders();
        let levels = state.admission.levels();
        let since = at - waited;
        let refused = state.refused.clone().filter(|(when, ..)| *when >= since);
        drop(state);

        let waited_for = Duration::from_millis(waited.0 / 1000);
        let mut message =
            format!("surgetank: no server connection became free within {waited_for:?}");
        if let Some((_, _, words)) = &refused {
            message = format!("{message}; PostgreSQL refuses to open more: {words}");
        }
        let mut hint = format!("pool {}: ", self.label);
        let counts = levels.counts;
        let executing = counts.executing + counts.long.saturating_sub(levels.long_limit);
        if executing >= levels.limit && counts.held() < levels.ceiling {
            hint += &format!("{executing} statements execute, limit {}; ", levels.limit);
        }
        hint += &format!("{} connections of {} held", counts.held(), levels.ceiling);
        let pinned = self.pinned.load(Ordering::Relaxed).min(counts.idle);
        if counts.idle > pinned {
            hint += &format!(", {} of them idle in transaction", counts.idle - pinned);
        }
        if pinned > 0 {
            hint += &format!(
                ", {pinned} of them kept by idle sessions for what they left there (connect with \
                 surgetank.notices=on to be told what)"
            );
        }
        let named = holders
            .iter()
            .take(NAMED)
            .map(|(dyno, count)| format!("{} holds {count}", self.journal.dyno_name(*dyno)));
        let mut parts = vec![hint];
        parts.extend(named);
        let mut answer = Answer::new(SqlState::TOO_MANY_CONNECTIONS, message);
        answer.hint = parts.join("; ");
        let refusal = Refusal { at, session, dyno, waited, holders };
        self.journal.record(Event::RequestRefused(Box::new(refusal)));
        answer
    }
}
