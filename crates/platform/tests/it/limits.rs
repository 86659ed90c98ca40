//! What a dyno may use, by its size, and what is told of it.

use std::time::Duration;

use platform::{DynoName, RunOptions, Size, run};
use trace::DynoState;

use crate::containers::{Cage, cage, nothing_left};
use crate::stage::{Stage, soon};

async fn measured(cage: &Cage, procfile: &str, formation: &str) -> Stage {
    Stage::new(procfile, formation, |options| {
        options.isolation = cage.isolation();
        options.timing.sample = Duration::from_millis(200);
        options.timing.exit_timeout = Duration::from_secs(1);
        options.timing.backoff_base = Duration::from_secs(1000);
        options.timing.backoff_cap = Duration::from_secs(1000);
    })
    .await
}

/// A command that holds so many MB in memory: `tail` keeps what has no end of a line.
fn eater(megabytes: u32) -> String {
    format!("(head -c {megabytes}M /dev/zero; exec sleep 1000) | tail")
}

/// The amount in a line `… mem=528MB(103.3%)`.
fn told(line: &str) -> (u32, f64) {
    let (_, amount) = line.split_once("mem=").expect("a line of memory");
    let (megabytes, share) = amount.split_once("MB(").expect("megabytes");
    let number = "a number";
    (megabytes.parse().expect(number), share.trim_end_matches("%)").parse().expect(number))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dyno_over_its_quota_is_told_again_and_again_and_lives() {
    let Some(cage) = cage(|_| ()) else { return };
    let stage = measured(&cage, &format!("worker: {}", eater(600)), "worker=1").await;
    let errors = || {
        let lines = stage.lines("worker.1");
        lines.iter().filter(|line| line.ends_with("Error R14 (Memory quota exceeded)")).count()
    };
    let twice = async {
        while errors() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("R14 twice", twice).await;
    let lines = stage.heroku_lines("worker.1");
    let first = lines.iter().position(|line| line.contains("Error R14")).unwrap();
    let (megabytes, share) = told(&lines[first - 1]);
    assert!((512..1024).contains(&megabytes), "{}", lines[first - 1]);
    assert!(share >= 100.0, "{}", lines[first - 1]);
    assert!((share - f64::from(megabytes) / 5.12).abs() < 0.2, "{}", lines[first - 1]);
    let sample = &lines[first - 2];
    for part in [
        "heroku[worker.1]: source=worker.1 dyno=surgetank.",
        "sample#memory_total=",
        "sample#memory_rss=",
        "sample#memory_quota=512.00MB",
    ] {
        assert!(sample.contains(part), "{sample} without {part}");
    }
    assert!(lines[first - 3].contains("sample#load_avg_1m="), "{}", lines[first - 3]);
    let dyno = stage.dynos.ps_with_usage().remove(0);
    assert_eq!((dyno.state, dyno.size), (DynoState::Up, Size::Standard1X));
    assert!(dyno.usage.unwrap().rss_bytes > 512 << 20);

    // The next size has room for it.
    stage.dynos.scale("worker=1:Standard-2X").await.unwrap();
    stage.line("sample#memory_quota=1024.00MB").await;
    assert_eq!(stage.dynos.ps()[0].size, Size::Standard2X);
    stage.line("heroku[api]: Scale to worker=1:Standard-2X").await;
    stage.dynos.shutdown().await;
    nothing_left(&cage.run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_process_is_held_to_its_quota_too() {
    // As long as it is looked at: nothing but looking holds it.
    if !cfg!(target_os = "linux") {
        return;
    }
    let procfile = format!("worker: {}\nclock: {}", eater(600), eater(3000));
    let stage = Stage::new(&procfile, "worker=1,clock=1", |options| {
        options.timing.sample = Duration::from_millis(200);
        options.timing.backoff_base = Duration::from_secs(1000);
        options.timing.backoff_cap = Duration::from_secs(1000);
    })
    .await;
    stage.line("heroku[worker.1]: Error R14 (Memory quota exceeded)").await;
    stage.line("heroku[clock.1]: Error R15 (Memory quota vastly exceeded)").await;
    stage.line("heroku[clock.1]: Process exited with status 137").await;
    let lines = stage.lines("worker.1");
    assert!(lines.iter().any(|line| line.contains("sample#memory_quota=512.00MB")), "{lines:#?}");
    let worker = stage.dynos.ps_with_usage().pop().unwrap();
    assert_eq!((worker.name.to_string().as_str(), worker.state), ("worker.1", DynoState::Up));
    assert!(worker.usage.unwrap().rss_bytes > 512 << 20);
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dyno_at_twice_its_quota_is_killed() {
    let Some(cage) = cage(|_| ()) else { return };
    let stage = measured(&cage, &format!("worker: {}", eater(3000)), "worker=1").await;
    stage.line("Restarting in 1000s after 2 crashes").await;
    let lines = stage.heroku_lines("worker.1");
    let at = lines.iter().position(|line| line.contains("Error R15")).unwrap();
    let (megabytes, share) = told(&lines[at - 1]);
    assert!(megabytes >= 1000, "{}", lines[at - 1]);
    assert!(share >= 195.0, "{}", lines[at - 1]);
    assert_eq!(
        lines[at..at + 4],
        [
            "heroku[worker.1]: Error R15 (Memory quota vastly exceeded)",
            "heroku[worker.1]: Stopping process with SIGKILL",
            "heroku[worker.1]: Process exited with status 137",
            "heroku[worker.1]: State changed from up to crashed",
        ]
    );
    stage.dynos.shutdown().await;
    nothing_left(&cage.run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dyno_has_no_more_processes_than_its_size_allows() {
    let Some(cage) = cage(|_| ()) else { return };
    let bomb = "for i in $(seq 300); do sleep 1000 & done; wait";
    let procfile = format!("worker: {bomb}\nclock: exec sleep 1000");
    let stage = measured(&cage, &procfile, "worker=1,clock=1").await;
    // bash's words; it tries again for a while.
    stage.line("fork: retry").await;
    let used = stage.dynos.ps_with_usage();
    let tasks = |name: &str| {
        let dyno = used.iter().find(|dyno| dyno.name.to_string() == name).unwrap();
        dyno.usage.as_ref().unwrap().tasks
    };
    assert!((250..=256).contains(&tasks("worker.1")), "{}", tasks("worker.1"));
    // Another dyno does not feel it.
    let names = [DynoName::new("clock", 1)];
    let results = run(&stage.dynos, &names, "echo well", &RunOptions::default()).await.unwrap();
    assert_eq!(results[0].stdout, "well\n");
    stage.dynos.shutdown().await;
    nothing_left(&cage.run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_output_holds_nobody_up() {
    let Some(cage) = cage(|_| ()) else { return };
    // 1 GiB, in lines of 8 KiB.
    let procfile = "worker: yes \"$(printf %8191s 'all work and no play')\" | head -c 1G; \
                    echo done$((1)); exec sleep 1000";
    let stage = measured(&cage, procfile, "worker=0").await;
    // This reader reads nothing while it lasts.
    let mut slow = stage.hub.tail(platform::LogFilter::default().last(0));
    stage.dynos.scale("worker=1").await.unwrap();
    stage.line("app[worker.1]: done1").await;
    let notice = soon("the notice", slow.next()).await.unwrap();
    assert!(notice.text.starts_with("Error L11 (Tail buffer overflow)"), "{}", notice.text);
    assert_eq!(stage.hub.history(&platform::LogFilter::default().last(usize::MAX)).len(), 1500);
    stage.dynos.shutdown().await;
    nothing_left(&cage.run).await;
}
