//! LISTEN and NOTIFY of a session that keeps its server connection.

use crate::compare::{Site, ask, compare, query};
use crate::raw::Raw;

/// What is said around `LISTEN c`, before and after it.
const PINS: [(&str, &str); 10] = [
    ("SELECT 1", "SELECT 1"),
    ("SELECT 1", "SELECT pg_advisory_lock(5)"),
    ("SELECT pg_advisory_lock(5)", "SELECT 1"),
    ("SELECT 1", "CREATE TEMP TABLE u ()"),
    ("CREATE TEMP TABLE u ()", "SELECT 1"),
    ("SELECT 1", "DECLARE h CURSOR WITH HOLD FOR SELECT 1"),
    ("SELECT 1", "PREPARE q AS SELECT 1"),
    ("PREPARE q AS SELECT 1", "SELECT 1"),
    ("SELECT 1", "DO $$BEGIN END$$"),
    ("SELECT setseed(0.5)", "SELECT 1"),
];

async fn listen(site: &Site, before: &str, after: &str) -> Raw {
    let mut raw = site.login().await;
    for text in [before, "LISTEN c", after] {
        query(&mut raw, text).await;
    }
    raw
}

#[tokio::test]
async fn ones_own_notification_comes_before_ready_for_query() {
    compare(2, async |site: &Site| {
        let mut answers = Vec::new();
        for (before, after) in PINS {
            let mut raw = listen(site, before, after).await;
            let mut shown = Vec::new();
            for _ in 0..5 {
                shown.push(query(&mut raw, "NOTIFY c, 'x'").await);
                raw.parse("", "NOTIFY c, 'y'").bind("").execute().sync();
                shown.push(ask(&mut raw).await);
                shown.push(query(&mut raw, "SELECT pg_notify('c', 'z')").await);
                for text in ["BEGIN", "NOTIFY c", "SELECT 1", "COMMIT"] {
                    shown.push(query(&mut raw, text).await);
                }
                shown.push(query(&mut raw, "NOTIFY other").await);
            }
            answers.push((format!("{before}, {after}"), shown.join(" | ")));
        }
        answers
    })
    .await;
}
