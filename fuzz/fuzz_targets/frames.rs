//! A stream of messages is cut the same way however it arrives.
//!
//! Input: two bytes that choose how much of each message is wanted at once and the limit, one for
//! the size of the chunks, then the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::frame::{HEADER, MESSAGE_MAX};
use wire::{Error, Scanner, Step};

fuzz_target!(|data: &[u8]| {
    let [want, limit, chunk, stream @ ..] = data else { return };
    let want = Want::choose(*want);
    let limit = if *limit == 0 { MESSAGE_MAX } else { usize::from(*limit) * 64 };
    let whole = scan([stream], want, limit);
    assert_eq!(whole, scan(stream.chunks(1), want, limit), "byte by byte");
    assert_eq!(whole, scan(stream.chunks(usize::from(*chunk).max(1)), want, limit), "in chunks");
    // Every cut in two is quadratic: of short streams only.
    for cut in 0..stream.len().min(300) {
        let (head, tail) = stream.split_at(cut);
        assert_eq!(whole, scan([head, tail], want, limit), "cut at {cut}");
    }
});

/// How much of a message the relay wants to see before it is told.
#[derive(Clone, Copy)]
enum Want {
    Header,
    Head(usize),
    Whole,
}

impl Want {
    fn choose(byte: u8) -> Self {
        match byte {
            0 => Self::Header,
            255 => Self::Whole,
            some => Self::Head(usize::from(some)),
        }
    }

    fn of(self, total: usize) -> usize {
        match self {
            Self::Header => 0,
            Self::Head(some) => some,
            Self::Whole => total,
        }
    }
}

/// What a relay sees of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// Tag, length and the bytes that came of each message.
    messages: Vec<(u8, usize, Vec<u8>)>,
    at_boundary: bool,
    /// Bytes that were not scanned, and the error that stopped it.
    left: usize,
    error: Option<Error>,
}

fn scan<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, want: Want, limit: usize) -> Seen {
    let mut scanner = Scanner::new(limit);
    let mut seen = Seen { messages: Vec::new(), at_boundary: true, left: 0, error: None };
    let mut held: Vec<u8> = Vec::new();
    for chunk in chunks {
        held.extend_from_slice(chunk);
        let mut read = 0;
        while seen.error.is_none() {
            let input = &held[read..];
            match scanner.step(input, |_, total| want.of(total)) {
                Ok(Step::Piece(piece)) => {
                    assert!(piece.len > 0 && piece.len <= input.len());
                    let bytes = &input[..piece.len];
                    if piece.part.begins() {
                        assert!(bytes.len() >= want.of(piece.total).clamp(HEADER, piece.total));
                        assert!(piece.total <= limit, "{} > {limit}", piece.total);
                        seen.messages.push((piece.tag, piece.total, bytes.to_vec()));
                    } else {
                        let (tag, total, so_far) = seen.messages.last_mut().expect("a first piece");
                        assert_eq!((*tag, *total), (piece.tag, piece.total));
                        so_far.extend_from_slice(bytes);
                    }
                    let (_, total, so_far) = seen.messages.last().expect("just pushed");
                    assert_eq!(piece.part.ends(), so_far.len() == *total);
                    read += piece.len;
                }
                Ok(Step::Need(bytes)) => {
                    assert!(bytes > input.len(), "needs {bytes} of {}", input.len());
                    break;
                }
                Err(error) => seen.error = Some(error),
            }
        }
        held.drain(..read);
    }
    seen.at_boundary = scanner.at_boundary();
    seen.left = held.len();
    seen
}
