//! Peers that do not read what they are sent: memory stays bounded, others go on.

use wire::frontend::{self, tag};

use crate::harness::{Fixture, MODES, SOON, limit};
use crate::raw::Raw;

/// What a session may hold in its buffers at most, generously: two inboxes and two outboxes.
const SESSION_MAX: u64 = 1 << 20;

/// What this process (the proxy lives in it) has in memory, in bytes; Linux only.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// Waits until a backend of this database waits for that.
async fn until_wait_event(fixture: &Fixture, event: &str) {
    let watcher = fixture.postgres.superuser().await;
    let text = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event = $2";
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let row = watcher.query_one(text, &[&fixture.database.name, &event]).await;
        if row.expect("a count").get::<_, i64>(0) > 0 {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "no backend waits for {event}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_back_the_server() {
    for mode in MODES {
        let fixture = Fixture::start_with(mode, limit(2)).await;
        let other = fixture.connect().await;
        other.batch_execute("SELECT 1").await.unwrap();
        let mut raw = Raw::login(&fixture).await;
        let before = resident();
        // 200 MB, of which nobody reads a byte.
        raw.query("SELECT repeat('x', 1000) FROM generate_series(1, 200000)").send().await;
        until_wait_event(&fixture, "ClientWrite").await;
        let grown = resident().zip(before).map(|(now, before)| now.saturating_sub(before));
        assert!(grown.is_none_or(|grown| grown < 8 * SESSION_MAX), "{grown:?} bytes more");
        // The same worker serves others meanwhile.
        for _ in 0..20 {
            other.batch_execute("SELECT 1").await.unwrap();
        }
        // It is all still to come.
        let mut rows = 0;
        while rows < 200_000 {
            rows += u32::from(raw.receive().await.tag == 'D');
        }
        assert_eq!(raw.until_ready().await.len(), 2);
        drop((raw, other));
        fixture.end().await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_read_holds_back_the_client() {
    for mode in MODES {
        let fixture = Fixture::start_with(mode, limit(3)).await;
        let other = fixture.connect().await;
        other.batch_execute("CREATE TABLE t (words text)").await.unwrap();
        let locker = fixture.connect().await;
        locker.batch_execute("BEGIN; LOCK TABLE t").await.unwrap();
        let mut raw = Raw::login(&fixture).await;
        // It waits for the lock before it reads any data, and none is asked for.
        raw.query("COPY t FROM STDIN").send().await;
        until_wait_event(&fixture, "relation").await;
        let before = resident();
        let chunk = {
            let mut out = Vec::new();
            wire::frame::put(&mut out, tag::COPY_DATA, |out| out.resize(out.len() + 60_000, b'x'));
            out
        };
        let (mut sent, mut stalled) = (0_u64, 0);
        // Sends until nothing is taken any more.
        while stalled < 20 {
            match raw.try_write(&chunk[usize::try_from(sent).unwrap() % chunk.len()..]) {
                0 => {
                    stalled += 1;
                    other.batch_execute("SELECT 1").await.unwrap();
                }
                count => (sent, stalled) = (sent + count, 0),
            }
            assert!(sent < 200_000_000, "the proxy takes everything");
        }
        let grown = resident().zip(before).map(|(now, before)| now.saturating_sub(before));
        assert!(grown.is_none_or(|grown| grown < 8 * SESSION_MAX), "{grown:?} of {sent} bytes");

        locker.batch_execute("COMMIT").await.unwrap();
        raw.out.extend_from_slice(&chunk[usize::try_from(sent).unwrap() % chunk.len()..]);
        frontend::put_bare(&mut raw.out, tag::COPY_DONE);
        assert_eq!(raw.tags().await, "GCZ");
        drop((raw, other, locker));
        fixture.end().await;
    }
}
