//! What is known of one listener's channels: who listens to what, and what is asked of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use trace::SessionId;

use super::mailbox::Mailbox;
use crate::answer::Answer;

/// A channel's name as PostgreSQL has it.
pub(in crate::regulate) type Channel = Box<[u8]>;

/// A session that listens.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) session: SessionId,
    pub(super) mailbox: Arc<Mailbox>,
}

/// What a session asks of a listener. A session waits for its answer before it asks again, so there
/// are never more than sessions.
#[derive(Debug)]
pub(super) enum Request {
    /// To run this `LISTEN`, and to note its member as soon as that was done.
    Listen {
        /// The statement as its client wrote it.
        text: Box<[u8]>,
        channel: Channel,
        member: Member,
        reply: oneshot::Sender<Result<Listened, Answer>>,
    },
    /// To say when all has been delivered that was notified before.
    Catch { reply: oneshot::Sender<()> },
}

/// What the server said to a `LISTEN`, up to its `ReadyForQuery`.
#[derive(Debug, Default)]
pub(super) struct Listened {
    pub(super) messages: Vec<u8>,
    pub(super) error: Option<trace::SqlState>,
}

/// Who listens to a channel.
#[derive(Debug, Default)]
struct Audience {
    members: Vec<Member>,
    /// `LISTEN`s under way.
    coming: u32,
}

#[derive(Debug, Default)]
struct State {
    audiences: HashMap<Channel, Audience>,
    requests: VecDeque<Request>,
    /// Channels that may have no audience any more.
    left: Vec<Channel>,
    is_closed: bool,
}

/// A listener, as sessions know it.
#[derive(Debug, Default)]
pub(super) struct Board {
    state: Mutex<State>,
    /// There are requests, or somebody has left.
    pub(super) changed: Notify,
}

/// What the listener has to do.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) requests: VecDeque<Request>,
    /// Nobody listens to these any more.
    pub(super) unlisten: Vec<Channel>,
}

impl Board {
    /// Asks something; gives the request back if the listener is closed.
    pub(super) fn ask(&self, request: Request) -> Result<(), Request> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(request);
        }
        if let Request::Listen { channel, .. } = &request {
            state.audiences.entry(channel.clone()).or_default().coming += 1;
        }
        state.requests.push_back(request);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// The session no longer listens to this channel.
    pub(super) fn leave(&self, channel: Channel, session: SessionId) {
        let mut state = self.state.lock();
        if let Some(audience) = state.audiences.get_mut(&channel) {
            audience.members.retain(|member| member.session != session);
            state.left.push(channel);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// A `LISTEN` was done; the member is `None` if it failed or its session is gone.
    pub(super) fn arrive(&self, channel: &Channel, member: Option<&Member>) {
        let mut state = self.state.lock();
        let Some(audience) = state.audiences.get_mut(channel) else { return };
        audience.coming -= 1;
        match member {
            Some(member) if audience.members.iter().all(|m| m.session != member.session) => {
                audience.members.push(member.clone());
            }
            Some(_) => {}
            None => state.left.push(channel.clone()),
        }
    }

    /// Takes what is to be done.
    pub(super) fn work(&self) -> Work {
        let mut state = self.state.lock();
        let requests = std::mem::take(&mut state.requests);
        let mut unlisten = std::mem::take(&mut state.left);
        unlisten.retain(|channel| {
            let audience = state.audiences.get(channel);
            let is_empty = audience.is_some_and(|a| a.members.is_empty() && a.coming == 0);
            if is_empty {
                state.audiences.remove(channel);
            }
            is_empty
        });
        Work { requests, unlisten }
    }

    /// Gives a message to all who listen to the channel; says whose mailbox is crowded by that.
    pub(super) fn deliver(&self, channel: &[u8], message: &Arc<[u8]>) -> Vec<Arc<Mailbox>> {
        let state = self.state.lock();
        let mut crowded = Vec::new();
        for member in state.audiences.get(channel).into_iter().flat_map(|a| &a.members) {
            member.mailbox.put(message);
            if member.mailbox.is_crowded() {
                crowded.push(Arc::clone(&member.mailbox));
            }
        }
        crowded
    }

    /// Whether nobody listens, and nobody wants to.
    pub(super) fn is_deserted(&self) -> bool {
        let state = self.state.lock();
        state.audiences.is_empty() && state.requests.is_empty()
    }

    /// Closes the listener, if it is deserted.
    pub(super) fn close_if_deserted(&self) -> bool {
        let mut state = self.state.lock();
        state.is_closed = state.audiences.is_empty() && state.requests.is_empty();
        state.is_closed
    }

    /// Closes the listener: all who listen may miss something now. Gives the requests that nobody
    /// will answer.
    pub(super) fn close(&self) -> VecDeque<Request> {
        let mut state = self.state.lock();
        state.is_closed = true;
        let audiences = std::mem::take(&mut state.audiences);
        audiences.values().flat_map(|a| &a.members).for_each(|m| m.mailbox.lose());
        std::mem::take(&mut state.requests)
    }
}
