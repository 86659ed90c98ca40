//! Clusters start, answer, and leave nothing.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::{binaries, names};
use crate::postgres::process::Stamp;
use crate::postgres::{Cluster, ClusterOptions, Error, RunFolder};

pub(super) fn options(parent: &Path) -> ClusterOptions {
    ClusterOptions {
        parent_dir: parent.to_owned(),
        wal_segment_mib: Some(1),
        // Far beyond what a busy machine needs.
        start_limit: Duration::from_secs(600),
        ..ClusterOptions::default()
    }
}

/// The answer to a query, by the cluster's own psql.
pub(super) fn ask(cluster: &Cluster, url: &str, query: &str) -> String {
    let psql = cluster.bin("psql");
    let output = Command::new(psql).args(["-XAt", "-c", query, url]).output();
    let output = output.expect("the server's package brings psql");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{query} at {url}: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(super) fn postmaster(cluster: &Cluster) -> Stamp {
    let file = cluster.log_path().with_file_name("data").join("postmaster.pid");
    let file = std::fs::read_to_string(file).expect("the server runs");
    let pid = file.lines().next().and_then(|line| line.parse().ok()).expect("its first line");
    Stamp::of(pid).expect("the server runs")
}

#[tokio::test]
async fn a_stopped_cluster_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    super::kills::open_to_the_server(parent.path());
    let cluster = Cluster::start(&binaries(), options(parent.path())).await.unwrap();
    let (server, address) = (postmaster(&cluster), cluster.address().clone());
    assert!(address.socket().exists());
    for url in [cluster.superuser_url("postgres"), address.socket_url("postgres", "postgres")] {
        assert_eq!(ask(&cluster, &url, "SHOW fsync"), "off");
    }
    cluster.stop().await;
    assert!(!server.is_alive());
    assert!(TcpStream::connect(address.tcp()).is_err());
    assert_eq!(names(parent.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_dropped_cluster_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    super::kills::open_to_the_server(parent.path());
    let cluster = Cluster::start(&binaries(), options(parent.path())).await.unwrap();
    let server = postmaster(&cluster);
    drop(cluster);
    assert!(!server.is_alive());
    assert_eq!(names(parent.path()), Vec::<String>::new());
}

#[tokio::test]
async fn tcp_asks_for_the_password() {
    let parent = tempfile::tempdir().unwrap();
    super::kills::open_to_the_server(parent.path());
    let cluster = Cluster::start(&binaries(), options(parent.path())).await.unwrap();
    let url = cluster.superuser_url("postgres");
    let wrong = url.replace(&cluster.superuser().password, "guessed");
    let output =
        Command::new(cluster.bin("psql")).args(["-c", "SELECT 1", &wrong]).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("password authentication failed"), "{said}");
}

#[tokio::test]
async fn two_clusters_live_side_by_side_in_one_run_folder() {
    let parent = tempfile::tempdir().unwrap();
    super::kills::open_to_the_server(parent.path());
    let run = Arc::new(RunFolder::create(parent.path()).unwrap());
    let named = |name: &str, work_mem: &str| ClusterOptions {
        name: name.to_owned(),
        run_folder: Some(Arc::clone(&run)),
        settings: vec![("work_mem".to_owned(), work_mem.to_owned())],
        ..options(parent.path())
    };
    let binaries = binaries();
    let (one, other) = tokio::join!(
        Cluster::start(&binaries, named("one", "1MB")),
        Cluster::start(&binaries, named("other", "2MB")),
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_ne!(one.port(), other.port());
    assert_eq!(ask(&one, &one.superuser_url("postgres"), "SHOW work_mem"), "1MB");
    assert_eq!(ask(&other, &other.superuser_url("postgres"), "SHOW work_mem"), "2MB");
    drop(one);
    assert_eq!(ask(&other, &other.superuser_url("postgres"), "SHOW work_mem"), "2MB");
    drop((other, run));
    assert_eq!(names(parent.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_server_that_will_not_start_says_why_and_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    super::kills::open_to_the_server(parent.path());
    let wrong = ("shared_buffers".to_owned(), "plenty".to_owned());
    let options = ClusterOptions { settings: vec![wrong], ..options(parent.path()) };
    let error = Cluster::start(&binaries(), options).await.unwrap_err();
    assert!(matches!(&error, Error::Start { .. }), "{error:?}");
    assert!(
        error.to_string().contains("invalid value for parameter \"shared_buffers\""),
        "{error}"
    );
    assert_eq!(names(parent.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    super::kills::open_to_the_server(parent.path());
    let binaries = binaries();
    let start = Cluster::start(&binaries, options(parent.path()));
    // Long enough for initdb to have begun, too short for it to end.
    let given_up = tokio::time::timeout(Duration::from_millis(100), start).await;
    assert!(given_up.is_err(), "initdb in a tenth of a second");
    assert_eq!(names(parent.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_refused_before_anything_is_made() {
    let parent = tempfile::tempdir().unwrap();
    let long = parent.path().join("x".repeat(90));
    let error = Cluster::start(&binaries(), options(&long)).await.unwrap_err();
    assert!(matches!(&error, Error::SocketPath { .. }), "{error:?}");
    assert_eq!(names(&long), Vec::<String>::new());
}
