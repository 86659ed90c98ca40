//! The bytes between two sockets.
//!
//! ```text
//!   Inbox   |··written··|==run==|--unjudged--|  room  |     Outbox  |==made by us==|
//!                       start   judged       end
//! ```
//! What is read is judged message by message. What may go on unchanged becomes part of the *run*,
//! written straight from the buffer it was read into. Where something is left out, put in or
//! replaced, the run is first moved to the outbox of its direction, which is always written before
//! the run: so order holds, and one write carries both.
//!
//! An inbox has memory only while it holds bytes: most sessions are idle most of the time, and
//! 10,000 of them must not hold 160 MB. Buffers that are free wait in the worker's thread.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::{Piece, Scanner, Step};

/// Bytes read at once; also the longest run.
pub(crate) const BUFFER: usize = 16 * 1024;

/// No more is read while an outbox holds so much.
pub(crate) const BACKLOG: usize = 64 * 1024;

/// Memory that an empty outbox keeps: room for a rewritten message, not for a greeting.
const OUTBOX_KEPT: usize = 128;

/// Free buffers that one thread keeps.
const FREE_MAX: usize = 64;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn take_buffer() -> Vec<u8> {
    FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BUFFER])
}

fn give_buffer(buffer: Vec<u8>) {
    if buffer.len() == BUFFER {
        FREE.with_borrow_mut(|free| {
            if free.len() < FREE_MAX {
                free.push(buffer);
            }
        });
    }
}

/// What was read from one peer and is on its way to the other.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// Empty while nothing is held.
    data: Vec<u8>,
    start: usize,
    judged: usize,
    end: usize,
    /// Unjudged bytes that the scanner wants before it says more; 0 if it was not asked.
    need: usize,
    scanner: Scanner,
    /// The scanner before its last step.
    before: Scanner,
    /// Nothing more is read: the peer has ended its side, or is gone.
    ended: bool,
}

impl Inbox {
    /// Of a server.
    pub(crate) fn new() -> Self {
        Self::of(Scanner::new(wire::frame::MESSAGE_MAX))
    }

    /// Of a client.
    pub(crate) fn of_client() -> Self {
        Self::of(Scanner::of_client())
    }

    fn of(scanner: Scanner) -> Self {
        let before = scanner.clone();
        Self {
            data: Vec::new(),
            start: 0,
            judged: 0,
            end: 0,
            need: 0,
            scanner,
            before,
            ended: false,
        }
    }

    /// Scans one piece of the unjudged bytes; `None` if more must be read first.
    pub(crate) fn step(
        &mut self,
        want: impl FnOnce(u8, usize) -> usize,
    ) -> Result<Option<Piece>, wire::Error> {
        self.before.clone_from(&self.scanner);
        match self.scanner.step(&self.data[self.judged..self.end], want)? {
            Step::Piece(piece) => {
                self.need = 0;
                Ok(Some(piece))
            }
            Step::Need(need) => {
                self.need = need;
                Ok(None)
            }
        }
    }

    /// Lets whole messages of such kinds go on unchanged, as many as come next; says how many bytes
    /// they are.
    pub(crate) fn pass_run(&mut self, passes: impl Fn(u8) -> bool) -> usize {
        let len = self.scanner.run(&self.data[self.judged..self.end], passes);
        self.judged += len;
        len
    }

    /// Takes the last step back: its piece will be scanned again.
    pub(crate) fn step_back(&mut self) {
        self.scanner.clone_from(&self.before);
    }

    /// Forgets all that was not judged: its peer is not listened to any more.
    pub(crate) fn forget_unjudged(&mut self) {
        self.end = self.judged;
    }

    /// The first `len` unjudged bytes.
    pub(crate) fn peek(&self, len: usize) -> &[u8] {
        &self.data[self.judged..self.judged + len]
    }

    /// All unjudged bytes, for what is not in frames (startup packets).
    pub(crate) fn unjudged(&self) -> &[u8] {
        &self.data[self.judged..self.end]
    }

    /// Whether a message of this kind begins among the unjudged bytes.
    pub(crate) fn holds(&self, tag: u8) -> bool {
        let mut scanner = self.scanner.clone();
        let mut rest = self.unjudged();
        while let Ok(Step::Piece(piece)) = scanner.step(rest, |_, _| wire::frame::HEADER) {
            if piece.part.begins() && piece.tag == tag {
                return true;
            }
            rest = &rest[piece.len..];
        }
        false
    }

    /// Whether the unjudged bytes end with these.
    pub(crate) fn ends_with(&self, bytes: &[u8]) -> bool {
        self.unjudged().ends_with(bytes)
    }

    /// Whether nothing more is read.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Nothing more is read; what was read is still to be judged.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Nothing more is read, and what was not judged is dropped.
    pub(crate) fn end_here(&mut self, outbox: &mut Outbox) {
        self.skip(self.end - self.judged, outbox);
        self.end();
    }

    /// Drops what may go on, to a peer that takes nothing more.
    pub(crate) fn drop_run(&mut self) {
        self.start = self.judged;
    }

