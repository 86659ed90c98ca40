//! What passes while a session holds a server connection: names of statements are translated, what
//! the server lacks is prepared, what may leave something behind is noted and asked about.

use std::collections::VecDeque;

use std::sync::Arc;

use trace::{Fingerprint, Micros, SqlState, TransactionState};
use wire::Piece;
use wire::frame::HEADER;
use wire::frontend::{self, tag};

use super::House;
use super::block::Block;
use super::talk::{PARSE_MAX, QUERY_MAX, Talk};
use crate::answer::Answer;
use crate::backend::{CancelKey, ServerState};
use crate::buffer::{Inbox, Outbox};
use crate::cancel::Target;
use crate::conversation::{Expect, Shown, Times};
use crate::gate::{Last, Lease};
use crate::pool::Need;
use crate::pump::End;

mod ahead;
mod answers;
mod asides;
mod copies;
mod judge;
mod messages;
mod notices;
mod own_names;
mod rest;
mod sequences;

use asides::Aside;
use copies::Description;
use messages::Told;

/// Length of the number of the function in a `FunctionCall`.
const FUNCTION_NUMBER: usize = 4;

/// How much of a client's message must be in hand.
pub(super) fn client_want(message: u8, total: usize) -> usize {
    match message {
        tag::COPY_DATA => HEADER,
        tag::FUNCTION_CALL => total.min(HEADER + FUNCTION_NUMBER),
        tag::QUERY => total.min(QUERY_MAX),
        tag::PARSE => total.min(PARSE_MAX),
        tag::BIND => total.min(frontend::BIND_HEAD),
        tag::EXECUTE | tag::DESCRIBE | tag::CLOSE => total.min(4096),
        // Nothing of the others is read, and one that nobody knows ends the session at once.
        _ => HEADER,
    }
}

/// A message that no client of version 3 sends.
pub(super) fn unknown_message(message: u8) -> End {
    let text = format!("surgetank: unknown message {:?}", char::from(message));
    End::dismissed(Answer::new(SqlState::PROTOCOL_VIOLATION, text))
}

/// What becomes of a message, after what was put before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It goes on as it is.
    Pass,
    /// It does not go on.
    Drop,
    /// It is judged again once the server has answered something.
    Hold,
    /// The client says nothing more.
    End,
    /// Its first bytes do not go on, the rest does.
    Behead(usize),
}

/// A session with a server connection.
pub(super) struct Leased<'a> {
    talk: &'a mut Talk,
    server: &'a mut ServerState,
    house: &'a House,
    lease: &'a Lease,
    /// What executed last, and when the server was heard last.
    last: Last,
    /// The transaction or the batch is open, or the session pinned, and nothing executes.
    is_resting: bool,
    /// Where the session can be cancelled, once the server is about its own request.
    soon: Option<(&'a Target, &'a Arc<CancelKey>)>,
    /// What becomes of the rest of the client's message, if it comes in pieces.
    rest: Fate,
    /// Whether a rest is to come.
    is_within: bool,
    /// Whether the client sees the rest of the server's message.
    shown: Shown,
    /// Queries of our own, in the order in which they will be answered.
    asides: VecDeque<Aside>,
    /// Descriptions that are due, and errors of ours, in the order in which their turns come.
    descriptions: VecDeque<Description>,
    refusals: VecDeque<Answer>,
    asks_along: AsksAlong,
    waits: Waits,
    /// While the session's statements are on the server under its own names: those that PostgreSQL
    /// says are left.
    own_names: Option<Vec<Box<[u8]>>>,
    /// The error that the oldest of the asides has met.
    refused: Option<Box<Answer>>,
    /// Why the server connection cannot be made the session's: the answer to its request, of which
    /// nothing was sent.
    pub(super) unfit: Option<Box<Answer>>,
    repeat: Repeat,
    first_request: FirstRequest,
    /// What the session got its server connection for, and what its request turned out to need.
    got: Need,
    pub(super) needs: Option<Need>,
}

/// Why the client is not heard.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "reasons, each for itself")]
struct Waits {
    /// Its message at hand waits for an answer of the server.
    held: bool,
    /// It is about to leave: its next request waits until this one is answered.
    paced: bool,
    /// It is not told yet that the server is ready.
    ready_withheld: bool,
}

/// The request that the session got its server connection for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstRequest {
    /// It waits for the session's settings.
    Due,
    /// It was judged.
    Heard,
}

/// Whether PostgreSQL is asked what a request leaves behind in the same write as the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AsksAlong {
    /// Nothing of it need be asked about.
    Nothing,
    Yes,
    /// It must end first.
    No,
}

/// Whether what was judged may be judged again, for another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    Yes,
    /// The client was told something already.
    No,
}

/// Where replies of our own go: after all that the server has said.
struct Replies<'a>(&'a mut Inbox, &'a mut Outbox);

impl Replies<'_> {
    fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.0.settle(self.1);
        write(self.1.bytes());
    }
}

fn malformed(error: &wire::Error) -> End {
    End::dismissed(Answer::protocol(error))
}

