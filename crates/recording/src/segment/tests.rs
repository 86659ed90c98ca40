//! Damage of every kind is noticed, and what stands before it is kept.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use proptest::prelude::*;
use tempfile::TempDir;
use trace::{Event, Micros};

use super::{End, Frame, OtherVersion, Segment, VERSION, file_name, header, number_of, read};
use crate::arbitrary::event;

/// The bytes of a segment with one frame per list of events, and an end mark.
fn segment(frames: &[Vec<Event>]) -> Vec<u8> {
    let dir = TempDir::new().unwrap();
    let mut segment = Segment::create(dir.path(), 1, Micros(5)).unwrap();
    for events in frames {
        let mut frame = Frame::new();
        for event in events {
            assert!(frame.push(event));
        }
        segment.append(&mut frame).unwrap();
    }
    segment.end().unwrap();
    let bytes = std::fs::read(dir.path().join(file_name(1))).unwrap();
    assert_eq!(u64::try_from(bytes.len()).unwrap(), segment.bytes());
    bytes
}

fn frames() -> impl Strategy<Value = Vec<Vec<Event>>> {
    prop::collection::vec(prop::collection::vec(event(), 1..4), 1..4)
}

#[test]
fn names_have_numbers() {
    assert_eq!(file_name(7), "segment-000007.sgt");
    assert_eq!(number_of("x/segment-1000000.sgt".as_ref()), Some(1_000_000));
    assert_eq!(number_of("x/segment-.sgt".as_ref()), None);
    assert_eq!(number_of("x/notes.txt".as_ref()), None);
}

#[test]
fn another_version_is_told() {
    let mut bytes = header(1, Micros(5));
    bytes[8] = 99;
    let crc = crc32fast::hash(&bytes[..24]);
    bytes[24..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(read(&bytes, &mut Vec::new()), Err(OtherVersion(99)));
    assert_ne!(VERSION, 99);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn cut_anywhere_the_whole_frames_before_it_are_kept(frames in frames()) {
        let bytes = segment(&frames);
        let all: Vec<Event> = frames.concat();
        for length in 0..=bytes.len() {
            let mut events = Vec::new();
            let end = read(&bytes[..length], &mut events).unwrap();
            prop_assert!(all.starts_with(&events));
            match end {
                End::Marked => prop_assert_eq!(length, bytes.len()),
                End::Unmarked => prop_assert!(length < bytes.len()),
                End::Torn(_) => prop_assert!(events.len() < all.len() || length > bytes.len() - 8),
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed(frames in frames(), place in any::<prop::sample::Index>()) {
        let mut bytes = segment(&frames);
        let bit = place.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let all: Vec<Event> = frames.concat();
        let mut events = Vec::new();
        let end = read(&bytes, &mut events);
        prop_assert!(matches!(end, Ok(End::Torn(_))), "{:?}", end);
        prop_assert!(all.starts_with(&events));
    }

    #[test]
    fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _end = read(&bytes, &mut Vec::new());
        let mut behind_header = header(1, Micros(5));
        behind_header.extend(bytes);
        let _end = read(&behind_header, &mut Vec::new());
    }
}
