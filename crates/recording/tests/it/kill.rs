//! `kill -9` loses at most what the last moment held.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use recording::{Recorder, Recording};
use tempfile::TempDir;
use trace::{Clock, Event, Micros, SessionId, Sink};

use crate::wait;

/// Tells the test binary, run again, that it is the one to be killed, and where it records.
const DIR: &str = "SURGETANK_TEST_RECORD_TO";

/// 100 ms may be lost by design; a busy machine may let the child's threads wait for so long.
const BUSY: Micros = Micros::from_secs(2);

/// The process to be killed: records its own clock, until it is killed or an orphan for too long.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let clock = Clock::start();
    let recorder = Recorder::start(Path::new(&dir), clock).unwrap();
    let sink = recorder.sink();
    for number in 0..2_000_000 {
        assert!(sink.record(Event::SessionClosed { at: clock.now(), session: SessionId(number) }));
        // The pace of a busy app, not a wait for something.
        std::thread::park_timeout(Duration::from_micros(200));
    }
}

/// Kills the child also when the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _already_dead = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn loses_at_most_what_the_last_moment_held() {
    let dir = TempDir::new().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture"])
        .env(DIR, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    wait::until("the child to have recorded for longer than it may lose", || {
        std::thread::park_timeout(Duration::from_millis(50));
        Recording::read(dir.path()).is_ok_and(|recording| {
            let (from, to) = recording.span();
            to.since(from) >= BUSY + Micros::from_millis(500)
        })
    });
    // SIGKILL on Unix: no destructor of the child runs.
    let killed_at = Clock::start().now();
    child.0.kill().unwrap();
    child.0.wait().unwrap();

    let recording = Recording::read(dir.path()).unwrap();
    assert!(!recording.finished());
    let numbers: Vec<u32> = recording
        .events()
        .iter()
        .map(|event| match event {
            Event::SessionClosed { session, .. } => session.0,
            other => panic!("the child does not record {other:?}"),
        })
        .collect();
    let expected: Vec<u32> = (0..).take(numbers.len()).collect();
    assert_eq!(numbers, expected, "a prefix without holes");
    let lost = killed_at.since(recording.span().1);
    assert!(lost <= Micros::from_millis(100) + BUSY, "{lost:?} are lost");
}
