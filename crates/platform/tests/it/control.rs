//! One-off runs, and everything that another terminal can do.

use std::sync::Arc;
use std::time::Duration;

use platform::control::{Client, LogsOrder, RunOrder, Server, Staging, candidates};
use platform::{
    Aspect, DatabaseTally, DynoName, Error, LogFilter, RunComparison, RunOptions, RunOutcome, run,
};
use trace::DynoState;

use crate::stage::{Stage, gone, runs, soon};

const PROCFILE: &str = "web: exec sleep 1000\nworker: echo working; exec sleep 1000";

async fn two_workers() -> (Stage, Vec<DynoName>) {
    let stage = Stage::new(PROCFILE, "web=0,worker=2", |options| {
        options.env_for = Arc::new(|name| {
            let number = name.number();
            vec![
                ("DATABASE_URL".to_owned(), format!("postgres://app:pw@127.77.0.{number}/shop")),
                ("POOL".to_owned(), (number * 5).to_string()),
            ]
        });
    })
    .await;
    for dyno in ["worker.1", "worker.2"] {
        stage.until(dyno, DynoState::Up).await;
        stage.line(&format!("heroku[{dyno}]: State changed from starting to up")).await;
    }
    (stage, vec![DynoName::new("worker", 1), DynoName::new("worker", 2)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_runs_in_both_environments_and_the_difference_is_told() {
    let (stage, names) = two_workers().await;
    let reads = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = Arc::clone(&reads);
    let options = RunOptions {
        tally: Some(Arc::new(move |name| {
            let read = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            DatabaseTally { requests: 7 * read, failures: u64::from(name.number() - 1) * read }
        })),
        ..RunOptions::default()
    };
    let command = "echo $DYNO $DATABASE_URL; echo aside >&2; exit $((POOL / 5 - 1))";
    let results = run(&stage.dynos, &names, command, &options).await.unwrap();
    assert_eq!(results[0].stdout, "worker.1 postgres://app:pw@127.77.0.1/shop\n");
    assert_eq!(results[1].stdout, "worker.2 postgres://app:pw@127.77.0.2/shop\n");
    assert_eq!(results[0].stderr, "aside\n");
    let outcomes: Vec<_> = results.iter().map(|result| result.outcome).collect();
    assert_eq!(outcomes, [RunOutcome::Exited(0), RunOutcome::Exited(1)]);
    assert_eq!(results[0].database.unwrap().failures, 0);
    assert!(results[1].database.unwrap().failures > 0);

    let comparison = RunComparison::of(command, results);
    for aspect in [Aspect::Status, Aspect::Output, Aspect::Database, Aspect::Environment] {
        assert!(comparison.differs_in(aspect), "{aspect:?}");
    }
    let first = &comparison.environment[0];
    assert_eq!((first.name.as_str(), first.expected), ("POOL", false));
    let url = comparison.environment.iter().find(|d| d.name == "DATABASE_URL").unwrap();
    assert!(url.expected);
    assert_eq!(url.values[1].as_deref(), Some("postgres://app:***@127.77.0.2/shop"));
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_run_at_the_same_time() {
    let (stage, names) = two_workers().await;
    // Each waits for the other: one after the other they would never end.
    let command = "touch here.$DYNO; while [ ! -e here.worker.1 ] || [ ! -e here.worker.2 ]; \
                   do sleep 0.01; done";
    let options = RunOptions::default();
    let both = run(&stage.dynos, &names, command, &options);
    let results = soon("both", both).await.unwrap();
    assert!(results.iter().all(|result| result.outcome == RunOutcome::Exited(0)));
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_and_output_of_a_command_are_bounded() {
    let (stage, names) = two_workers().await;
    let options = RunOptions { output_bytes_max: 1000, ..RunOptions::default() };
    // The background process keeps the pipe open; it is killed when the command ends.
    let command = "echo $$; sleep 1000 & yes | head -c 100000";
    let results = soon("the end", run(&stage.dynos, &names[..1], command, &options)).await;
    let result = &results.unwrap()[0];
    assert_eq!(result.outcome, RunOutcome::Exited(0));
    assert_eq!(result.stdout.len(), 1000);
    assert!(result.truncated);
    gone(&[result.stdout.lines().next().unwrap().parse().unwrap()]).await;

    // However far it came by then, nothing of it is left.
    let options = RunOptions { timeout: Duration::from_millis(300), ..RunOptions::default() };
    let command = "echo $$ > group; sleep 1000 & sleep 1000";
    let results = soon("the time-out", run(&stage.dynos, &names[..1], command, &options)).await;
    assert_eq!(results.unwrap()[0].outcome, RunOutcome::TimedOut);
    let group = std::fs::read_to_string(stage.dir.path().join("group")).unwrap_or_default();
    if let Ok(group) = group.trim().parse() {
        gone(&[group]).await;
    }

    let killed = run(&stage.dynos, &names[..1], "kill -9 $$", &RunOptions::default()).await;
    assert_eq!(killed.unwrap()[0].outcome, RunOutcome::Signalled(9));
    let unknown = [DynoName::new("worker", 9)];
    let error = run(&stage.dynos, &unknown, "true", &options).await.unwrap_err();
    assert!(matches!(error, Error::UnknownDyno { .. }), "{error}");
    stage.dynos.shutdown().await;
}

async fn controlled() -> (Stage, Server, Client) {
    let (stage, _) = two_workers().await;
    let info = serde_json::json!({"router": "here"});
    let platform = stage.platform(|_| ());
    let staging = Staging { platform, tally: None, maintenance: None, info };
    let paths = candidates(stage.dir.path(), &stage.dir.path().join("run"));
    let server = Server::start(&paths, Arc::new(staging)).await;
    let server = server.expect("the folder can be written to");
    assert!(server.path().ends_with(".surgetank/control.sock"));
    let client = Client::find(&paths).await.expect("the server listens");
    (stage, server, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_terminal_sees_and_changes_the_dynos() {
    let (stage, server, client) = controlled().await;
    assert_eq!(client.info().await.unwrap()["router"], "here");
    let mut seen = client.ps().await.unwrap();
    assert_eq!(seen.iter().all(|dyno| dyno.usage.is_some()), cfg!(target_os = "linux"));
    // What they use changes all the time.
    seen.iter_mut().for_each(|dyno| dyno.usage = None);
    assert_eq!(seen, stage.dynos.ps());
    assert_eq!(client.scale("worker+1").await.unwrap(), "web=0, worker=3");
    stage.until("worker.3", DynoState::Up).await;
    let before = stage.dynos.ps()[2].pid;
    assert_eq!(client.restart("worker.3").await.unwrap(), [DynoName::new("worker", 3)]);
    stage.until("worker.3", DynoState::Up).await;
    assert_ne!(stage.dynos.ps()[2].pid, before);
    assert_eq!(client.restart("worker").await.unwrap().len(), 3);
    assert_eq!(client.restart("").await.unwrap().len(), 3);

    let refused = |error: Error| match error {
        Error::Refused(text) => text,
        other => panic!("{other}"),
    };
    let text = refused(client.scale("clock=1").await.unwrap_err());
    assert_eq!(text, "formation `clock=1`: the Procfile has no `clock`; it has: web, worker");
    let text = refused(client.restart("web.1").await.unwrap_err());
    assert_eq!(text, "no dyno web.1; running are: worker.1, worker.2, worker.3");

    let order = RunOrder {
        dynos: vec![DynoName::new("worker", 1), DynoName::new("worker", 2)],
        command: "echo $DYNO".to_owned(),
        timeout: Duration::from_secs(20),
    };
    let comparison = client.run_compare(&order).await.unwrap();
    assert_eq!(comparison.results[1].stdout, "worker.2\n");
    assert!(comparison.differs_in(Aspect::Output) && !comparison.differs_in(Aspect::Status));

    let path = server.path().to_owned();
    server.shutdown().await;
    assert!(!path.exists());
    assert!(matches!(client.ps().await.unwrap_err(), Error::NotRunning { .. }));
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_terminal_follows_the_log() {
    let (stage, server, client) = controlled().await;
    let filter = LogFilter::default().dyno("worker.1").last(2);
    let order = LogsOrder { filter, follow: false };
    stage.line("app[worker.1]: working").await;
    let mut history = client.logs(&order).await.unwrap();
    let mut count = 0;
    while let Some(line) = history.next().await.unwrap() {
        assert!(line.contains("[worker.1]: "), "{line}");
        count += 1;
    }
    assert_eq!(count, 2);

    let order = LogsOrder { follow: true, ..order };
    let mut live = client.logs(&order).await.unwrap();
    live.next().await.unwrap().unwrap();
    live.next().await.unwrap().unwrap();
    stage.dynos.restart(&DynoName::new("worker", 1)).await.unwrap();
    let mut lines = Vec::new();
    while !lines.last().is_some_and(|line: &String| line.ends_with("app[worker.1]: working")) {
        lines.push(soon("a line", live.next()).await.unwrap().unwrap());
    }
    assert!(lines[0].ends_with("heroku[worker.1]: Restarting"), "{lines:?}");
    stage.hub.close();
    let rest = async { while live.next().await.unwrap().is_some() {} };
    soon("the end of the log", rest).await;
    server.shutdown().await;
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_ends_its_command() {
    let (stage, server, client) = controlled().await;
    let order = RunOrder {
        dynos: vec![DynoName::new("worker", 1)],
        command: "echo $$ > group; mv group noted; sleep 1000; true".to_owned(),
        timeout: Duration::from_secs(1000),
    };
    let noted = stage.dir.path().join("noted");
    let begun = async {
        while !noted.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        ended = client.run_compare(&order) => panic!("{ended:?}"),
        () = soon("the command", begun) => {}
    }
    let group: i32 = std::fs::read_to_string(noted).unwrap().trim().parse().unwrap();
    gone(&[group]).await;
    assert!(runs(stage.groups()[0]), "the dyno itself goes on");
    server.shutdown().await;
    stage.dynos.shutdown().await;
}
