//! Config vars and releases of an app with real processes, as another terminal sees them.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use platform::control::{Client, Server, Staging, candidates};
use platform::release::ConfigChanges;
use platform::{Error, Platform, ReleaseStatus};

use crate::stage::{Stage, gone, soon};

const PROCFILE: &str = "worker: echo FOO=$FOO; exec sleep 1000\n";

fn set(name: &str, value: &str) -> ConfigChanges {
    BTreeMap::from([(name.to_owned(), Some(value.to_owned()))])
}

async fn app(procfile: &str) -> (Stage, Arc<Platform>) {
    let stage = Stage::new(procfile, "worker=0", |_| ()).await;
    std::fs::write(stage.dir.path().join("Procfile"), procfile).expect("a Procfile");
    let platform = stage.platform(|_| ());
    (stage, platform)
}

async fn served(stage: &Stage, platform: &Arc<Platform>) -> (Server, Client) {
    let info = serde_json::Value::Null;
    let staging = Staging { platform: Arc::clone(platform), tally: None, maintenance: None, info };
    let paths = candidates(stage.dir.path(), &stage.dir.path().join("run"));
    let server = Server::start(&paths, Arc::new(staging)).await.expect("a socket");
    (server, Client::find(&paths).await.expect("the server listens"))
}

fn refused(error: Error) -> String {
    match error {
        Error::Refused(text) => text,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_config_is_a_release_and_restarts_all_dynos() {
    let (stage, platform) = app(PROCFILE).await;
    platform.releases.start(set("FOO", "one")).await.unwrap();
    stage.dynos.scale("worker=2").await.unwrap();
    stage.line("app[worker.1]: FOO=one").await;
    stage.line("app[worker.2]: FOO=one").await;
    let (server, client) = served(&stage, &platform).await;

    assert_eq!(client.set_config(set("FOO", "tw'o $X")).await.unwrap(), Some(4));
    stage.line("app[worker.1]: FOO=tw'o $X").await;
    stage.line("app[worker.2]: FOO=tw'o $X").await;
    assert!(stage.dynos.ps().iter().all(|dyno| dyno.release == 4));
    // The same again changes nothing.
    assert_eq!(client.set_config(set("FOO", "tw'o $X")).await.unwrap(), None);
    let unset = BTreeMap::from([("FOO".to_owned(), None)]);
    assert_eq!(client.set_config(unset).await.unwrap(), Some(5));
    soon("no FOO", async {
        while !stage.lines("worker.2").contains(&"app[worker.2]: FOO=".to_owned()) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    let config = client.config().await.unwrap();
    assert_eq!(config.iter().collect::<Vec<_>>(), [("DATABASE_URL", "postgres://shop")]);

    let told: Vec<String> = stage.lines("api");
    let ann = "by user ann@example.com";
    let slug = client.releases().await.unwrap()[2].description.clone();
    assert!(slug.starts_with("Deploy ") && slug.len() == 15, "{slug}");
    assert_eq!(
        told,
        [
            format!("app[api]: Initial release {ann}"),
            format!("app[api]: Release v1 created {ann}"),
            format!("app[api]: Set FOO config vars {ann}"),
            format!("app[api]: Release v2 created {ann}"),
            format!("app[api]: {slug} {ann}"),
            format!("app[api]: Release v3 created {ann}"),
            "heroku[api]: Scale to worker=2".to_owned(),
            format!("app[api]: Set FOO config vars {ann}"),
            format!("app[api]: Release v4 created {ann}"),
            format!("app[api]: Remove FOO config vars {ann}"),
            format!("app[api]: Release v5 created {ann}"),
        ]
    );
    assert_eq!(
        refused(client.set_config(set("DATABASE_URL", "x")).await.unwrap_err()),
        "Cannot overwrite attachment values DATABASE_URL."
    );
    let text = refused(client.set_config(set("A", &"x".repeat(32 * 1024))).await.unwrap_err());
    assert!(text.contains("the limit is 32768"), "{text}");
    server.shutdown().await;
    platform.shutdown().await;
    gone(&stage.groups()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_is_a_new_release_as_an_older_one_was() {
    let (stage, platform) = app(PROCFILE).await;
    platform.releases.start(set("FOO", "one")).await.unwrap();
    stage.dynos.scale("worker=1").await.unwrap();
    // Before the next release takes its place.
    stage.line("app[worker.1]: FOO=one").await;
    let (server, client) = served(&stage, &platform).await;
    let changed = "worker: echo changed=$FOO; exec sleep 1000\nclock: exec sleep 1000\n";
    std::fs::write(stage.dir.path().join("Procfile"), changed).unwrap();
    assert_eq!(client.set_config(set("FOO", "two")).await.unwrap(), Some(4));
    stage.line("app[worker.1]: FOO=two").await;
    assert_eq!(client.deploy().await.unwrap(), 5);
    stage.line("app[worker.1]: changed=two").await;
    assert_eq!(stage.dynos.formation().await.to_string(), "worker=1, clock=0");

    assert_eq!(client.rollback(Some(3)).await.unwrap(), 6);
    soon("the old Procfile with the old value", async {
        while stage.lines("worker.1").iter().filter(|line| line.ends_with(": FOO=one")).count() < 2
        {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(stage.dynos.formation().await.to_string(), "worker=1");
    // Without a number: to the one before.
    assert_eq!(client.rollback(None).await.unwrap(), 7);
    let releases = client.releases().await.unwrap();
    assert_eq!(releases[0].description, "Rollback to v5");
    assert_eq!(releases[1].description, "Rollback to v3");
    assert!(releases[0].current && !releases[1].current);
    assert_eq!(client.release(7).await.unwrap().config_vars.get("FOO"), Some("two"));
    assert_eq!(refused(client.rollback(Some(99)).await.unwrap_err()), "there is no release v99");
    let text = refused(client.rollback(Some(1)).await.unwrap_err());
    assert!(text.starts_with("v1 cannot be rolled back to"), "{text}");
    server.shutdown().await;
    platform.shutdown().await;
    gone(&stage.groups()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_release_process_runs_first_and_its_failure_stops_the_release() {
    let procfile = "release: echo releasing with FOO=$FOO; test -z \"$BROKEN\"\n\
                    worker: echo FOO=$FOO; exec sleep 1000\n";
    let (stage, platform) = app(procfile).await;
    platform.releases.start(set("FOO", "one")).await.unwrap();
    stage.dynos.scale("worker=1").await.unwrap();
    stage.line("app[worker.1]: FOO=one").await;
    let changes = BTreeMap::from([
        ("FOO".to_owned(), Some("two".to_owned())),
        ("BROKEN".to_owned(), Some("yes".to_owned())),
    ]);
    let error = platform.releases.set_config(changes).await.unwrap_err();
    assert!(matches!(error, Error::ReleaseFailed { version: 4, .. }), "{error}");
    // What was live stays live, for the dynos and for those who ask.
    assert_eq!(platform.releases.config_vars().get("FOO"), Some("one"));
    assert_eq!(stage.dynos.deployed().release, 3);
    assert_eq!(platform.releases.list()[0].status, ReleaseStatus::Failed);
    assert_eq!(
        platform.releases.set_config(set("FOO", "three")).await.unwrap().unwrap().version,
        5
    );
    stage.line("app[worker.1]: FOO=three").await;

    let api: Vec<String> = stage.lines("api").split_off(7);
    let ann = "by user ann@example.com";
    assert_eq!(
        api,
        [
            "heroku[api]: Scale to release=0, worker=1".to_owned(),
            format!("app[api]: Set BROKEN, FOO config vars {ann}"),
            format!("app[api]: Running release v4 commands {ann}"),
            "app[api]: Release v4 failed: its release command did not succeed".to_owned(),
            format!("app[api]: Set FOO config vars {ann}"),
            format!("app[api]: Running release v5 commands {ann}"),
            format!("app[api]: Release v5 created {ann}"),
        ]
    );
    let release = stage.lines("release").join("\n");
    for part in [
        "]: releasing with FOO=two\n",
        "]: Process exited with status 1\n",
        "]: releasing with FOO=three\n",
        "]: State changed from up to complete\n",
    ] {
        assert!(format!("{release}\n").contains(part), "{part:?} is not in:\n{release}");
    }
    platform.shutdown().await;
    gone(&stage.groups()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_outlive_the_run_and_are_for_their_owner_only() {
    let (stage, platform) = app(PROCFILE).await;
    platform.releases.start(set("TOKEN", "s3cret")).await.unwrap();
    assert!(!format!("{platform:?} {:?}", platform.releases).contains("s3cret"));
    let file = stage.dir.path().join(".surgetank/releases.json");
    let metadata = std::fs::metadata(&file).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(&file).unwrap().contains("s3cret"));
    platform.shutdown().await;
    drop(platform);
    let everything = stage.lines("api").join("\n");
    assert!(!everything.contains("s3cret"), "{everything}");

    // The folder is the same, the run is another one.
    let again = stage.platform(|_| ());
    assert_eq!(again.releases.config_vars().get("TOKEN"), Some("s3cret"));
    assert_eq!(again.releases.current().unwrap().version, 3);
    again.shutdown().await;
}
