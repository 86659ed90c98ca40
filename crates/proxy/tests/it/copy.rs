//! COPY, in all the orders in which drivers speak it.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use proxy::Mode;
use trace::Outcome;
use wire::frontend::tag;

use crate::harness::{Fixture, MODES, code, limit};
use crate::raw::Raw;

#[tokio::test]
async fn copy_both_ways() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let client = fixture.connect().await;
        client.batch_execute("CREATE TABLE t (n int, words text)").await.unwrap();
        let sink = client.copy_in("COPY t FROM STDIN").await.unwrap();
        let mut sink = std::pin::pin!(sink);
        for number in 0..2000 {
            let line = format!("{number}\t{}\n", "word ".repeat(100));
            sink.send(Bytes::from(line)).await.unwrap();
        }
        assert_eq!(sink.finish().await.unwrap(), 2000);

        let stream = client.copy_out("COPY t TO STDOUT").await.unwrap();
        let bytes: usize = stream
            .map_ok(|chunk| chunk.len())
            .try_fold(0, |sum, n| async move { Ok(sum + n) })
            .await
            .unwrap();
        assert!(bytes > 1_000_000, "{bytes}");
        let count: i64 = client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
        assert_eq!(count, 2000);

        testkit::wait_until(crate::harness::SOON, || {
            fixture.requests().iter().filter(|request| request.rows == 2000).count() == 2
        })
        .await;
        drop(client);
        fixture.end().await;
    }
}

#[tokio::test]
async fn copy_that_fails() {
    for mode in MODES {
        let fixture = Fixture::start_with(mode, limit(1)).await;
        let client = fixture.connect().await;
        client.batch_execute("CREATE TABLE t (n int)").await.unwrap();
        for _ in 0..3 {
            let sink = client.copy_in("COPY t FROM STDIN").await.unwrap();
            let mut sink = std::pin::pin!(sink);
            let _ = sink.send(Bytes::from("no number\n")).await;
            let error = sink.finish().await.unwrap_err();
            assert_eq!(code(&error), "22P02");
            // The client gives up: dropping the sink sends CopyFail.
            let sink = client.copy_in::<_, Bytes>("COPY t FROM STDIN").await.unwrap();
            drop(sink);
            client.batch_execute("SELECT 1").await.unwrap();
        }
        // An abandoned COPY out is read to its end.
        let text = "COPY (SELECT generate_series(1, 100000)) TO STDOUT";
        let mut stream = Box::pin(client.copy_out(text).await.unwrap());
        stream.next().await.unwrap().unwrap();
        drop(stream);
        client.batch_execute("SELECT 1").await.unwrap();
        let count: i64 = client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
        assert_eq!(count, 0);
        drop(client);
        // Whatever happened, the next session finds a sound server connection.
        let client = fixture.connect().await;
        assert_eq!(client.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
        drop(client);
        fixture.end().await;
    }
}

#[tokio::test]
async fn simple_copy_in_one_go_and_with_stray_data() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let mut raw = Raw::login(&fixture).await;
        assert_eq!(raw.query("CREATE TABLE t (n int)").tags().await, "CZ");
        // Sent without waiting for CopyInResponse.
        raw.query("COPY t FROM STDIN").copy_data(b"1\n").copy_data(b"2\n");
        assert_eq!(raw.bare(tag::COPY_DONE).tags().await, "GCZ");
        assert_eq!(raw.value("SELECT count(*) FROM t").await, "2");

        // The data goes on after the error; the server drops it, and so does the session.
        raw.query("COPY t FROM STDIN").copy_data(b"x\n").send().await;
        let answer = raw.until_ready().await;
        assert_eq!(answer.iter().map(|message| message.tag).collect::<String>(), "GEZ");
        for _ in 0..100 {
            raw.copy_data(&[b'7'; 1000]);
        }
        raw.bare(tag::COPY_DONE).send().await;
        assert_eq!(raw.value("SELECT count(*) FROM t").await, "2");
        drop(raw);
        fixture.end().await;
    }
}

#[tokio::test]
async fn extended_copy_with_an_early_sync() {
    for mode in MODES {
        let fixture = Fixture::start_with(mode, limit(1)).await;
        let mut raw = Raw::login(&fixture).await;
        raw.query("CREATE TABLE t (n int)").tags().await;
        for _ in 0..3 {
            // The first Sync is ignored by the server: there is one ReadyForQuery for both.
            raw.parse("", "COPY t FROM STDIN").bind("").execute().sync();
            raw.copy_data(b"1\n").bare(tag::COPY_DONE).sync();
            assert_eq!(raw.tags().await, "12GCZ");
        }
        assert_eq!(raw.value("SELECT count(*) FROM t").await, "3");
        let done = fixture.requests();
        assert_eq!(done.len(), 5, "{done:?}");
        assert!(done.iter().all(|request| request.outcome == Outcome::Ok));
        if mode == Mode::Regulate {
            // It was given back: another session finds it.
            let other = fixture.connect().await;
            other.batch_execute("SELECT 1").await.unwrap();
        }
        drop(raw);
        fixture.end().await;
    }
}
