//! Asking server connections for the signature of their settings: once a second, and when a login
//! needs it.

use std::sync::Arc;
use std::time::Duration;

use trace::Micros;

use super::signature;
use crate::backend::{Backend, OpenError};
use crate::gate::Borrowed;
use crate::pool::Need;
use crate::regulate::House;
use crate::timer::timeout;

/// How long the server may take to answer, after which the connection is closed.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a connection is waited for, where all are leased.
const BORROW_TIME_MAX: Duration = Duration::from_secs(1);

/// Connections that are asked in one round.
const ASKED_MAX: usize = 32;

impl House {
    /// Asks one connection of each kind, and after a change all that are idle, so that they say
    /// what is new before they serve the next session. Cancellation safe.
    pub(in crate::regulate) async fn check_settings(self: &Arc<Self>, worker: usize) {
        let since = self.journal.now();
        for number in 0..ASKED_MAX {
            // Of those that are leased the first that is given back is as good as any.
            let waits = number == 0;
            let Some(borrowed) = self.borrow_to_check(since, waits).await else { return };
            if self.check(borrowed, worker).await.is_none() {
                return;
            }
        }
    }

    /// The connection that needs it most.
    async fn borrow_to_check(&self, since: Micros, waits: bool) -> Option<Borrowed> {
        let (gate, greetings) = (&self.gate, &self.greetings);
        match gate.borrow_lowest(|backend| greetings.urgency(backend, since)) {
            None if waits => timeout(BORROW_TIME_MAX, gate.borrow()).await.ok().flatten(),
            lowest => lowest,
        }
    }

    /// Nothing if the connection broke.
    async fn check(&self, mut borrowed: Borrowed, worker: usize) -> Option<()> {
        let (backend, greetings) = (borrowed.adopt(worker)?, &self.greetings);
        let at = self.journal.now();
        let answer = timeout(ANSWER_TIME_MAX, signature::ask(backend, &self.settings, at)).await;
        let late = |_| OpenError::Unreachable("no answer in time".to_owned());
        match answer.map_err(late).flatten() {
            Ok(answer) => {
                let now = self.journal.now();
                if greetings.note(backend, &answer, now) {
                    borrowed.close().await;
                    self.gate.close_outdated().await;
                } else {
                    borrowed.give_back();
                }
                Some(())
            }
            Err(error) => {
                tracing::debug!(?error, "the server was not asked for its settings");
                greetings.state.lock().note_unanswered(backend.key(), at);
                if let OpenError::Impossible(_) = error {
                    borrowed.give_back();
                    return Some(());
                }
                None
            }
        }
    }

    /// Asks a connection that a login has got; one that was opened for that gives the greeting.
    /// `false` if it cannot be used any more.
    pub(in crate::regulate) async fn refresh_greeting(
        &self,
        backend: &mut Backend,
        need: Need,
    ) -> bool {
        let (greetings, at) = (&self.greetings, self.journal.now());
        let answer = timeout(ANSWER_TIME_MAX, signature::ask(backend, &self.settings, at)).await;
        let is_usable = matches!(answer, Ok(Ok(_) | Err(OpenError::Impossible(_))));
        if !matches!(answer, Ok(Ok(_))) {
            tracing::debug!(?answer, "the server was not asked for its settings");
        }
        let answer = answer.ok().and_then(Result::ok);
        greetings.refresh(backend, answer.as_ref(), need, self.journal.now());
        is_usable
    }
}
