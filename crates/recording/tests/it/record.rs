//! What is recorded is read again, or is counted as lost.

use std::sync::Arc;

use recording::{Error, Health, Options, Recorder, Recording};
use tempfile::TempDir;
use trace::{Clock, DynoId, DynoNames, Event, Fingerprint, Micros, SessionId, Sink, StatementSeen};

use crate::wait;

fn closed(at: u64) -> Event {
    Event::SessionClosed { at: Micros(at), session: SessionId(1) }
}

fn sessions(recording: &Recording) -> Vec<u64> {
    let closed = recording.events().iter().filter_map(|event| match event {
        Event::SessionClosed { at, .. } => Some(at.0),
        _ => None,
    });
    closed.collect()
}

#[test]
fn several_sinks_are_read_in_the_order_of_time() {
    let dir = TempDir::new().unwrap();
    let recorder = Recorder::start(dir.path(), Clock::start()).unwrap();
    let (one, two) = (recorder.sink(), recorder.sink());
    for at in 1..=100 {
        assert!(one.record(closed(at * 2)));
        assert!(two.record(closed(at * 2 + 1)));
    }
    drop(one);
    let summary = recorder.finish().unwrap();
    assert_eq!((summary.events, summary.lost, summary.segments), (200, 0, 1));
    let length = std::fs::metadata(dir.path().join("segment-000001.sgt")).unwrap().len();
    assert_eq!(summary.bytes, length);

    let recording = Recording::read(dir.path()).unwrap();
    assert_eq!(sessions(&recording), (2..=201).collect::<Vec<_>>());
    assert_eq!(recording.span(), (Micros(2), Micros(201)));
    assert_eq!((recording.truncated(), recording.finished()), (None, true));
    assert!(!two.record(closed(1)), "a finished recorder takes no more");
}

#[test]
fn names_and_texts_are_found() {
    let dir = TempDir::new().unwrap();
    let clock = Clock::start();
    let recorder = Recorder::start(dir.path(), clock).unwrap();
    let sink = recorder.sink();
    let id = DynoNames::new(clock).id("web.1", &sink);
    let fingerprint = Fingerprint(9);
    let seen = StatementSeen { at: Micros(1), fingerprint, text: "SELECT $1".into() };
    sink.record(Event::StatementSeen(Box::new(seen)));
    recorder.finish().unwrap();

    let recording = Recording::read(dir.path()).unwrap();
    assert_eq!(recording.dyno_id("web.1"), Some(id));
    assert_eq!(recording.dyno_name(id), "web.1");
    assert_eq!(recording.dyno_name(DynoId(77)), "");
    assert_eq!(recording.statement(fingerprint), Some("SELECT $1"));
    assert_eq!(recording.span(), (Micros(0), Micros(0)), "facts are no happenings");
}

#[test]
fn a_running_recording_can_be_read() {
    let dir = TempDir::new().unwrap();
    let recorder = Recorder::start(dir.path(), Clock::start()).unwrap();
    let sink = recorder.sink();
    assert!(sink.record(closed(1)));
    wait::until("the first frame", || {
        let recording = Recording::read(dir.path()).unwrap();
        assert!(!recording.finished());
        sessions(&recording) == [1]
    });
    recorder.finish().unwrap();
}

#[test]
fn an_overflowing_ring_is_counted() {
    let dir = TempDir::new().unwrap();
    let options = Options { ring_capacity: 8, ..Options::default() };
    let recorder = Recorder::start_with(dir.path(), Clock::start(), options).unwrap();
    let sink = Arc::new(recorder.sink());
    let kept = (0..5_000).filter(|&at| sink.record(closed(at))).count();
    assert!(kept < 5_000, "eight places cannot hold what 20 ms bring");
    let summary = recorder.finish().unwrap();
    assert_eq!(summary.lost, 5_000 - u64::try_from(kept).unwrap());

    let recording = Recording::read(dir.path()).unwrap();
    assert_eq!(recording.lost(), summary.lost);
    assert_eq!(sessions(&recording).len(), kept);
}

