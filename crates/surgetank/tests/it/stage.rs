//! `surgetank stage`: surroundings as production has them, and what differs.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use recording::Recorder;
use testkit::golden::{Ask, Story, ms};
use trace::{Clock, Sink};

/// Two web dynos, of which one has all the slots, and a worker, at a server that is 12 ms away.
fn production(folder: &Path) {
    let mut story = Story::new();
    story.setting("max_connections", "13");
    story.setting("superuser_reserved_connections", "3");
    story.setting("work_mem", "9MB");
    story.setting("statement_timeout", "45s");
    let select = story.statement("SELECT 1");
    let (hog, other, worker) = (story.dyno("web.1"), story.dyno("web.2"), story.dyno("worker.1"));
    story.size(worker, "Standard-2X");
    story.release(7, &["STRIPE_KEY"]);
    let mut held = Vec::new();
    for _ in 0..9 {
        held.push(story.connection(hog, ms(0), ms(60_000)));
    }
    held.push(story.connection(worker, ms(0), ms(60_000)));
    for connection in held {
        story.every(ms(50), ms(500), ms(50_000), |story, at| {
            story.request(connection, Ask::at(at).of(select).server(ms(12)));
        });
    }
    for second in 1..40 {
        story.refused_connect(other, ms(second * 1000));
    }
    let recorder = Recorder::start(folder, Clock::start()).expect("a folder");
    let sink = recorder.sink();
    for event in story.events() {
        // The ring is for a hot path; a test waits until there is room.
        while !sink.record(event.clone()) {
            std::thread::yield_now();
        }
    }
    recorder.finish().expect("room on the disk");
}

/// Runs `stage` until it has said `end`, and presses Ctrl-C. What it said in all, and its status.
fn stage(from: &Path, app: &Path, end: &str) -> (String, Option<i32>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_surgetank"))
        .args(["stage", "--port", "0", "--from"])
        .arg(from)
        .current_dir(app)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut told = String::new();
    let mut line = String::new();
    while !line.contains(end) {
        line.clear();
        let read = errors.read_line(&mut line).expect("UTF-8");
        told += &line;
        assert!(read > 0, "ended early:\n{told}");
    }
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        let _read = errors.read_to_string(&mut rest);
        rest
    });
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    kill(pid, Signal::SIGINT).expect("it runs");
    let status = child.wait().expect("it ends").code();
    told += &rest.join().expect("a reader");
    (told, status)
}

/// The cells of the table's row that begins so.
fn row(told: &str, what: &str) -> Vec<String> {
    let line = told.lines().find(|line| line.trim_start().starts_with(what));
    let line = line.unwrap_or_else(|| panic!("no {what} in:\n{told}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

#[test]
fn a_recording_is_staged_and_the_finding_says_what_matters() {
    let _alone = crate::MACHINE.blocking_lock();
    let (recording, app) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    production(recording.path());
    std::fs::write(app.path().join("Procfile"), "worker: exec sleep 1000\n").unwrap();
    let (told, status) = stage(recording.path(), app.path(), "note: the Procfile");
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("for slot_exhaustion"), "{told}");
    assert_eq!(row(&told, "max_connections"), ["max_connections", "13", "13", "same"]);
    assert_eq!(row(&told, "work_mem"), ["work_mem", "9MB", "9MB", "same"]);
    assert_eq!(row(&told, "statement_timeout"), ["statement_timeout", "45s", "45s", "same"]);
    assert_eq!(row(&told, "worker dynos"), ["worker dynos", "1", "1", "same"]);
    assert_eq!(row(&told, "web dynos"), ["web dynos", "2", "0", "YES"]);
    let trip = row(&told, "round trip");
    let here: f64 = trip[2].trim_end_matches("ms").parse().unwrap_or_else(|_| panic!("{told}"));
    assert!((11.0..60.0).contains(&here), "{told}");
    // Only as root it has no more than its size says.
    let size = row(&told, "size of worker");
    assert_eq!(size[1], "Standard-2X", "{told}");
    assert!(["Standard-2X", "as this machine"].contains(&size[2].as_str()), "{told}");
    assert_eq!(row(&told, "STRIPE_KEY")[..3], ["STRIPE_KEY", "set", "–"]);
    assert!(told.contains("note: the Procfile has no `web`"), "{told}");
}

#[test]
fn an_app_json_is_staged() {
    let _alone = crate::MACHINE.blocking_lock();
    let app = tempfile::tempdir().unwrap();
    std::fs::write(app.path().join("Procfile"), "worker: exec sleep 1000\n").unwrap();
    let json = app.path().join("app.json");
    std::fs::write(
        &json,
        r#"{"formation": {"worker": {"quantity": 2, "size": "standard-2x"}},
            "addons": ["heroku-postgresql:essential-2"],
            "env": {"COLOUR": "blue", "KEY": {"description": "of the door"}}}"#,
    )
    .unwrap();
    let (told, status) = stage(&json, app.path(), "COLOUR");
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("no finding to compare for"), "{told}");
    assert_eq!(row(&told, "worker dynos"), ["worker dynos", "2", "2", "same"]);
    // As root they are containers, which have limits.
    let is_root = nix::unistd::Uid::effective().is_root();
    let here = if is_root { "Standard-2X" } else { "as this machine" };
    let matters = if is_root { "same" } else { "unknown" };
    let wanted = ["size of worker", "Standard-2X", here, matters];
    assert_eq!(row(&told, "size of worker"), wanted);
    assert_eq!(row(&told, "max_connections"), ["max_connections", "40", "40", "same"]);
    assert_eq!(row(&told, "COLOUR"), ["COLOUR", "set", "set", "same"]);
    assert_eq!(row(&told, "KEY"), ["KEY", "set", "–", "unknown"]);
}
