//! What a session says while it holds no server connection: answered here where no server is
//! needed.

use trace::{Fingerprint, Outcome, RequestKind, SqlState};
use wire::backend::{self, tag as reply};
use wire::frame::{HEADER, body};
use wire::frontend::{self, Target, tag};

use super::Session;
use super::block::Done;
use super::leased::{client_want, unknown_message};
use super::talk::Talk;
use crate::answer::Answer;
use crate::journal::Reading;
use crate::pump::End;

/// How far the client was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Local {
    /// All that is in hand.
    Done,
    /// The next message needs a server connection; it is still in the inbox.
    NeedsServer,
    /// The next messages need the listener; they are still in the inbox.
    NeedsListener,
    /// The next message may leave channels: what was notified before must have arrived. It is still
    /// in the inbox.
    NeedsNews,
}

/// What becomes of one message.
enum Fate {
    Discard,
    NeedsServer,
    NeedsListener,
    NeedsNews,
}

impl Session {
    /// Hears the client as far as no server connection is needed.
    pub(super) fn local(&mut self) -> Result<Local, End> {
        let refuse = |error| End::dismissed(Answer::protocol(&error));
        while !self.client.outbox.is_full() {
            let Some(piece) = self.client.inbox.step(client_want).map_err(refuse)? else {
                return Ok(Local::Done);
            };
            // What goes on is the rest of a message that was discarded.
            let fate = if piece.part.begins() {
                self.hear(piece.tag, piece.len, piece.len == piece.total)?
            } else {
                Fate::Discard
            };
            match fate {
                Fate::Discard => self.client.inbox.discard(piece.len),
                Fate::NeedsServer => {
                    self.client.inbox.step_back();
                    return Ok(Local::NeedsServer);
                }
                Fate::NeedsListener => {
                    self.client.inbox.step_back();
                    return Ok(Local::NeedsListener);
                }
                Fate::NeedsNews => {
                    self.client.inbox.step_back();
                    return Ok(Local::NeedsNews);
                }
            }
        }
        Ok(Local::Done)
    }

    fn hear(&mut self, message: u8, len: usize, is_whole: bool) -> Result<Fate, End> {
        let Self { client, talk, house, .. } = self;
        let content = body(client.inbox.peek(len));
        match message {
            tag::TERMINATE => return Err(End::Terminated),
            tag::SYNC => {
                talk.refusing = false;
                talk.deliver(&mut client.outbox);
                backend::put_ready(client.outbox.bytes(), talk.status());
            }
            // Nothing is held back, and no COPY is under way: the server would drop these too.
            tag::FLUSH | tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => {}
            _ if talk.refusing => {}
            tag::CLOSE if is_whole => {
                match Target::read(content) {
                    Ok(Target::Statement([])) => talk.names.drop_unnamed(),
                    Ok(Target::Statement(name)) => {
                        talk.names.remove(name);
                    }
                    // Portals do not outlive their transaction; closing none is no error.
                    Ok(Target::Portal(_)) => {}
                    // PostgreSQL says what is wrong with it.
                    Err(_) => return Ok(Fate::NeedsServer),
                }
                backend::put_bare(client.outbox.bytes(), reply::CLOSE_COMPLETE);
            }
            tag::QUERY if is_whole => {
                let Ok(text) = frontend::text(content) else { return Ok(Fate::NeedsServer) };
                if talk.needs_news(text) {
                    return Ok(Fate::NeedsNews);
                }
                let Some((done, statement)) = talk.answer(text) else {
                    return Ok(talk.needs(client.inbox.unjudged()));
                };
                let answer = client.outbox.bytes();
                let before = answer.len();
                match done {
                    Done::Command(tag) => backend::put_command_complete(answer, tag),
                    Done::Nothing => backend::put_bare(answer, reply::EMPTY_QUERY_RESPONSE),
                }
                talk.deliver(&mut client.outbox);
                let answer = client.outbox.bytes();
                backend::put_ready(answer, talk.status());
                let bytes = (len, answer.len() - before);
                talk.record_local(RequestKind::Simple, statement, bytes, Outcome::Ok);
            }
            tag::PARSE if is_whole && talk.prepares_listen(content, &house.statements) => {
                backend::put_bare(client.outbox.bytes(), reply::PARSE_COMPLETE);
            }
            tag::DESCRIBE if is_whole && talk.describes_listen(content) => {
                let no_parameters = |out: &mut Vec<u8>| out.extend_from_slice(&[0, 0]);
                let out = client.outbox.bytes();
                wire::frame::put(out, reply::PARAMETER_DESCRIPTION, no_parameters);
                backend::put_bare(out, reply::NO_DATA);
            }
            tag::PARSE | tag::BIND => return Ok(talk.needs(client.inbox.unjudged())),
            tag::QUERY | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE | tag::FUNCTION_CALL => {
                return Ok(Fate::NeedsServer);
            }
            unknown => return Err(unknown_message(unknown)),
        }
        Ok(Fate::Discard)
    }

    /// The statement with which the request begins, if it matters now.
    pub(super) fn first_statement(&mut self) -> Fingerprint {
        self.talk.foreseen = None;
        if !self.house.gate.is_curious() {
            return Fingerprint::NONE;
        }
        self.talk.foreseen = self.first_reading();
        self.talk.foreseen.map_or(Fingerprint::NONE, |reading| reading.fingerprint)
    }

    /// The reading of the statement with which the request begins.
    pub(super) fn first_reading(&mut self) -> Option<Reading> {
        let inbox = &mut self.client.inbox;
        let Ok(Some(piece)) = inbox.step(client_want) else { return None };
        let reading = self.talk.reading_of(piece.tag, body(inbox.peek(piece.len)));
        inbox.step_back();
        reading
    }

    /// The next message gets no server connection: takes it out and says why, unless nobody listens
    /// any more. The session lives on.
    pub(super) fn refuse(&mut self, answer: Option<&Answer>, outcome: Outcome) {
        // It was scanned before, so it is there and sound.
        let Ok(Some(piece)) = self.client.inbox.step(client_want) else { return };
        let content = body(self.client.inbox.peek(piece.len));
        let reading = self.talk.reading_of(piece.tag, content);
        let statement = reading.map_or(Fingerprint::NONE, |reading| reading.fingerprint);
        let kind = match piece.tag {
            tag::QUERY => RequestKind::Simple,
            tag::FUNCTION_CALL => RequestKind::Function,
            _ => RequestKind::Extended,
        };
        self.client.inbox.discard(piece.len);
        self.talk.fail_block();
        let out = self.client.outbox.bytes();
        let before = out.len();
        if let Some(answer) = answer {
            answer.put_error(out);
            if kind == RequestKind::Extended {
                // "… then reads and discards messages until a Sync is reached."
                self.talk.refusing = true;
            } else {
                backend::put_ready(out, self.talk.status());
            }
        }
        let bytes = (piece.total.max(HEADER), out.len() - before);
        self.talk.record_local(kind, statement, bytes, outcome);
    }
}

impl Talk {
    /// Who must answer what comes next.
    fn needs(&self, unjudged: &[u8]) -> Fate {
        if self.listens_next(unjudged) { Fate::NeedsListener } else { Fate::NeedsServer }
    }
}

/// The answer to what is larger than we can hold.
pub(super) fn too_large(what: &str, limit: usize) -> End {
    End::dismissed(Answer::new(
        SqlState(*b"54000"),
        format!("surgetank: {what} (limit {limit}); use observe mode for such a client"),
    ))
}
