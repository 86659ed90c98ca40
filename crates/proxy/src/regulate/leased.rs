//! What passes while a session holds a server connection: names of statements are translated, what
//! the server lacks is prepared, what may leave something behind is noted and asked about.

use std::collections::VecDeque;

use std::sync::Arc;

use trace::{Fingerprint, Micros, SqlState};
use wire::Piece;
use wire::backend::tag as reply;
use wire::frame::{HEADER, body};
use wire::frontend::{self, tag};

use super::House;
use super::block::Block;
use super::question::ROW_MAX;
use super::talk::{PARSE_MAX, QUERY_MAX, Talk};
use crate::answer::Answer;
use crate::backend::{CancelKey, ServerState};
use crate::buffer::{Inbox, Outbox};
use crate::cancel::Target;
use crate::conversation::{Expect, Shown};
use crate::gate::{Last, Lease};
use crate::observe::server_want;
use crate::pump::{End, Judge};

mod ahead;
mod answers;
mod asides;
mod messages;
mod notices;
mod rest;

use asides::Aside;
use messages::Told;

/// How much of a client's message must be in hand.
pub(super) fn client_want(message: u8, total: usize) -> usize {
    match message {
        tag::COPY_DATA | tag::FUNCTION_CALL => HEADER,
        tag::QUERY => total.min(QUERY_MAX),
        tag::PARSE => total.min(PARSE_MAX),
        tag::BIND => total.min(frontend::BIND_HEAD),
        _ => total.min(4096),
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
    /// The transaction is open, or the session pinned, and nothing executes.
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
    /// The error that the oldest of them has met.
    refused: Option<Box<Answer>>,
    /// Why the server connection cannot be made the session's: the answer to its request, of which
    /// nothing was sent.
    pub(super) unfit: Option<Box<Answer>>,
    repeat: Repeat,
}

/// Whether the same messages would mean the same if they were judged again: not if one that changes
/// the session's statements comes after one that looks at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    Yes,
    /// Statements were looked at.
    UnlessChanged,
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
            refused: None,
            unfit: None,
            repeat: Repeat::Yes,
        }
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
        self.repeat = match (self.repeat, piece.tag) {
            (Repeat::Yes, tag::BIND | tag::DESCRIBE) => Repeat::UnlessChanged,
            (Repeat::UnlessChanged, tag::QUERY | tag::PARSE | tag::CLOSE) => Repeat::No,
            (repeat, _) => repeat,
        };
        let conversation = &mut self.talk.conversation;
        match piece.tag {
            tag::QUERY => {
                let query = Told { content, is_whole, foreseen };
                return Ok(self.query(&query, replies, times));
            }
            tag::PARSE => return self.parse(&Told { content, is_whole, foreseen }, times),
            tag::BIND => return Ok(self.bind(content, piece.total, times)),
            tag::DESCRIBE => {
                let target = frontend::Target::read(content).map_err(|error| malformed(&error))?;
                return Ok(self.describe(target, times));
            }
            tag::CLOSE => {
                let target = frontend::Target::read(content).map_err(|error| malformed(&error))?;
                return Ok(self.close(target, times));
            }
            tag::EXECUTE => conversation.extended(Some(Expect::Execute), times),
            tag::SYNC => conversation.sync(times),
            tag::FUNCTION_CALL => conversation.function(times),
            tag::FLUSH => {
                conversation.extended(None, times);
                self.take_turns(replies);
            }
            tag::COPY_DONE | tag::COPY_FAIL => conversation.copy_end(),
            tag::COPY_DATA => {}
            tag::TERMINATE => return Err(End::Terminated),
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

    /// Puts in what is to go before the message, then lets the message go its way.
    fn send(&mut self, fate: Fate, len: usize, client: &mut Inbox, to_server: &mut Outbox) {
        let head = match fate {
            Fate::Pass => 0,
            Fate::Drop => len,
            Fate::Behead(head) => head,
        };
        if head > 0 || !self.talk.inserted.is_empty() {
            client.skip(head, to_server);
            to_server.bytes().append(&mut self.talk.inserted);
        }
        client.pass(len - head);
    }
}

impl Judge for Leased<'_> {
    fn hear_client(
        &mut self,
        client: &mut Inbox,
        to_server: &mut Outbox,
        (from_server, to_client): (&mut Inbox, &mut Outbox),
        now: Micros,
    ) -> Result<(), End> {
        self.open_block(to_server.bytes());
        let mut replies = Replies(from_server, to_client);
        while self.hears_client() && !to_server.is_full() && !replies.1.is_full() {
            let Some(piece) = client.step(client_want).map_err(|error| malformed(&error))? else {
                break;
            };
            self.talk.residue.resume();
            let fate = if piece.part.begins() {
                let content = body(client.peek(piece.len));
                let fate = self.message(piece, content, &mut replies, now)?;
                self.rest = if fate == Fate::Drop { Fate::Drop } else { Fate::Pass };
                fate
            } else {
                self.rest
            };
            self.is_within = !piece.part.ends();
            self.talk.conversation.bytes_in(piece.len);
            self.send(fate, piece.len, client, to_server);
        }
        self.notify(&mut replies);
        self.note_work(now);
        Ok(())
    }

    fn hear_server(
        &mut self,
        server: &mut Inbox,
        to_client: &mut Outbox,
        now: Micros,
    ) -> Result<(), End> {
        self.last.at = now;
        self.take_turns(&mut Replies(server, to_client));
        loop {
            let passed = self.pass_bulk(server);
            self.talk.conversation.passed(passed, now);
            let is_aside = self.talk.conversation.hears_aside();
            let want = |message: u8, total: usize| match is_aside {
                true => total.min(ROW_MAX),
                false => server_want(message, total),
            };
            let Some(piece) = server.step(want).map_err(End::ServerBroken)? else { break };
            if piece.part.begins() {
                self.shown = self.reply(piece, server.peek(piece.len), now)?;
                if piece.tag == reply::READY_FOR_QUERY && self.shown == Shown::Client {
                    self.deliver(server, to_client);
                }
            } else if self.shown == Shown::Client {
                self.talk.conversation.bytes_out(piece.len);
            }
            match self.shown {
                Shown::Client => server.pass(piece.len),
                Shown::Nobody => server.skip(piece.len, to_client),
            }
            let mut replies = Replies(server, to_client);
            if is_aside {
                self.settle(&mut replies);
                self.notify(&mut replies);
            }
            if piece.part.begins() {
                self.take_turns(&mut replies);
            }
        }
        Ok(())
    }

    fn hears_client(&self) -> bool {
        let is_whole = !self.is_within;
        let waits = self.holds_back() || self.talk.conversation.holds_back();
        self.unfit.is_none() && !(is_whole && waits)
    }

    fn is_done(&mut self, to_server: &mut Outbox) -> bool {
        let is_done = self.wind_up(to_server);
        if !is_done {
            self.note_rest();
        }
        is_done
    }

    fn may_repeat(&self) -> bool {
        self.repeat != Repeat::No
    }
}
