//! A lost session, and one that never was.

use std::sync::Arc;

use observe::{Error, ObserveConfig, Observer};
use testkit::postgres_with;
use trace::{Clock, Event, NoSink};

use crate::collect::{Collected, observe, until};

fn samples(collected: &Collected) -> usize {
    let sample = |event: &Event| matches!(event, Event::ActivitySampled(_)).then_some(());
    collected.all(sample).len()
}

fn is_marked(collected: &Collected, beginning: &str) -> bool {
    collected
        .has(|event| matches!(event, Event::Marked { text, .. } if text.starts_with(beginning)))
}

#[tokio::test]
async fn it_comes_back_after_its_session_was_ended() {
    // A server of its own: all observers of it are shot.
    let postgres = postgres_with(&[]).await;
    let (observer, collected) = observe(&postgres.superuser_url(), false).await;
    let superuser = postgres.superuser().await;
    superuser
        .batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE application_name = 'surgetank-observer'",
        )
        .await
        .unwrap();
    until("the marks", async || {
        is_marked(&collected, "observer lost its session")
            && is_marked(&collected, "observer is back after")
    })
    .await;
    let before = samples(&collected);
    until("samples of the new session", async || samples(&collected) > before).await;
    observer.shutdown().await;
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_server_that_is_gone() {
    let postgres = postgres_with(&[]).await;
    let (observer, collected) = observe(&postgres.superuser_url(), false).await;
    drop(postgres);
    until("the loss", async || is_marked(&collected, "observer lost its session")).await;
    observer.shutdown().await;
}

#[tokio::test]
async fn no_server_is_an_error_at_the_start() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://nobody@{}/none", listener.local_addr().unwrap());
    drop(listener);
    let config = ObserveConfig::new(url.parse().unwrap());
    let refused = Observer::start(config, Clock::start(), Arc::new(NoSink)).await;
    assert!(matches!(refused, Err(Error::Connect(_))), "{refused:?}");
}
