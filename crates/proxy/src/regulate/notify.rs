//! LISTEN without a server connection of one's own.
//!
//! ```text
//!   session ── LISTEN ──▶ board ──▶ listener: one server connection for each database, user and
//!      ▲                    │       client_encoding, outside the limit, while anybody listens
//!      └──── mailbox ◀──────┴────── NotificationResponse
//! ```
//!
//! A `LISTEN` is answered when the listener has run it: nothing that is notified after the answer
//! is missed. Notifications are for clients that are in no transaction: at once for one that is
//! idle, before its `ReadyForQuery` for another. If the listener breaks, the sessions that listen
//! end, for they may have missed something.
//!
//! A notification names the backend that sent it. Our backends are handed from session to session,
//! so the name is that of the session ([`tenants`]); and a session that listens waits, before it
//! takes over a backend and before it gives one back, until the listener has caught up, so that it
//! can never take another's notification for its own.
//!
//! What differs from PostgreSQL: `pg_listening_channels()` does not know these channels.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trace::SessionId;

mod board;
mod listener;
mod mailbox;
mod session;
mod tenants;
mod wish;

use board::{Board, Request};
use listener::Place;
pub(super) use mailbox::Mailbox;
use tenants::Tenants;

pub(super) use board::Channel;

use super::House;
use super::plain::Plain;
use crate::answer::Answer;
use crate::buffer::Outbox;
use crate::pool::Key;
use crate::timer::timeout;

/// How long a session waits for the listener to catch up. One that takes longer has broken, or is
/// about to.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The listeners of one database.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    boards: Mutex<HashMap<Arc<Key>, Arc<Board>>>,
    tenants: Tenants,
    tasks: TaskTracker,
    ending: CancellationToken,
    /// Fires when the present listeners are outdated.
    renewed: Mutex<CancellationToken>,
}

impl Exchange {
    /// From now on a listener ends as soon as nobody listens.
    pub(crate) fn end(&self) {
        self.ending.cancel();
        self.tasks.close();
    }

    /// Returns when, after [`Self::end`], there is no listener any more.
    pub(crate) async fn ended(&self) {
        self.tasks.wait().await;
    }

    /// The server is another: present listeners end, and with them the sessions that listen.
    pub(crate) fn renew(&self) {
        std::mem::take(&mut *self.renewed.lock()).cancel();
    }

    fn outdated(&self) -> CancellationToken {
        self.renewed.lock().clone()
    }

    async fn is_ending(&self) {
        self.ending.cancelled().await;
    }

    /// The listener for this place, opened if there is none; never `closed`.
    fn board(house: &Arc<House>, place: Place, closed: Option<&Arc<Board>>) -> Arc<Board> {
        let this = &house.exchange;
        let mut boards = this.boards.lock();
        if let Some(board) = boards.get(&place.key)
            && !closed.is_some_and(|closed| Arc::ptr_eq(closed, board))
        {
            return Arc::clone(board);
        }
        let board = Arc::new(Board::default());
        boards.insert(Arc::clone(&place.key), Arc::clone(&board));
        drop(boards);
        let (house, own) = (Arc::clone(house), Arc::clone(&board));
        this.tasks.spawn(async move {
            let open = Open::new(&house, &place.key, &own);
            listener::run(Arc::clone(&house), place, Arc::clone(&own)).await;
            drop(open);
        });
        board
    }
}

/// A listener that runs; dropped, it is forgotten.
struct Open {
    house: Arc<House>,
    key: Arc<Key>,
    board: Arc<Board>,
}

impl Open {
    fn new(house: &Arc<House>, key: &Arc<Key>, board: &Arc<Board>) -> Self {
        house.exchange.tenants.listener_began();
        Self { house: Arc::clone(house), key: Arc::clone(key), board: Arc::clone(board) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Also when the worker that it lived in has ended.
        self.board.close();
        let exchange = &self.house.exchange;
        let mut boards = exchange.boards.lock();
        if boards.get(&self.key).is_some_and(|board| Arc::ptr_eq(board, &self.board)) {
            boards.remove(&self.key);
        }
        drop(boards);
        exchange.tenants.listener_ended();
    }
}

/// What a session listens to.
#[derive(Debug)]
pub(super) struct Listening {
    session: SessionId,
    board: Arc<Board>,
    mailbox: Arc<Mailbox>,
    channels: HashSet<Channel>,
    /// `UNLISTEN`s in the transaction under way; `None` is all.
    leaving: Vec<Option<Channel>>,
}

impl Listening {
    fn new(session: SessionId, board: Arc<Board>) -> Self {
        let mailbox = Arc::default();
        Self { session, board, mailbox, channels: HashSet::new(), leaving: Vec::new() }
    }

    /// Whether there is anything it listens to.
    pub(super) fn is_active(&self) -> bool {
        !self.channels.is_empty()
    }

    /// Whether it listens to this channel.
    pub(super) fn has(&self, channel: &[u8]) -> bool {
        self.channels.contains(channel)
    }

    /// No longer listens to a channel, or to any.
    pub(super) fn leave(&mut self, channel: Option<&[u8]>) {
        let left: Vec<Channel> = match channel {
            Some(channel) => self.channels.take(channel).into_iter().collect(),
            None => self.channels.drain().collect(),
        };
        for channel in left {
            self.board.leave(channel, self.session);
        }
    }

    /// The server gets an `UNLISTEN`, which counts when its transaction commits.
    pub(super) fn leave_later(&mut self, text: &[u8]) {
        // Cut without regard to quotes: a string that has such a statement in it is not worth more.
        for statement in text.split(|byte| *byte == b';') {
            if let Some(Plain::Unlisten(channel)) = Plain::read(statement) {
                self.leaving.push(channel);
            }
        }
    }

    /// The transaction has ended; its `UNLISTEN`s count if it was committed.
    pub(super) fn transaction_ended(&mut self, is_committed: bool) {
        for channel in std::mem::take(&mut self.leaving) {
            if is_committed {
                self.leave(channel.as_deref());
            }
        }
    }

    /// Hands out what has arrived; `false` if there was no room for all of it.
    pub(super) fn empty_into(&self, outbox: &mut Outbox) -> bool {
        self.mailbox.empty_into(outbox)
    }

    /// Where its notifications arrive.
    pub(super) fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }

    /// Something has arrived.
    pub(super) async fn arrived(&self) {
        self.mailbox.arrived().await;
    }

    /// Returns when all has arrived that was notified so far.
    pub(super) async fn catch_up(&self) {
        let (reply, done) = oneshot::channel();
        if self.board.ask(Request::Catch { reply }).is_ok() {
            // Late or broken: its end will be noticed elsewhere.
            let _ = timeout(CATCH_UP, done).await;
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.leave(None);
    }
}

/// Returns when the session cannot go on listening, with its last word; never if it does not.
pub(super) async fn doomed(mailbox: Option<&Mailbox>) -> Answer {
    match mailbox {
        Some(mailbox) => mailbox.doomed().await,
        None => std::future::pending().await,
    }
}
