//! Any split of the bytes gives the same frames.

use proptest::prelude::*;

use super::*;

/// What a relay would see of one message.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    tag: u8,
    bytes: Vec<u8>,
    /// How much of it was in hand when it was first told.
    head: usize,
}

/// Feeds `chunks` one by one, as reads from a socket would, wanting `want` bytes of each message.
fn scan(chunks: &[&[u8]], want: usize) -> Result<Vec<Seen>, Error> {
    let mut scanner = Scanner::new(MESSAGE_MAX);
    let mut held = Vec::new();
    let mut seen: Vec<Seen> = Vec::new();
    for chunk in chunks {
        held.extend_from_slice(chunk);
        while let Step::Piece(piece) = scanner.step(&held, |_, _| want)? {
            let bytes: Vec<u8> = held.drain(..piece.len).collect();
            if piece.part.begins() {
                assert!(bytes.len() >= want.min(piece.total));
                seen.push(Seen { tag: piece.tag, head: bytes.len().min(want), bytes });
            } else {
                let last = seen.last_mut().expect("a first piece came before");
                assert_eq!(last.tag, piece.tag);
                last.bytes.extend(bytes);
                assert_eq!(piece.part.ends(), last.bytes.len() == piece.total);
            }
        }
    }
    Ok(seen)
}

fn message() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40))
}

proptest! {
    #[test]
    fn any_split_gives_the_same_frames(
        messages in proptest::collection::vec(message(), 0..12),
        cuts in proptest::collection::vec(1_usize..30, 0..60),
        want in 0_usize..60,
    ) {
        let mut stream = Vec::new();
        for (tag, body) in &messages {
            put(&mut stream, *tag, |out| out.extend_from_slice(body));
        }
        let mut chunks = Vec::new();
        let mut rest = stream.as_slice();
        for cut in cuts {
            let (chunk, tail) = rest.split_at(cut.min(rest.len()));
            chunks.push(chunk);
            rest = tail;
        }
        chunks.push(rest);

        let seen = scan(&chunks, want).expect("the stream is sound");
        prop_assert_eq!(seen.len(), messages.len());
        for (seen, (tag, content)) in seen.iter().zip(&messages) {
            prop_assert_eq!(seen.tag, *tag);
            prop_assert_eq!(body(&seen.bytes), content.as_slice());
        }
    }

    #[test]
    fn a_run_is_what_single_steps_would_give(
        messages in proptest::collection::vec(message(), 0..12),
        cut in 0_usize..400,
        least in any::<u8>(),
    ) {
        let mut stream = Vec::new();
        for (tag, body) in &messages {
            put(&mut stream, *tag, |out| out.extend_from_slice(body));
        }
        stream.truncate(cut);
        let mut scanner = Scanner::new(MESSAGE_MAX);
        let run = scanner.run(&stream, |tag| tag >= least);
        let mut stepped = 0;
        let mut rest = stream.as_slice();
        while let Ok(Step::Piece(piece)) = scanner.step(rest, |_, total| total)
            && piece.tag >= least
        {
            stepped += piece.len;
            rest = rest.get(piece.len..).expect("a piece lies within the input");
        }
        prop_assert_eq!(run, stepped);
    }

    #[test]
    fn a_run_does_not_begin_within_a_message(bytes in 6_usize..20) {
        let mut stream = Vec::new();
        put(&mut stream, b'D', |out| out.extend_from_slice(&[0; 40]));
        let mut scanner = Scanner::new(MESSAGE_MAX);
        let (begun, rest) = stream.split_at(bytes);
        let first = scanner.step(begun, |_, _| HEADER).expect("it is sound");
        prop_assert!(matches!(first, Step::Piece(_)));
        prop_assert_eq!(scanner.run(rest, |_| true), 0);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut scanner = Scanner::new(1 << 20);
        let mut rest = bytes.as_slice();
        while let Ok(Step::Piece(piece)) = scanner.step(rest, |_, total| total) {
            prop_assert!(piece.len > 0);
            rest = rest.get(piece.len..).expect("a piece lies within the input");
        }
    }
}

#[test]
fn impossible_lengths_are_errors() {
    for (length, limit) in [(3, 100), (0, 100), (-1, 100), (i32::MIN, 100), (100, 100)] {
        let mut bytes = vec![b'Q'];
        bytes.extend_from_slice(&i32::to_be_bytes(length));
        let step = Scanner::new(limit).step(&bytes, |_, total| total);
        assert!(matches!(step, Err(Error::Length { .. })), "{length}: {step:?}");
    }
}

#[test]
fn a_clients_messages_have_the_servers_own_limits() {
    let step = |tag: u8, length: u32| {
        let mut bytes = vec![tag];
        bytes.extend_from_slice(&length.to_be_bytes());
        Scanner::of_client().step(&bytes, |_, _| HEADER).map(drop)
    };
    let limits = [(b'Q', 0x3fff_fffe), (b'd', 0x3fff_fffe), (b'p', 65_535), (b'S', 10_000)];
    for (tag, longest) in limits.into_iter().chain([(0, 0x3fff_fffe), (b'E', 10_000)]) {
        assert_eq!(step(tag, longest), Ok(()), "{tag}");
        for length in [longest + 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 3, 0] {
            let limit = longest + 1;
            assert_eq!(step(tag, length), Err(Error::Length { tag, length, limit }), "{tag}");
        }
    }
}

#[test]
fn a_message_larger_than_the_buffer_comes_in_pieces() {
    let mut stream = Vec::new();
    put(&mut stream, b'D', |out| out.extend_from_slice(&[7; 100]));
    let mut scanner = Scanner::new(MESSAGE_MAX);
    let mut parts = Vec::new();
    for chunk in stream.chunks(40) {
        let Ok(Step::Piece(piece)) = scanner.step(chunk, |_, _| HEADER) else { panic!("a piece") };
        parts.push((piece.part, piece.len));
        assert_eq!(scanner.at_boundary(), piece.part.ends());
    }
    assert_eq!(parts, [(Part::First, 40), (Part::Middle, 40), (Part::Last, 25)]);
}
