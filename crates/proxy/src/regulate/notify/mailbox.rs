//! Notifications that wait until their session's client may hear them: it is idle, or its
//! transaction is over.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use trace::SqlState;

use crate::answer::Answer;
use crate::buffer::Outbox;

/// Bytes of notifications that wait for one client. PostgreSQL would let its own queue on disk grow
/// instead; but we hold one place in it for all, and the others go on.
const WAITING_MAX: usize = 4 << 20;

/// From so many bytes on the listener gives the client a moment to take them.
const CROWDED: usize = WAITING_MAX / 4;

/// Why a session that listens cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doom {
    /// More came than its client took.
    Full,
    /// The listener's server connection is gone, and what it would have said.
    Lost,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Arc<[u8]>>,
    bytes: usize,
    /// It was given a moment, in vain.
    is_slow: bool,
    doom: Option<Doom>,
}

/// One session's mailbox.
#[derive(Debug, Default)]
pub(in crate::regulate) struct Mailbox {
    state: Mutex<State>,
    arrived: Notify,
    relieved: Notify,
    doomed: Notify,
}

impl Mailbox {
    /// Puts a message in.
    pub(super) fn put(&self, message: &Arc<[u8]>) {
        let mut state = self.state.lock();
        if state.doom.is_some() {
            return;
        }
        if state.bytes + message.len() > WAITING_MAX {
            drop(state);
            return self.end(Doom::Full);
        }
        state.bytes += message.len();
        state.waiting.push_back(Arc::clone(message));
        drop(state);
        self.arrived.notify_one();
    }

    /// Nothing more will come.
    pub(super) fn lose(&self) {
        self.end(Doom::Lost);
    }

    fn end(&self, doom: Doom) {
        let mut state = self.state.lock();
        state.doom.get_or_insert(doom);
        // What came so far is delivered, unless it is too much.
        if doom == Doom::Full {
            state.waiting.clear();
            state.bytes = 0;
        }
        drop(state);
        self.relieved.notify_one();
        self.doomed.notify_one();
    }

    /// Moves messages to a client's outbox while that has room; `false` if some are left.
    pub(super) fn empty_into(&self, outbox: &mut Outbox) -> bool {
        let mut state = self.state.lock();
        while !outbox.is_full() {
            let Some(message) = state.waiting.pop_front() else { break };
            state.bytes -= message.len();
            outbox.bytes().extend_from_slice(&message);
        }
        if state.bytes < CROWDED {
            state.is_slow = false;
            self.relieved.notify_one();
        }
        state.waiting.is_empty()
    }

    /// Whether the client should be given a moment to take what waits.
    pub(super) fn is_crowded(&self) -> bool {
        let state = self.state.lock();
        state.bytes >= CROWDED && !state.is_slow
    }

    /// Returns when the client has taken enough.
    pub(super) async fn relieved(&self) {
        while self.is_crowded() {
            self.relieved.notified().await;
        }
    }

    /// The client's moment is over. If it has not used it, it gets none again: so it holds up the
    /// others only once.
    pub(super) fn moment_ended(&self) {
        let mut state = self.state.lock();
        state.is_slow |= state.bytes >= CROWDED;
    }

    /// Returns when something has arrived. Cancellation safe; for one session alone.
    pub(in crate::regulate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Returns when the session cannot go on, with its last word. Cancellation safe.
    pub(in crate::regulate) async fn doomed(&self) -> Answer {
        loop {
            let doom = self.state.lock().doom;
            match doom {
                None => self.doomed.notified().await,
                Some(Doom::Full) => {
                    let text = "surgetank: too many notifications wait for this client";
                    let mut answer = Answer::new(SqlState(*b"54000"), text);
                    answer.hint = format!("it left {} MiB of them unread", WAITING_MAX >> 20);
                    return answer;
                }
                Some(Doom::Lost) => {
                    let text = "surgetank: the server connection that listens for this session is \
                                gone, and notifications may be lost";
                    return Answer::new(SqlState::ADMIN_SHUTDOWN, text);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mailbox_has_an_end() {
        let mailbox = Mailbox::default();
        let message: Arc<[u8]> = vec![b'A'; 8000].into();
        let fit = WAITING_MAX / message.len();
        for _ in 0..fit {
            mailbox.put(&message);
        }
        let mut outbox = Outbox::default();
        assert!(!mailbox.empty_into(&mut outbox), "the outbox has an end too");
        let taken = outbox.bytes().len() / message.len();
        for _ in 0..taken {
            mailbox.put(&message);
        }
        assert_eq!(mailbox.state.lock().doom, None);
        mailbox.put(&message);
        assert_eq!(mailbox.doomed().await.code, SqlState(*b"54000"));
        assert_eq!(mailbox.state.lock().bytes, 0);
    }

    #[tokio::test]
    async fn what_came_before_the_loss_is_delivered() {
        let mailbox = Mailbox::default();
        mailbox.put(&vec![1, 2, 3].into());
        mailbox.lose();
        assert_eq!(mailbox.doomed().await.code, SqlState::ADMIN_SHUTDOWN);
        let mut outbox = Outbox::default();
        assert!(mailbox.empty_into(&mut outbox));
        assert_eq!(outbox.bytes(), &[1, 2, 3]);
    }
}
