//! The canonical form of a statement, hashed as it is written.
//!
//! Most statements fit the buffer and are hashed in one go; longer ones go through the streaming
//! hasher, which gives the same value. Nothing is allocated.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

const BUFFER: usize = 512;

/// Stands behind each token, so that `ab` is not `a b`. No token contains it: it is not UTF-8.
const END_OF_TOKEN: u8 = 0xff;

/// Collects canonical tokens.
pub(crate) struct Canon {
    buffer: [u8; BUFFER],
    used: usize,
    /// Begun when the buffer was full for the first time; lives on the stack too.
    stream: Option<Xxh3>,
}

impl Canon {
    pub(crate) fn new() -> Self {
        Self { buffer: [0; BUFFER], used: 0, stream: None }
    }

    /// Adds a token as it is.
    #[inline]
    pub(crate) fn token(&mut self, bytes: &[u8]) {
        self.add(bytes);
    }

    /// Adds a word in lower case and gives that back; empty for a word too long to be a keyword.
    #[inline]
    pub(crate) fn word(&mut self, bytes: &[u8]) -> &[u8] {
        let start = self.add(bytes);
        let word = self.buffer.get_mut(start..start + bytes.len()).unwrap_or_default();
        word.make_ascii_lowercase();
        word
    }

    /// Adds a token, in one run of the buffer if it fits at all; where it starts.
    #[inline]
    fn add(&mut self, bytes: &[u8]) -> usize {
        if self.used + bytes.len() >= BUFFER {
            return self.add_long(bytes);
        }
        let start = self.used;
        self.used += bytes.len();
        self.buffer[start..self.used].copy_from_slice(bytes);
        self.buffer[self.used] = END_OF_TOKEN;
        self.used += 1;
        start
    }
    /// A token that does not fit what is left of the buffer. One that does not fit the whole of it
    /// is no valid name (those end at 63 bytes); it is hashed in lower case, and cannot be given
    /// back.
    #[cold]
    fn add_long(&mut self, bytes: &[u8]) -> usize {
        self.flush();
        if bytes.len() < BUFFER {
            return self.add(bytes);
        }
        for chunk in bytes.chunks(BUFFER) {
            self.used = chunk.len();
            self.buffer[..self.used].copy_from_slice(chunk);
            self.buffer[..self.used].make_ascii_lowercase();
            self.flush();
        }
        self.add(&[]);
        BUFFER
    }

    fn flush(&mut self) {
        self.stream.get_or_insert_with(Xxh3::new).update(&self.buffer[..self.used]);
        self.used = 0;
    }

    /// The fingerprint; never 0, which means "none".
    pub(crate) fn finish(mut self) -> u64 {
        let hash = if self.stream.is_some() {
            self.flush();
            self.stream.map_or(0, |stream| stream.digest())
        } else {
            xxh3_64(&self.buffer[..self.used])
        };
        hash.max(1)
    }
}