#[test]
fn old_segments_go_but_facts_stay() {
    let dir = TempDir::new().unwrap();
    let options = Options { segment_bytes: 2_000, max_bytes: Some(8_000), ..Options::default() };
    let clock = Clock::start();
    let recorder = Recorder::start_with(dir.path(), clock, options).unwrap();
    let sink = recorder.sink();
    let id = DynoNames::new(clock).id("web.1", &sink);
    let first = dir.path().join("segment-000001.sgt");
    let mut at = 0;
    wait::until("the first segment to be deleted", || {
        at += 1;
        sink.record(closed(at));
        !first.exists()
    });
    let summary = recorder.finish().unwrap();
    assert!(summary.segments > 3, "{summary:?}");

    let recording = Recording::read(dir.path()).unwrap();
    assert_eq!(recording.truncated(), None);
    assert_eq!(recording.dyno_name(id), "web.1");
    let named = |event: &&Event| matches!(event, Event::DynoNamed { .. });
    assert_eq!(recording.events().iter().filter(named).count(), 1, "told in each segment");
    let left = sessions(&recording);
    assert_eq!(left.last(), Some(&at));
    assert!(left.windows(2).all(|pair| pair[1] == pair[0] + 1), "a hole: {left:?}");
    let bytes: u64 = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes <= 8_000 + 2_500, "{bytes} bytes are left");
}

#[test]
fn an_error_of_the_disk_poisons_the_recording_only() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("gone");
    let options = Options { segment_bytes: 1, ..Options::default() };
    let recorder = Recorder::start_with(&path, Clock::start(), options).unwrap();
    let sink = recorder.sink();
    assert_eq!(recorder.health(), Health::Recording);
    // The next segment cannot be created.
    std::fs::remove_dir_all(&path).unwrap();
    assert!(sink.record(closed(1)));
    wait::until("the recorder to notice", || recorder.health() != Health::Recording);
    assert!(!sink.record(closed(2)));
    wait::until("the loss to be counted", || recorder.lost() >= 1);
    let Err(Error::Poisoned { reason, lost }) = recorder.finish() else {
        panic!("a poisoned recording must not finish well")
    };
    assert!(reason.contains("segment-000001.sgt"), "{reason}");
    assert_eq!(lost, 1);
}

#[test]
fn a_folder_holds_one_recording() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(Recording::read(dir.path()), Err(Error::NoRecording { .. })));
    Recorder::start(dir.path(), Clock::start()).unwrap().finish().unwrap();
    let second = Recorder::start(dir.path(), Clock::start());
    assert!(matches!(second, Err(Error::AlreadyRecorded { .. })));
}

#[test]
fn damage_in_one_segment_leaves_the_others() {
    let dir = TempDir::new().unwrap();
    let options = Options { segment_bytes: 1, ..Options::default() };
    let recorder = Recorder::start_with(dir.path(), Clock::start(), options).unwrap();
    let sink = recorder.sink();
    for number in 1..=4_u64 {
        sink.record(closed(number));
        let next = dir.path().join(format!("segment-{:06}.sgt", number + 1));
        wait::until("the next segment", || next.exists());
    }
    recorder.finish().unwrap();
    let second = dir.path().join("segment-000002.sgt");
    let bytes = std::fs::read(&second).unwrap();
    std::fs::write(&second, &bytes[..bytes.len() - 9]).unwrap();
    std::fs::remove_file(dir.path().join("segment-000003.sgt")).unwrap();

    let recording = Recording::read(dir.path()).unwrap();
    assert_eq!(sessions(&recording), [1, 4]);
    let truncated = recording.truncated().unwrap();
    assert!(truncated.contains("segment-000002.sgt: a frame is cut off"), "{truncated}");
    assert!(truncated.contains("segments before segment-000004.sgt"), "{truncated}");
}