impl<'a> Leased<'a> {
    pub(super) fn new(
        talk: &'a mut Talk,
        server: &'a mut ServerState,
        (house, lease): (&'a House, &'a Lease),
        (target, key): (&'a Target, &'a Arc<CancelKey>),
        got: Need,
    ) -> Self {
        let soon = if talk.block == Block::Closed {
            target.attach(key);
            None
        } else {
            target.attach_soon(key);
            Some((target, key))
        };
        let last = Last { statement: Fingerprint::NONE, at: talk.assigned_at() };
        Self {
            talk,
            server,
            house,
            lease,
            last,
            is_resting: false,
            soon,
            rest: Fate::Pass,
            is_within: false,
            shown: Shown::Client,
            asides: VecDeque::new(),
            descriptions: VecDeque::new(),
            refusals: VecDeque::new(),
            asks_along: AsksAlong::Nothing,
            waits: Waits::default(),
            own_names: None,
            refused: None,
            unfit: None,
            repeat: Repeat::Yes,
            first_request: FirstRequest::Due,
            got,
            needs: None,
        }
    }

    /// Whether the client need not know that the server connection is gone: it is owed nothing, in
    /// no transaction, and has left nothing there that is known.
    pub(super) fn may_lose_server(&self) -> bool {
        let conversation = &self.talk.conversation;
        conversation.owes_nobody()
            && conversation.transaction() == TransactionState::Idle
            && self.own_names.is_none()
            && self.talk.residue.is_lost_without_harm()
    }

    /// Judges the beginning of a client's message, or all of it.
    fn message(
        &mut self,
        piece: Piece,
        content: &[u8],
        replies: &mut Replies<'_>,
        now: Micros,
    ) -> Result<Fate, End> {
        let foreseen = self.talk.foreseen.take();
        let conversation = &mut self.talk.conversation;
        if conversation.is_skipping() && !matches!(piece.tag, tag::SYNC | tag::TERMINATE) {
            // The server would discard it; and what is not sent need not be undone.
            return Ok(Fate::Drop);
        }
        let is_whole = piece.len == piece.total;
        let times = self.talk.times(now);
        let told = Told { content, is_whole, foreseen };
        let fate = match piece.tag {
            tag::QUERY => self.query(&told, replies, times),
            tag::PARSE => self.parse(&told, times)?,
            tag::BIND => self.bind(content, piece.total, times),
            tag::DESCRIBE => self.describe(content, times),
            tag::CLOSE => self.close(content, times),
            tag::FUNCTION_CALL => self.function(content, times),
            other => self.other_message(other, replies, times)?,
        };
        if fate == Fate::Hold {
            self.talk.arrives(times.arrived);
        }
        Ok(fate)
    }

    /// A message that brings and names no statement.
    fn other_message(
        &mut self,
        message: u8,
        replies: &mut Replies<'_>,
        times: Times,
    ) -> Result<Fate, End> {
        let conversation = &mut self.talk.conversation;
        match message {
            tag::EXECUTE => conversation.extended(Some(Expect::Execute), times),
            tag::SYNC => {
                self.close_much_surplus(times);
                self.talk.conversation.sync(times);
                self.talk.names.next_batch();
            }
            tag::FLUSH => {
                conversation.extended(None, times);
                self.take_turns(replies);
            }
            tag::COPY_DONE | tag::COPY_FAIL => conversation.copy_end(),
            tag::COPY_DATA => {}
            tag::TERMINATE => return Ok(Fate::End),
            unknown => return Err(unknown_message(unknown)),
        }
        Ok(Fate::Pass)
    }

    /// Tells the client why it is pinned, if it wants to know.
    fn notify(&mut self, replies: &mut Replies<'_>) {
        if let Some(notice) = self.talk.notice.take() {
            replies.put(|out| notice.put_notice(out));
        }
    }

    /// The message at hand is judged again once the server has answered something; what that needs
    /// is sent now.
    fn hold(&mut self, client: &mut Inbox, to_server: &mut Outbox) {
        self.waits.held = true;
        if !self.talk.inserted.is_empty() {
            client.skip(0, to_server);
            to_server.bytes().append(&mut self.talk.inserted);
        }
        client.step_back();
    }

    /// Changes of the session's names that count now.
    fn note_changes(&mut self) {
        let changes = self.talk.conversation.take_changes();
        if changes > 0 {
            self.talk.names.confirm(changes);
        }
    }

    /// Puts in what is to go before the message, then lets the message go its way.
    fn send(&mut self, fate: Fate, len: usize, client: &mut Inbox, to_server: &mut Outbox) {
        let head = match fate {
            Fate::Pass | Fate::Hold => 0,
            Fate::Drop | Fate::End => len,
            Fate::Behead(head) => head,
        };
        if head > 0 || !self.talk.inserted.is_empty() {
            client.skip(head, to_server);
            to_server.bytes().append(&mut self.talk.inserted);
        }
        client.pass(len - head);
    }
}
