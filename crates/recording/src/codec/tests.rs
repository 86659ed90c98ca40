//! Every event survives the way through bytes; no bytes make the decoder panic.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use proptest::prelude::*;
use trace::{DynoId, Event, HttpServed, Micros, TraceId};

use super::{decode_all, encode};
use crate::arbitrary::event;

#[test]
fn a_request_has_a_fixed_size() {
    let sizes: Vec<usize> = crate::arbitrary::two_requests()
        .iter()
        .map(|request| {
            let mut bytes = Vec::new();
            assert!(encode(&Event::Request(*request), &mut bytes));
            bytes.len()
        })
        .collect();
    assert_eq!(sizes, [84, 84]);
}

#[test]
fn an_unknown_tag_is_passed_over() {
    let known = Event::Marked { at: Micros(7), text: "x".into() };
    let mut bytes = vec![250, 3, 0, 0, 0, 1, 2, 3];
    assert!(encode(&known, &mut bytes));
    let mut events = Vec::new();
    decode_all(&bytes, &mut events).unwrap();
    assert_eq!(events, [known]);
}

#[test]
fn an_http_request_of_an_old_recording_has_no_trace() {
    let served = HttpServed {
        at: Micros(7),
        dyno: DynoId(1),
        method: "GET".into(),
        path: "/".into(),
        status: 200,
        code: "".into(),
        service: Micros(5),
        request_id: "".into(),
        trace: TraceId::NONE,
    };
    let mut bytes = Vec::new();
    assert!(encode(&Event::HttpServed(Box::new(served.clone())), &mut bytes));
    // The old form ends before the id, which is empty here, and the trace.
    bytes.truncate(bytes.len() - 4 - 16);
    bytes[0] = 18;
    bytes[1] -= 20;
    let mut events = Vec::new();
    decode_all(&bytes, &mut events).unwrap();
    assert_eq!(events, [Event::HttpServed(Box::new(served))]);
}

#[test]
fn what_cannot_be_is_refused() {
    let mut marked = Vec::new();
    assert!(encode(&Event::Marked { at: Micros(7), text: "x".into() }, &mut marked));
    // A string that is not UTF-8, a body longer than its fields, a length beyond the end.
    let mut not_utf8 = marked.clone();
    *not_utf8.last_mut().unwrap() = 0xff;
    let mut too_long = marked.clone();
    too_long[1] += 1;
    too_long.push(0);
    let mut beyond = marked.clone();
    beyond[4] = 0xff;
    for bytes in [not_utf8, too_long, beyond] {
        assert!(decode_all(&bytes, &mut Vec::new()).is_err(), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn events_come_back(events in prop::collection::vec(event(), 0..8)) {
        let mut bytes = Vec::new();
        for event in &events {
            prop_assert!(encode(event, &mut bytes));
        }
        let mut read = Vec::new();
        decode_all(&bytes, &mut read).unwrap();
        prop_assert_eq!(read, events);
    }

    #[test]
    fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..200), tag in 1_u8..=25) {
        let _outcome = decode_all(&bytes, &mut Vec::new());
        let mut with_tag = vec![tag];
        with_tag.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        with_tag.extend(bytes);
        let _outcome = decode_all(&with_tag, &mut Vec::new());
    }
}
