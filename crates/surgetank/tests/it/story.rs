//! The story is the acceptance test: the demo, shortened, on a real PostgreSQL.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::cli::surgetank;

/// A temporary place of its own, which the server's user can enter too.
fn own_temporary_place() -> TempDir {
    tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .expect("a temporary folder")
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a readable folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into()).collect()
}

/// Command lines of processes that mention `folder`.
fn processes_in(folder: &Path) -> Vec<String> {
    let needle = folder.display().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let command_line = |entry: std::fs::DirEntry| {
        std::fs::read(entry.path().join("cmdline"))
            .ok()
            .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
    };
    entries.filter_map(command_line).filter(|line| line.contains(&needle)).collect()
}

#[test]
fn the_story_is_told_with_the_true_cause_and_a_proof() {
    let _alone = crate::MACHINE.blocking_lock();
    let place = own_temporary_place();
    let report = place.path().join("report.html");
    let recordings = place.path().join("recordings");
    let output = surgetank(&["demo", "--json", "--seconds", "100", "--seed", "7"])
        .arg("--report")
        .arg(&report)
        .arg("--recordings")
        .arg(&recordings)
        .env("TMPDIR", place.path())
        .output()
        .expect("the binary runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let json: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no JSON ({error}), but:\n{told}"));
    let acts: Vec<String> = list(&json["acts"])
        .iter()
        .map(|act| format!("{} {}", act["name"].as_str().unwrap_or("?"), act["ok"]))
        .collect();
    let expected = [
        "bug report true",
        "two dynos true",
        "staging true",
        "tracking true",
        "load true",
        "diagnosis true",
        "fix true",
        "proof true",
    ];
    assert_eq!(acts, expected, "{json:#}\n{told}");
    assert_eq!(output.status.code(), Some(0), "{told}");
    check_numbers(&json);
    let page = std::fs::read_to_string(&report).expect("the report");
    assert!(page.contains("<svg") && page.contains("web.2"), "a report with charts");
    assert_eq!(processes_in(place.path()), Vec::<String>::new(), "no process is left");
    let mut left = names_in(place.path());
    left.sort();
    assert_eq!(left, ["recordings", "report.html"], "nothing else is left");
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn check_numbers(json: &Value) {
    assert_eq!(json["seed"], 7);
    assert!(json["baseline"]["failed"].as_u64() > Some(0), "{json:#}");
    assert_eq!(json["diagnosis"]["cause"], "slot_exhaustion");
    let arms = list(&json["arms"]);
    let failed = |name: &str| {
        let arm = arms.iter().find(|arm| arm["name"] == name);
        arm.and_then(|arm| arm["failed"].as_u64())
    };
    assert!(failed("baseline") > Some(0), "{json:#}");
    assert_eq!(failed("index+pool"), Some(0), "{json:#}");
    assert!(json["proof"]["confidence"].as_f64() >= Some(0.99), "{json:#}");
    let curve: Vec<f64> =
        list(&json["curve"]).iter().filter_map(|point| point["failed_share"].as_f64()).collect();
    assert!(curve.len() >= 3 && curve[0] < curve[curve.len() - 1], "{json:#}");
    let status = |dyno: &str| json["run_compare"][dyno]["status"].as_i64();
    assert_ne!(status("web.1"), status("web.2"), "{json:#}");
}

/// Kills the demo if a test fails before it ended.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn ctrl_c_leaves_nothing_behind() {
    let _alone = crate::MACHINE.lock().await;
    let place = own_temporary_place();
    let demo = surgetank(&["demo"])
        .current_dir(place.path())
        .env("TMPDIR", place.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut demo = Running(demo);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(demo.0.id()).expect("a pid"));
    let deadline = Duration::from_secs(120);
    let server_runs = || {
        let lines = processes_in(place.path());
        lines.iter().any(|line| line.contains("postgres"))
    };
    testkit::wait_until(deadline, server_runs).await;
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it can be signalled");
    let status = demo.0.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    assert_eq!(processes_in(place.path()), Vec::<String>::new(), "no process is left");
    assert_eq!(names_in(place.path()), Vec::<String>::new(), "no file is left");
}
