//! Dynos as real processes: Heroku's words, restarts, time-outs, and nothing left behind.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use platform::{DynoName, Source};
use trace::{DynoState, Event};

use crate::app;
use crate::stage::{Stage, gone, runs, soon};

fn web_1() -> DynoName {
    DynoName::new("web", 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dyno_starts_restarts_and_stops_in_herokus_words() {
    let stage = Stage::new(&format!("web: {}", app::command("good")), "web=1", |_| ()).await;
    stage.until("web.1", DynoState::Up).await;
    // It can be reached before it says so.
    stage.line("app[web.1]: listening").await;
    let first = stage.dynos.ps().remove(0);
    stage.dynos.restart(&web_1()).await.unwrap();
    stage.until("web.1", DynoState::Up).await;
    let second = stage.dynos.ps().remove(0);
    assert_ne!(first.pid, second.pid);
    stage.dynos.shutdown().await;

    let port = first.port.unwrap().to_string();
    let lines: Vec<String> = stage.lines("web.1");
    let platform: Vec<&str> = lines
        .iter()
        .filter(|line| line.starts_with("heroku") && !line.contains("Starting process"))
        .map(String::as_str)
        .collect();
    assert_eq!(
        platform,
        [
            "heroku[web.1]: State changed from created to starting",
            "heroku[web.1]: State changed from starting to up",
            "heroku[web.1]: Restarting",
            "heroku[web.1]: State changed from up to starting",
            "heroku[web.1]: Stopping all processes with SIGTERM",
            "heroku[web.1]: Process exited with status 143",
            "heroku[web.1]: State changed from starting to up",
            "heroku[web.1]: State changed from up to down",
            "heroku[web.1]: Stopping all processes with SIGTERM",
            "heroku[web.1]: Process exited with status 143",
        ]
    );
    let starts = lines.iter().filter(|line| line.contains("Starting process with command `"));
    assert_eq!(starts.count(), 2);
    assert_ne!(port, "0");

    let states: Vec<DynoState> = stage
        .kept
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::DynoStateChanged { state, .. } => Some(*state),
            _ => None,
        })
        .collect();
    assert_eq!(format!("{states:?}"), "[Starting, Up, Stopping, Starting, Up, Stopping, Down]");
    gone(&stage.groups()).await;
}

#[tokio::test]
async fn a_dyno_has_its_own_environment() {
    let procfile = "web: echo web=$PORT; env; exec sleep 1000\nworker: env; exec sleep 1000";
    let stage = Stage::new(procfile, "web=1,worker=2", |options| {
        let var = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        options.config_vars = vec![var("RAILS_ENV", "staging"), var("DATABASE_URL", "weak")];
        options.env_for =
            Arc::new(move |name| vec![("DATABASE_URL".to_owned(), format!("postgres://{name}"))]);
    })
    .await;
    std::fs::write(stage.dir.path().join(".profile"), "export PROFILE=sourced\n").unwrap();
    for line in [
        "app[web.1]: DYNO=web.1",
        "app[worker.2]: DYNO=worker.2",
        "app[worker.1]: RAILS_ENV=staging",
        "app[worker.1]: DATABASE_URL=postgres://worker.1",
        "app[web.1]: DATABASE_URL=postgres://web.1",
    ] {
        stage.line(line).await;
    }
    let port = stage.dynos.ps()[0].port.unwrap();
    stage.line(&format!("app[web.1]: web={port}")).await;
    stage.line(&format!("Starting process with command `echo web={port}; env")).await;
    let worker = stage.lines("worker").join("\n");
    assert!(!worker.contains("PORT="), "{worker}");
    // What surrounds the test is not handed on.
    assert!(!worker.contains("CARGO"), "{worker}");

    stage.dynos.restart(&DynoName::new("worker", 1)).await.unwrap();
    stage.line("app[worker.1]: PROFILE=sourced").await;
    stage.dynos.shutdown().await;
}

