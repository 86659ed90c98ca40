//! A `LISTEN` as a client says it: a query, or all of a batch of the extended protocol.
//!
//! Drivers that speak nothing but the extended protocol (JDBC, Npgsql) say it as `[Parse] Bind
//! [Describe] Execute Sync`, in one write; asyncpg prepares it under a name first, with no `Sync`
//! after that. What comes otherwise is for the server, and pins.

use sql::SessionEffect;
use trace::RequestKind;
use wire::backend::{self, tag as reply};
use wire::cursor::Cursor;
use wire::frame::body;
use wire::frontend::{self, BindHead, Execute, Parse, Target, tag};
use wire::{Scanner, Step};

use super::Channel;
use crate::regulate::block::Block;
use crate::regulate::plain::Plain;
use crate::regulate::talk::Talk;
use crate::statements::{self, StatementRegistry};

/// Its messages take no more, even with the longest of names.
const LONGEST: usize = 4096;

/// No types of parameters, at the end of a `Parse`.
const NO_TYPES: [u8; 2] = [0, 0];

/// What is asked for, and how it is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// The statement, as the client wrote it.
    pub(super) text: Box<[u8]>,
    pub(super) channel: Channel,
    pub(super) kind: RequestKind,
    /// Bytes of all its messages.
    pub(super) len: usize,
    /// What is answered before what the server says.
    pub(super) head: Vec<u8>,
    /// What it makes the session's unnamed statement: what follows the name in its `Parse`.
    pub(super) parsed: Option<Box<[u8]>>,
}

/// Whole messages in hand, one after the other.
struct Messages<'a> {
    rest: &'a [u8],
    scanner: Scanner,
}

impl<'a> Messages<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let Ok(Step::Piece(piece)) = self.scanner.step(self.rest, |_, total| total) else {
            return None;
        };
        let (message, rest) = self.rest.split_at_checked(piece.len)?;
        self.rest = rest;
        (piece.len == piece.total).then(|| (piece.tag, body(message)))
    }
}

impl Talk {
    /// Prepares a `LISTEN` under a name, for which no server is needed; `false` if the `Parse` is
    /// another, or is for the server to judge.
    pub(in crate::regulate) fn prepares_listen(
        &mut self,
        content: &[u8],
        registry: &StatementRegistry,
    ) -> bool {
        let Ok(parse) = Parse::read(content) else { return false };
        let is_taken = self.names.get(parse.name).is_some();
        if parse.name.is_empty() || is_taken || self.block != Block::Closed {
            return false;
        }
        let parsed = statements::content(content, &parse);
        if Wish::of(parsed).is_none() {
            return false;
        }
        let reading = self.journal.read(parse.query);
        let statement = registry.parsed(parsed, self.settings.meaning(), reading);
        self.names.set(parse.name, statement)
    }

    /// Whether a `Describe` is of a `LISTEN` under a name.
    pub(in crate::regulate) fn describes_listen(&self, content: &[u8]) -> bool {
        let Ok(Target::Statement(name)) = Target::read(content) else { return false };
        let statement = self.names.get(name).filter(|_| self.block == Block::Closed);
        statement.is_some_and(|one| {
            one.reading.effects.has(SessionEffect::Listen) && Wish::of(one.content()).is_some()
        })
    }

    /// Whether the client's next messages are a `LISTEN` outside a transaction, and nothing else.
    pub(in crate::regulate) fn listens_next(&self, unjudged: &[u8]) -> bool {
        self.wish(unjudged).is_some()
    }

    /// The `LISTEN` that the client's next messages are, if they are one.
    pub(super) fn wish(&self, unjudged: &[u8]) -> Option<Wish> {
        if self.block != Block::Closed {
            return None;
        }
        let mut messages = Messages { rest: unjudged, scanner: Scanner::new(LONGEST) };
        let (first, content) = messages.next()?;
        let mut wish = match first {
            tag::QUERY => return simple(content, unjudged.len() - messages.rest.len()),
            tag::PARSE => {
                let parse = Parse::read(content).ok().filter(|parse| parse.name.is_empty())?;
                let parsed = statements::content(content, &parse);
                let mut wish = Wish::of(parsed)?;
                backend::put_bare(&mut wish.head, reply::PARSE_COMPLETE);
                wish.parsed = Some(parsed.into());
                let (tag::BIND, bind) = messages.next()? else { return None };
                bound(bind).filter(|statement| statement.is_empty())?;
                wish
            }
            tag::BIND => {
                // Nearly all end here, by what was read of them before.
                let reading = self.reading_of(tag::BIND, content)?;
                if !reading.effects.has(SessionEffect::Listen) {
                    return None;
                }
                match bound(content)? {
                    [] => Wish::of(self.names.unnamed()?.content.as_deref()?)?,
                    name => Wish::of(self.names.get(name)?.content())?,
                }
            }
            _ => return None,
        };
        backend::put_bare(&mut wish.head, reply::BIND_COMPLETE);
        let (mut message, mut content) = messages.next()?;
        if message == tag::DESCRIBE && Target::read(content) == Ok(Target::Portal(b"")) {
            backend::put_bare(&mut wish.head, reply::NO_DATA);
            (message, content) = messages.next()?;
        }
        let runs = Execute::read(content).is_ok_and(|execute| execute.portal.is_empty());
        let (tag::EXECUTE, true, Some((tag::SYNC, []))) = (message, runs, messages.next()) else {
            return None;
        };
        wish.len = unjudged.len() - messages.rest.len();
        Some(wish)
    }
}

impl Wish {
    /// By a statement, given by what follows the name in its `Parse`.
    fn of(parsed: &[u8]) -> Option<Self> {
        let text = statements::text(parsed);
        let Plain::Listen(channel) = Plain::read(text)? else { return None };
        let is_bare = parsed.get(text.len() + 1..) == Some(&NO_TYPES[..]);
        is_bare.then(|| Self {
            text: text.into(),
            channel,
            kind: RequestKind::Extended,
            len: 0,
            head: Vec::new(),
            parsed: None,
        })
    }
}

fn simple(content: &[u8], len: usize) -> Option<Wish> {
    let text = frontend::text(content).ok()?;
    let Plain::Listen(channel) = Plain::read(text)? else { return None };
    let (kind, head) = (RequestKind::Simple, Vec::new());
    Some(Wish { text: text.into(), channel, kind, len, head, parsed: None })
}

/// The statement of which a `Bind` makes the unnamed portal, with no parameters.
fn bound(content: &[u8]) -> Option<&[u8]> {
    let head = BindHead::read(content).filter(|head| head.portal.is_empty())?;
    let mut cursor = Cursor::new(content.get(head.len..)?);
    let mut count = |size| {
        let count = usize::try_from(cursor.i16()?).ok()?;
        cursor.bytes(count * size)?;
        Some(count)
    };
    // "… zero to indicate that there are no parameters …; or one", more are an error.
    let (formats, parameters, _results) = (count(2)?, count(0)?, count(2)?);
    (formats <= 1 && parameters == 0 && cursor.is_empty()).then_some(head.statement)
}
