//! Cuts a stream of bytes into messages without holding them.
//!
//! After the startup packet every message is a tag byte, a length word (which counts itself) and a
//! body. A relay needs the whole of few messages (`Parse`, `Query`), the head of some (`Bind`) and
//! only the length of the rest, which may be a gigabyte of rows: so the caller says for each
//! message how much of it must be in hand before it is told, and gets the rest in pieces as they
//! come.

use crate::{Error, cursor::Cursor, frontend};

/// Tag byte and length word.
pub const HEADER: usize = 5;

/// PostgreSQL's own limit for a message (`PQ_LARGE_MESSAGE_LIMIT`, 1 GB − 1).
pub const MESSAGE_MAX: usize = 0x3fff_ffff;

/// Where in its message a piece stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The whole message.
    Whole,
    /// Its beginning, with the header; more follows.
    First,
    /// Neither its beginning nor its end.
    Middle,
    /// Its end.
    Last,
}

impl Part {
    /// Whether the piece begins with the message's header.
    #[must_use]
    pub fn begins(self) -> bool {
        matches!(self, Self::Whole | Self::First)
    }

    /// Whether the message ends with this piece.
    #[must_use]
    pub fn ends(self) -> bool {
        matches!(self, Self::Whole | Self::Last)
    }
}

/// A run of bytes of one message, at the beginning of the input that was scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The message's kind.
    pub tag: u8,
    /// Which part of it.
    pub part: Part,
    /// How many bytes of the input.
    pub len: usize,
    /// How long the whole message is, with its header.
    pub total: usize,
}

/// The result of one scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The input begins with this piece.
    Piece(Piece),
    /// Nothing can be said before the input holds this many bytes.
    Need(usize),
}

/// Knows where in the stream of messages the input stands.
#[derive(Clone, Debug)]
pub struct Scanner {
    // Small, for every session has some: no length exceeds `MESSAGE_MAX`.
    tag: u8,
    total: u32,
    /// Bytes of the present message that were not scanned yet; 0 between messages.
    left: u32,
    limit: u32,
    /// Whether each kind of message has a limit of its own, as the server has for a client's.
    is_of_client: bool,
}

impl Scanner {
    /// A stream that begins with a message; a message may have `limit` bytes with its header.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let limit = small(limit.min(MESSAGE_MAX));
        Self { tag: 0, total: 0, left: 0, limit, is_of_client: false }
    }

    /// A client's stream, which begins with a message: none may be longer than PostgreSQL takes of
    /// its kind ([`frontend::length_max`]).
    #[must_use]
    pub fn of_client() -> Self {
        Self { is_of_client: true, ..Self::new(MESSAGE_MAX) }
    }

    /// Whether the stream stands between two messages.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        self.left == 0
    }

    /// Looks at `input`, the bytes that follow all those scanned so far, and scans one piece.
    ///
    /// At the beginning of a message `want(tag, total)` says how many of its bytes the caller must
    /// see at once (clamped to the header and the whole). Nothing is scanned on [`Step::Need`].
    ///
    /// # Errors
    /// [`Error::Length`] if the length word is impossible; the stream cannot be read on.
    #[inline]
    pub fn step(
        &mut self,
        input: &[u8],
        want: impl FnOnce(u8, usize) -> usize,
    ) -> Result<Step, Error> {
        if self.left > 0 {
            return Ok(self.go_on(input.len()));
        }
        let mut cursor = Cursor::new(input);
        let (Some(tag), Some(length)) = (cursor.u8(), cursor.i32()) else {
            return Ok(Step::Need(HEADER));
        };
        let total = self.check(tag, length)?;
        let wanted = want(tag, total).clamp(HEADER, total);
        if input.len() < wanted {
            return Ok(Step::Need(wanted));
        }
        let len = input.len().min(total);
        (self.tag, self.total, self.left) = (tag, small(total), small(total - len));
        let part = if self.left == 0 { Part::Whole } else { Part::First };
        Ok(Step::Piece(Piece { tag, part, len, total }))
    }

    /// How many bytes at the beginning of `input` are whole messages of kinds that `passes`: what
    /// [`Self::step`] would say of each is known, and nothing need be kept of it. None in the
    /// middle of a message.
    #[must_use]
    pub fn run(&self, input: &[u8], passes: impl Fn(u8) -> bool) -> usize {
        if self.left > 0 {
            return 0;
        }
        let mut rest = input;
        while let [tag, length @ ..] = rest
            && passes(*tag)
            && let Some(length) = length.first_chunk()
            && let Ok(total) = self.check(*tag, i32::from_be_bytes(*length))
            && let Some(more) = rest.get(total..)
        {
            rest = more;
        }
        input.len() - rest.len()
    }

    fn go_on(&mut self, available: usize) -> Step {
        if available == 0 {
            return Step::Need(1);
        }
        let len = available.min(self.left as usize);
        self.left -= small(len);
        let part = if self.left == 0 { Part::Last } else { Part::Middle };
        Step::Piece(Piece { tag: self.tag, part, len, total: self.total as usize })
    }

    #[inline]
    fn check(&self, tag: u8, length: i32) -> Result<usize, Error> {
        let length = length.cast_unsigned();
        if (4..=frontend::SMALL_LENGTH_MAX).contains(&length) && length < self.limit {
            return Ok(length as usize + 1);
        }
        self.check_large(tag, length)
    }

    fn check_large(&self, tag: u8, length: u32) -> Result<usize, Error> {
        let is_small = (4..=frontend::SMALL_LENGTH_MAX).contains(&length);
        let limit = if self.is_of_client && !is_small {
            self.limit.min(frontend::length_max(tag) + 1)
        } else {
            self.limit
        };
        if length < 4 || length >= limit {
            return Err(Error::Length { tag, length, limit });
        }
        Ok(length as usize + 1)
    }
}

/// A length of at most [`MESSAGE_MAX`].
fn small(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The body of a whole message; empty if `message` is shorter than a header.
#[must_use]
pub fn body(message: &[u8]) -> &[u8] {
    message.get(HEADER..).unwrap_or_default()
}

/// Appends a message: header, then what `write` appends.
///
/// A body that does not fit the length word cannot arise from bytes that were themselves received
/// as messages; it is cut off at the word's maximum rather than panicking.
pub fn put(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    put_sized(out, write);
}

/// Appends a length word and what `write` appends: a message without a tag (startup packets).
pub(crate) fn put_sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = i32::try_from(out.len() - start).unwrap_or(i32::MAX);
    if let Some(word) = out.get_mut(start..start + 4) {
        word.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends `text` and the zero byte that ends it. A zero inside `text` would end it early, so it is
/// cut there: no value can smuggle in another field.
pub fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    out.extend_from_slice(text.get(..end).unwrap_or_default());
    out.push(0);
}

#[cfg(test)]
mod tests;