#[tokio::test]
async fn a_dyno_that_ignores_sigterm_is_killed_with_all_its_children() {
    let procfile = "worker: trap '' TERM; sleep 1000 & echo deaf; while :; do sleep 0.1; done";
    let stage = Stage::new(procfile, "worker=1", |options| {
        options.timing.exit_timeout = Duration::from_millis(300);
    })
    .await;
    stage.line("app[worker.1]: deaf").await;
    let groups = stage.groups();
    assert!(runs(groups[0]));
    soon("the end", stage.dynos.stop(&DynoName::new("worker", 1))).await.unwrap();
    gone(&groups).await;
    let lines = stage.heroku_lines("worker.1");
    let end = &lines[lines.len() - 3..];
    assert!(end[0].starts_with(
        "heroku[worker.1]: Error R12 (Exit timeout) -> At least one process failed to exit"
    ));
    assert_eq!(end[1], "heroku[worker.1]: Stopping remaining processes with SIGKILL");
    assert_eq!(end[2], "heroku[worker.1]: Process exited with status 137");
    assert_eq!(stage.dynos.ps()[0].state, DynoState::Down);

    // It was stopped, not removed: it can be started again.
    stage.dynos.restart(&DynoName::new("worker", 1)).await.unwrap();
    stage.until("worker.1", DynoState::Up).await;
    stage.dynos.shutdown().await;
    gone(&stage.groups()).await;
}

#[tokio::test]
async fn a_group_is_only_gone_when_its_last_process_is() {
    // The leader obeys at once, its child does not.
    let procfile = "worker: sh -c 'trap \"\" TERM; echo child; sleep 1000' & wait";
    let stage = Stage::new(procfile, "worker=1", |options| {
        options.timing.exit_timeout = Duration::from_millis(300);
    })
    .await;
    stage.line("app[worker.1]: child").await;
    stage.dynos.shutdown().await;
    stage.line("Error R12 (Exit timeout)").await;
    stage.line("Process exited with status 143").await;
    gone(&stage.groups()).await;
}

#[tokio::test]
async fn a_crash_is_answered_at_once_and_then_with_patience() {
    let stage = Stage::new("worker: echo 'boom: fatal'; exit 3", "worker=1", |options| {
        options.timing.backoff_base = Duration::from_millis(30);
        options.timing.backoff_cap = Duration::from_millis(60);
    })
    .await;
    stage.line("Restarting in 60ms after 4 crashes").await;
    stage.line("Restarting in 60ms after 5 crashes").await;
    stage.dynos.shutdown().await;
    let lines = stage.lines("worker.1");
    // A process has no word after its end.
    let crash = [
        "app[worker.1]: boom: fatal",
        "heroku[worker.1]: Process exited with status 3",
        "heroku[worker.1]: State changed from up to crashed",
    ];
    let start = lines.iter().position(|line| line == crash[0]).unwrap();
    assert_eq!(lines[start..start + 3], crash);
    // At once, without a word of waiting.
    assert_eq!(lines[start + 3], "heroku[worker.1]: State changed from crashed to starting");
    stage.line("Restarting in 30ms after 2 crashes").await;
    let told =
        |event: &Event| matches!(event, Event::LineLogged(line) if &*line.text == "boom: fatal");
    assert!(stage.kept.events().iter().any(told));
}

