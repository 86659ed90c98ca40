//! What passes while a session holds a server connection: names of statements are translated, what
//! the server lacks is prepared, what leaves something behind pins the session.

use trace::{Micros, PinCause, SqlState};
use wire::Piece;
use wire::backend::{Report, tag as reply};
use wire::frame::{HEADER, body};
use wire::frontend::{self, Target, tag};

use super::talk::{PARSE_MAX, QUERY_MAX, Talk, Tie};
use crate::answer::Answer;
use crate::buffer::{Inbox, Outbox};
use crate::conversation::{Expect, Shown};
use crate::observe::server_want;
use crate::pump::{End, Judge};
use crate::statements::{Registry, ServerStatements};

mod messages;

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
    End::Dismissed(Answer::new(SqlState::PROTOCOL_VIOLATION, text))
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
    server: &'a mut ServerStatements,
    statements: &'a Registry,
    /// What becomes of the rest of the client's message, if it comes in pieces.
    rest: Fate,
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
    End::Dismissed(Answer::protocol(error))
}

impl<'a> Leased<'a> {
    pub(super) fn new(
        talk: &'a mut Talk,
        server: &'a mut ServerStatements,
        statements: &'a Registry,
    ) -> Self {
        Self { talk, server, statements, rest: Fate::Pass }
    }

    /// Judges the beginning of a client's message, or all of it.
    fn message(
        &mut self,
        piece: Piece,
        content: &[u8],
        replies: &mut Replies<'_>,
        now: Micros,
    ) -> Result<Fate, End> {
        let conversation = &mut self.talk.conversation;
        if conversation.is_skipping() && !matches!(piece.tag, tag::SYNC | tag::TERMINATE) {
            // The server would discard it; and what is not sent need not be undone.
            return Ok(Fate::Drop);
        }
        let is_whole = piece.len == piece.total;
        let times = self.talk.times(now);
        let conversation = &mut self.talk.conversation;
        match piece.tag {
            tag::QUERY => return Ok(self.query(content, is_whole, replies, times)),
            tag::PARSE => return self.parse(content, is_whole, times),
            tag::BIND => return Ok(self.bind(content, piece.total, times)),
            tag::DESCRIBE => {
                let target = Target::read(content).map_err(|error| malformed(&error))?;
                return Ok(self.describe(target, times));
            }
            tag::CLOSE => {
                let target = Target::read(content).map_err(|error| malformed(&error))?;
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

    /// Gives the replies of our own whose turn has come.
    fn take_turns(&mut self, replies: &mut Replies<'_>) {
        while let Some(reply) = self.talk.conversation.our_turn() {
            replies.put(|out| reply.put(out));
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

    /// Judges the beginning of a server's message, or all of it; says whether the client sees it.
    fn reply(&mut self, piece: Piece, message: &[u8], now: Micros) -> Result<Shown, End> {
        let content = body(message);
        let statement = self.talk.conversation.statement();
        let heard = self
            .talk
            .conversation
            .answered(piece.tag, content, message.len(), now)
            .map_err(|_| End::ServerBroken(wire::Error::Malformed("order of answers")))?;
        if piece.tag == reply::ERROR_RESPONSE {
            self.server.undo(&self.talk.conversation.take_undone());
            if self.talk.conversation.is_uncertain() {
                let statement = self.talk.conversation.statement();
                self.talk.pin(PinCause::Unknown, statement);
            }
            let report = Report::read(content);
            if report.code == SqlState::FEATURE_NOT_SUPPORTED.0 {
                // A table has changed under a statement. The client prepares it again, as it must
                // without a proxy, and must not be given the stale one.
                self.statements.forget(statement);
            }
            if report.is_fatal() {
                self.talk.hear_fatal();
            }
        }
        if let Some(request) = heard.done {
            self.talk.journal.request(request);
        }
        Ok(heard.shown)
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
        let mut replies = Replies(from_server, to_client);
        while !to_server.is_full() && !replies.1.is_full() {
            let Some(piece) = client.step(client_want).map_err(|error| malformed(&error))? else {
                break;
            };
            let fate = if piece.part.begins() {
                let content = body(client.peek(piece.len));
                let fate = self.message(piece, content, &mut replies, now)?;
                self.rest = if fate == Fate::Drop { Fate::Drop } else { Fate::Pass };
                fate
            } else {
                self.rest
            };
            self.talk.conversation.bytes_in(piece.len);
            self.send(fate, piece.len, client, to_server);
        }
        Ok(())
    }

    fn hear_server(
        &mut self,
        server: &mut Inbox,
        to_client: &mut Outbox,
        now: Micros,
    ) -> Result<(), End> {
        self.take_turns(&mut Replies(server, to_client));
        while let Some(piece) = server.step(server_want).map_err(End::ServerBroken)? {
            if piece.part.begins() {
                match self.reply(piece, server.peek(piece.len), now)? {
                    Shown::Client => server.pass(piece.len),
                    Shown::Nobody => server.skip(piece.len, to_client),
                }
                self.take_turns(&mut Replies(server, to_client));
            } else {
                self.talk.conversation.bytes_out(piece.len);
                server.pass(piece.len);
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.talk.tie == Tie::Loose && self.talk.conversation.may_release()
    }
}
