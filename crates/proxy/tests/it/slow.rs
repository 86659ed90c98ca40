//! One side is slower than the other: all buffers between them fill up, and everything arrives.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use wire::frontend::tag;

use crate::harness::{Fixture, MODES, SOON};
use crate::raw::Raw;

/// More than the kernel's buffers on the way hold, one row.
const ROW: usize = 256 * 1024;
const ROWS: usize = 100;

#[tokio::test]
async fn a_slow_server_gets_all_of_a_copy() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let client = fixture.connect().await;
        // During a COPY the server says nothing that would wake a session that forgot to read on.
        client
            .batch_execute(
                "CREATE TABLE t (words text);
                 CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS
                     'BEGIN PERFORM pg_sleep(0.01); NEW.words = length(NEW.words); RETURN NEW; END';
                 CREATE TRIGGER slowly BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION slowly();",
            )
            .await
            .unwrap();
        let line = Bytes::from(["x".repeat(ROW), "\n".to_owned()].concat());
        let copy = async {
            let mut sink = Box::pin(client.copy_in("COPY t FROM STDIN").await.unwrap());
            for _ in 0..ROWS {
                sink.send(line.clone()).await.unwrap();
            }
            sink.as_mut().finish().await.unwrap()
        };
        let rows = timeout(SOON, copy).await.expect("the copy ends");
        assert_eq!(rows, ROWS as u64, "{mode:?}");
        drop(client);
        fixture.end().await;
    }
}

#[tokio::test]
async fn a_slow_server_gets_all_of_a_pipeline() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let mut raw = Raw::login(&fixture).await;
        raw.parse("slow", "SELECT length($1) FROM pg_sleep(0.01)");
        let value = vec![b'x'; ROW];
        for _ in 0..ROWS {
            wire::frame::put(&mut raw.out, tag::BIND, |out| {
                wire::frame::put_text(out, b"");
                wire::frame::put_text(out, b"slow");
                // No formats given; one parameter; results as text.
                out.extend_from_slice(&[0, 0, 0, 1]);
                out.extend_from_slice(&u32::try_from(ROW).unwrap().to_be_bytes());
                out.extend_from_slice(&value);
                out.extend_from_slice(&[0, 0]);
            });
            raw.execute();
        }
        // The server keeps its answers back until here.
        raw.sync();
        timeout(SOON, raw.send()).await.expect("all is taken");
        let answer = raw.until_ready().await;
        let rows = answer.iter().filter(|message| message.tag == 'D').count();
        assert_eq!(rows, ROWS, "{mode:?}");
        drop(raw);
        fixture.end().await;
    }
}

#[tokio::test]
async fn a_slow_client_gets_all_of_a_result() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let client = fixture.connect().await;
        let watcher = fixture.postgres.superuser().await;
        let query = format!(
            "COPY (SELECT repeat('x', {ROW}) FROM generate_series(1, {ROWS}))
                             TO STDOUT"
        );
        let stream = client.copy_out(&query).await.unwrap();
        // Nobody reads, until the server can write no more.
        let is_stuck = async {
            let stuck = "SELECT 1 FROM pg_stat_activity
                         WHERE wait_event = 'ClientWrite' AND query LIKE 'COPY%'";
            while watcher.query(stuck, &[]).await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, is_stuck).await.expect("the buffers on the way end somewhere");
        let read = stream.fold(0, |sum, chunk| async move { sum + chunk.unwrap().len() });
        let bytes = timeout(SOON, read).await.expect("the result ends");
        assert_eq!(bytes, (ROW + 1) * ROWS, "{mode:?}");
        drop((client, watcher));
        fixture.end().await;
    }
}