#[tokio::test]
async fn a_dyno_is_cycled_when_its_time_is_over() {
    let stage = Stage::new("worker: echo here; exec sleep 1000", "worker=1", |options| {
        options.timing.cycle_after = Duration::from_millis(300);
        options.timing.cycle_spread = Duration::from_millis(10);
    })
    .await;
    stage.line("heroku[worker.1]: Cycling").await;
    let first = stage.groups()[0];
    soon("the next process", async {
        while stage.groups().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(!runs(first), "the old process ended before the new one started");
    stage.dynos.shutdown().await;
    let lines = stage.heroku_lines("worker.1");
    let start = lines.iter().position(|line| line.ends_with("Cycling")).unwrap();
    assert_eq!(
        lines[start..start + 4],
        [
            "heroku[worker.1]: Cycling",
            "heroku[worker.1]: State changed from up to starting",
            "heroku[worker.1]: Stopping all processes with SIGTERM",
            "heroku[worker.1]: Process exited with status 143",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deployed_is_what_starts_next() {
    let procfile = "worker: echo one=$FOO; exec sleep 1000\nold: exec sleep 1000";
    let stage = Stage::new(procfile, "worker=2,old=1", |_| ()).await;
    stage.until("worker.2", DynoState::Up).await;
    stage.until("old.1", DynoState::Up).await;
    let deployed = platform::Deployed {
        release: 7,
        procfile: platform::Procfile::parse(
            "worker: echo two=$FOO; exec sleep 1000\nnew: exec sleep 1000",
        )
        .unwrap(),
        config_vars: vec![("FOO".to_owned(), "s3cret".to_owned())],
    };
    assert!(!format!("{deployed:?}").contains("s3cret"));
    stage.dynos.deploy(deployed).await.unwrap();
    stage.line("app[worker.1]: two=s3cret").await;
    stage.line("app[worker.2]: two=s3cret").await;
    stage.line("heroku[old.1]: State changed from up to down").await;
    let two = |dynos: &[platform::DynoInfo]| dynos.len() == 2;
    soon("old.1 gone", stage.dynos.wait_until(two)).await;
    assert!(stage.dynos.ps().iter().all(|dyno| dyno.release == 7));
    assert_eq!(stage.dynos.formation().await.to_string(), "worker=2, new=0");
    stage.dynos.shutdown().await;
    gone(&stage.groups()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dyno_waits_for_the_end_of_one_of_the_same_name() {
    let deaf = "old: trap '' TERM; echo deaf; while :; do sleep 0.1; done";
    let stage = Stage::new(&format!("worker: exec sleep 1000\n{deaf}"), "old=1", |options| {
        options.timing.exit_timeout = Duration::from_millis(500);
    })
    .await;
    stage.line("app[old.1]: deaf").await;
    let deployed = |release, procfile: &str| platform::Deployed {
        release,
        procfile: platform::Procfile::parse(procfile).unwrap(),
        config_vars: Vec::new(),
    };
    // Its type goes, which it is slow to obey, and comes again.
    let without = "worker: exec sleep 1000";
    stage.dynos.deploy(deployed(2, without)).await.unwrap();
    let with = format!("{without}\nold: echo anew; exec sleep 1000");
    stage.dynos.deploy(deployed(3, &with)).await.unwrap();
    soon("a scaling", stage.dynos.scale("old=1")).await.unwrap();
    stage.line("app[old.1]: anew").await;
    stage.until("old.1", DynoState::Up).await;
    let lines = stage.heroku_lines("old.1");
    let at = |part: &str| lines.iter().position(|line| line.contains(part));
    let (ended, started) = (at("Process exited with status 137"), at("`echo anew"));
    assert!(ended.is_some() && ended < started, "{lines:#?}");
    let old = stage.dynos.ps().into_iter().find(|dyno| dyno.name.to_string() == "old.1");
    assert_eq!(old.unwrap().release, 3);
    stage.dynos.shutdown().await;
    gone(&stage.groups()).await;
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_a_crash() {
    let stage = Stage::new("worker: no-such-program-here", "worker=1", |_| ()).await;
    stage.line("Process exited with status 127").await;
    stage.until("worker.1", DynoState::Crashed).await;
    stage.dynos.shutdown().await;
}

#[tokio::test]
async fn a_web_dyno_that_never_listens_is_killed() {
    let stage = Stage::new("web: sleep 1000", "web=1", |options| {
        options.timing.boot_timeout = Duration::from_millis(200);
        options.timing.backoff_base = Duration::from_secs(1000);
        options.timing.backoff_cap = Duration::from_secs(1000);
    })
    .await;
    stage.line("Restarting in 1000s after 2 crashes").await;
    let lines = stage.heroku_lines("web.1");
    let start = lines.iter().position(|line| line.contains("R10")).unwrap();
    assert!(lines[start].starts_with(
        "heroku[web.1]: Error R10 (Boot timeout) -> Web process failed to bind to $PORT within "
    ));
    assert_eq!(
        lines[start + 1..start + 4],
        [
            "heroku[web.1]: Stopping process with SIGKILL",
            "heroku[web.1]: Process exited with status 137",
            "heroku[web.1]: State changed from starting to crashed",
        ]
    );
    gone(&stage.groups()).await;
    // An order is obeyed also while it cools off.
    soon("a restart", stage.dynos.restart(&web_1())).await.unwrap();
    stage.dynos.shutdown().await;
}

#[tokio::test]
async fn a_flood_of_lines_does_not_hold_up_the_dyno_nor_the_readers() {
    let procfile = "worker: seq 1 100000; echo the end; exec sleep 1000";
    let stage = Stage::new(procfile, "worker=0", |_| ()).await;
    let lines = |n| platform::LogFilter::default().last(n);
    // This one never reads while it lasts.
    let mut slow = stage.hub.tail(lines(0));
    stage.dynos.scale("worker=1").await.unwrap();
    stage.line("app[worker.1]: the end").await;
    assert_eq!(stage.hub.history(&lines(usize::MAX)).len(), 1500);
    let notice = soon("the notice", slow.next()).await.unwrap();
    assert_eq!(notice.source, Source::Heroku);
    assert!(notice.text.starts_with("Error L11 (Tail buffer overflow)"), "{}", notice.text);
    stage.dynos.shutdown().await;
}

#[tokio::test]
async fn scaling_starts_what_is_missing_and_ends_what_is_too_much() {
    let stage =
        Stage::new("worker: exec sleep 1000\nclock: exec sleep 1000", "worker=2", |_| ()).await;
    // On the board from the first moment, before anything of them runs.
    assert_eq!(stage.dynos.ps().len(), 2);
    let names = || stage.dynos.ps().iter().map(|d| d.name.to_string()).collect::<Vec<_>>();
    stage.until("worker.1", DynoState::Up).await;
    stage.until("worker.2", DynoState::Up).await;
    let one = stage.dynos.ps()[0].clone();
    assert_eq!(
        stage.dynos.scale("worker-1,clock=1").await.unwrap().to_string(),
        "worker=1, clock=1"
    );
    stage.until("clock.1", DynoState::Up).await;
    assert_eq!(names(), ["clock.1", "worker.1"]);
    assert_eq!(stage.dynos.ps()[1].pid, one.pid);
    assert!(stage.dynos.scale("worker=1,nothing=1").await.is_err());
    assert_eq!(names(), ["clock.1", "worker.1"]);
    let error = stage.dynos.restart(&DynoName::new("worker", 2)).await.unwrap_err();
    assert_eq!(error.to_string(), "no dyno worker.2; running are: clock.1, worker.1");

    stage.dynos.shutdown().await;
    assert!(stage.dynos.scale("worker=5").await.is_err());
    assert_eq!(stage.lines("api"), ["heroku[api]: Scale to worker=1, clock=1"]);
    assert_eq!(stage.groups().len(), 3);
    gone(&stage.groups()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_kills_every_group_and_starts_nothing_new() {
    // Deaf to SIGTERM, with children, and restarting all the time.
    let deaf = "trap '' TERM; sleep 1000 & sleep 1000 & echo ready; wait";
    let procfile = format!("web: {deaf}\nworker: {deaf}\ncrasher: exit 1");
    let stage = Stage::new(&procfile, "web=2,worker=2,crasher=3", |options| {
        options.timing.backoff_base = Duration::from_millis(1);
        options.timing.backoff_cap = Duration::from_millis(1);
    })
    .await;
    for dyno in ["web.1", "web.2", "worker.1", "worker.2"] {
        stage.line(&format!("app[{dyno}]: ready")).await;
    }
    let groups = stage.abandon();
    let none_left = async {
        while groups.lock().unwrap().iter().any(|group| runs(*group)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("all process groups gone", none_left).await;
}

/// No test of its own: with `HOST` set, this process has a dyno and waits to be killed.
#[tokio::test]
async fn hosts_when_asked_to() {
    if std::env::var_os("HOST").is_none() {
        return;
    }
    let stage = Stage::new("worker: echo ready; exec sleep 1000", "worker=1", |_| ()).await;
    stage.line("app[worker.1]: ready").await;
    println!("group {}", stage.groups()[0]);
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn the_kernel_ends_the_dyno_of_a_killed_platform() {
    // Without util-linux nothing watches over us; the next start of the binary cleans up then.
    let setpriv = Command::new("setpriv").args(["--pdeathsig", "KILL", "true"]).status();
    if !setpriv.is_ok_and(|status| status.success()) {
        return;
    }
    // Killed, it cannot remove its app folder: that is within ours.
    let dir = tempfile::tempdir().unwrap();
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "dynos::hosts_when_asked_to", "--nocapture"])
        .env("HOST", "1")
        .env("TMPDIR", dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("group ")).unwrap();
    let (_, group) = line.split_once("group ").unwrap();
    let group: i32 = group.trim().parse().unwrap();
    host.kill().unwrap();
    host.wait().unwrap();
    gone(&[group]).await;
}
