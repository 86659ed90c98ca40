//! A session that gets no server connection: why, and what its client is told.

use trace::{Micros, Outcome, SqlState};

use super::Session;
use crate::answer::Answer;
use crate::backend::OpenError;
use crate::pump::End;

/// Why a session has no server connection.
#[derive(Debug)]
pub(super) enum Failure {
    /// Its deadline has passed.
    Late,
    /// A cancel request hit it while it waited.
    CalledOff,
    /// Opening one failed, and waiting would not help.
    Open(OpenError),
    /// The session ends anyway.
    Over(End),
}

impl Session {
    /// What the client is told, and what is recorded.
    pub(super) fn explain(&self, failure: &Failure, since: Micros) -> (Answer, Outcome) {
        let gate = &self.house.gate;
        match failure {
            Failure::Late => {
                let now = self.house.journal.now();
                // An outage is none of those who hold connections.
                if let Some(outage) = gate.outage() {
                    let database = self.house.database();
                    return (outage.answer(database.upstream.endpoint(), now), outage.outcome());
                }
                let (session, dyno) = self.talk.who();
                let outcome =
                    gate.refused_since(since).map_or(Outcome::QueueTimeout, Outcome::Error);
                (gate.refuse(session, dyno, now - since), outcome)
            }
            Failure::CalledOff => {
                let code = SqlState::QUERY_CANCELED;
                let text = "surgetank: canceled by the user while waiting for a server connection";
                (Answer::new(code, text), Outcome::Error(code))
            }
            Failure::Open(error) => {
                let outcome = match error {
                    OpenError::Unreachable(_) | OpenError::Impossible(_) => {
                        Outcome::ServerUnreachable
                    }
                    OpenError::Refused(code, _) => Outcome::Error(*code),
                };
                (error.answer(), outcome)
            }
            Failure::Over(_) => (self.talk.journal.card.farewell(), Outcome::ClientGone),
        }
    }

    /// The session ends before the next message was served.
    pub(super) fn ends_unserved(&mut self, end: End) -> End {
        let outcome = match &end {
            End::Dismissed(answer) => Outcome::Error(answer.code),
            _ => Outcome::ClientGone,
        };
        self.refuse(None, outcome);
        end
    }
}