    /// Whether unjudged bytes wait only because the judge paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.judged < self.end && self.need == 0
    }

    /// Where the judge stands, to come back to. Valid until more is read.
    pub(crate) fn mark(&self) -> Mark {
        Mark { judged: self.judged, scanner: self.scanner.clone() }
    }

    /// Takes back all that was judged since the mark. Nothing was read meanwhile, and nothing of it
    /// written.
    pub(crate) fn rewind(&mut self, mark: Mark) {
        (self.start, self.judged, self.need) = (mark.judged, mark.judged, 0);
        self.scanner = mark.scanner;
    }

    /// Bytes that may go on and were not written yet.
    pub(crate) fn run_len(&self) -> usize {
        self.judged - self.start
    }

    /// Whether no message is broken off: all that was read was judged, up to a message's end.
    pub(crate) fn at_boundary(&self) -> bool {
        self.judged == self.end && self.scanner.at_boundary()
    }

    /// Whether no message is on its way to the other peer: none waits, none is broken off.
    pub(crate) fn is_forwarded(&self) -> bool {
        self.start == self.judged && self.scanner.at_boundary()
    }

    /// Lets `len` unjudged bytes go on unchanged.
    pub(crate) fn pass(&mut self, len: usize) {
        self.judged += len;
    }

    /// Leaves `len` unjudged bytes out.
    pub(crate) fn skip(&mut self, len: usize, outbox: &mut Outbox) {
        self.settle(outbox);
        self.judged += len;
        self.start = self.judged;
    }

    /// Leaves `len` unjudged bytes out, where nothing is ever forwarded.
    pub(crate) fn discard(&mut self, len: usize) {
        self.judged += len;
        self.start = self.judged;
    }

    /// Moves the run to the outbox, so that something can be put after it.
    pub(crate) fn settle(&mut self, outbox: &mut Outbox) {
        outbox.bytes.extend_from_slice(&self.data[self.start..self.judged]);
        self.start = self.judged;
    }

    /// Whether there is room to read into; if not, reading does not even ask the socket.
    pub(crate) fn has_room(&self) -> bool {
        let fits = self.end < self.data.len() || self.start > 0;
        self.data.is_empty() || fits || self.judged + self.need > self.end
    }

    /// Room to read into; `None` while what was read must be written first.
    fn room(&mut self) -> Option<&mut [u8]> {
        if self.start == self.end {
            (self.start, self.judged, self.end) = (0, 0, 0);
            if self.data.is_empty() || (self.data.len() > BUFFER && self.need <= BUFFER) {
                self.data = take_buffer();
            }
        } else if self.start > 0 && self.data.len() - self.end < BUFFER / 4 {
            self.data.copy_within(self.start..self.end, 0);
            self.judged -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        let wanted = self.judged + self.need;
        if self.end == self.data.len() && wanted > self.end {
            // `need` is bounded by those who ask for whole messages. Doubling keeps the bytes that
            // a client really sent, not those that it announced, in proportion to what is held.
            let doubled = self.data.len() * 2;
            self.data.resize(wanted.min(doubled), 0);
        }
        (self.end < self.data.len()).then(|| &mut self.data[self.end..])
    }

    /// Gives its memory back if it holds nothing: its peer may be silent for long.
    pub(crate) fn rest(&mut self) {
        if self.start == self.end {
            give_buffer(std::mem::take(&mut self.data));
            (self.start, self.judged, self.end) = (0, 0, 0);
        }
    }

    /// Reads once. `Ready(Ok(0))` is the peer's end; `Pending` also while there is no room.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let Some(room) = self.room() else { return Poll::Pending };
        let mut buffer = ReadBuf::new(room);
        let read = Pin::new(stream).poll_read(cx, &mut buffer);
        let count = buffer.filled().len();
        self.end += count;
        self.ended = count == 0 && read.is_ready();
        read.map_ok(|()| count)
    }
}

/// A place in what was read: see [`Inbox::mark`].
#[derive(Debug)]
pub(crate) struct Mark {
    judged: usize,
    scanner: Scanner,
}

/// What goes to one peer before the other's run.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    /// Where messages are appended; the other peer's run must have been settled first.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() - self.sent >= BACKLOG
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that were not sent yet.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Forgets what was put after the outbox had `len` bytes, none of them sent since.
    pub(crate) fn cut_back(&mut self, len: usize) {
        self.bytes.truncate(self.sent + len);
    }

    /// Forgets what was not sent: the peer is gone.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }

    fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.bytes.len() {
            self.clear();
            // One large message must not stay as memory of an idle session.
            if self.bytes.capacity() > OUTBOX_KEPT {
                self.bytes = Vec::new();
            }
        }
    }

    /// Writes the outbox alone; `Ready` when it is empty.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let count = ready!(write(cx, stream, &self.bytes[self.sent..]))?;
            self.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

/// Writes outbox and run; `Ready` when both are empty.
pub(crate) fn poll_forward(
    cx: &mut Context<'_>,
    inbox: &mut Inbox,
    outbox: &mut Outbox,
    stream: &mut (impl AsyncWrite + Unpin),
) -> Poll<io::Result<()>> {
    if !outbox.is_empty() {
        inbox.settle(outbox);
        ready!(outbox.poll_flush(cx, stream))?;
    }
    while inbox.start < inbox.judged {
        let count = ready!(write(cx, stream, &inbox.data[inbox.start..inbox.judged]))?;
        inbox.start += count;
    }
    Poll::Ready(Ok(()))
}

fn write(
    cx: &mut Context<'_>,
    stream: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(stream).poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        other => Poll::Ready(other),
    }
}
