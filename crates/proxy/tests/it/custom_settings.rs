//! Custom settings (`app.x`): what is left of them where, and `temp_buffers`, which PostgreSQL lets
//! nobody change on a backend that has used temporary tables.

use crate::compare::{Answers, Site, compare, hear, query};

/// How a session changes its setting, after it was set; in each, a value that is gone is ''.
const CLEARS: [&[&str]; 13] = [
    &["SET app.x = '1'", "SET app.x = ''"],
    &["SET app.x = '1'", "RESET app.x"],
    &["SET app.x = '1'", "SELECT set_config('app.x', '', false)"],
    &["SET app.x = '1'", "SET app.x TO DEFAULT"],
    &["SET app.x = '1'", "RESET ALL"],
    &["SET app.x = '1'"],
    &["BEGIN", "SET LOCAL app.x = '1'", "COMMIT"],
    &["BEGIN", "SET LOCAL app.x = '1'", "ROLLBACK"],
    &["BEGIN", "SET app.x = '1'", "ROLLBACK"],
    &["BEGIN; SET LOCAL app.x = '1'; COMMIT"],
    &["SELECT set_config('app.x', '1', true)"],
    &["SET app.x = '1'", "BEGIN", "SET LOCAL app.x = '2'", "COMMIT"],
    &["SELECT current_setting('app.x', true)"],
];

const READS: [&str; 3] = [
    "SELECT current_setting('app.x', true), current_setting('app.x', true) IS NULL",
    "SELECT current_setting('app.x')",
    "SHOW app.x",
];

async fn read(site: &Site) -> Answers {
    let mut answers = Vec::new();
    for texts in CLEARS {
        let mut raw = site.login().await;
        let mut shown = Vec::new();
        for text in texts {
            shown.push(query(&mut raw, text).await);
        }
        shown.push(query(&mut raw, READS[0]).await);
        // Takes the connection that it has used, if there is another.
        let mut holder = site.login().await;
        query(&mut holder, "BEGIN; SELECT 1").await;
        query(&mut holder, "COMMIT").await;
        for text in READS {
            shown.push(query(&mut raw, text).await);
        }
        // Who never set it.
        for text in READS {
            shown.push(query(&mut holder, text).await);
        }
        answers.push((format!("{texts:?}"), shown.join(" | ")));
    }
    answers
}

#[tokio::test]
async fn a_custom_setting_that_is_gone_is_empty_and_one_that_never_was_is_null() {
    compare(1, read).await;
}

/// How a session that never set it comes to read it in the middle of a transaction.
const BEGINS: [&[&str]; 3] = [
    &["BEGIN", "SELECT 1"],
    &["BEGIN; SELECT 1"],
    &["START TRANSACTION READ ONLY", "SELECT count(*) FROM pg_class WHERE relname = 'none'"],
];

#[tokio::test]
async fn in_a_transaction_one_that_never_was_is_null_too() {
    compare(2, async |site: &Site| {
        let mut answers = Vec::new();
        let mut owner = site.login().await;
        query(&mut owner, "SET app.x = '1'").await;
        for begin in BEGINS {
            let mut other = site.login().await;
            let mut shown = vec![query(&mut owner, READS[0]).await];
            for text in begin.iter().chain(&READS[..1]).chain(&["COMMIT"]) {
                shown.push(query(&mut other, text).await);
            }
            answers.push((format!("{begin:?}"), shown.join(" | ")));
        }
        answers
    })
    .await;
}

/// Who waits for the session's settings keeps the server connection until its request is run.
#[tokio::test]
async fn sessions_of_different_settings_that_ask_at_once_are_all_answered() {
    for (count, sessions) in [(1, 2), (2, 6)] {
        compare(count, async |site: &Site| {
            let mut answers = Vec::new();
            let mut all = Vec::new();
            for number in 0..sessions {
                let mut raw = site.login().await;
                query(&mut raw, &format!("SET app.x = '{number}'; SET work_mem = '{number}99kB'"))
                    .await;
                all.push(raw);
            }
            for round in 0..50 {
                for raw in &mut all {
                    raw.query("SELECT 1").send().await;
                }
                for raw in &mut all {
                    answers.push((round.to_string(), hear(raw, 1).await));
                }
            }
            answers
        })
        .await;
    }
}

const USE: [&str; 3] = ["CREATE TEMP TABLE u (n int)", "INSERT INTO u VALUES (1)", "DROP TABLE u"];

#[tokio::test]
async fn temp_buffers_moves_although_a_backend_was_used() {
    compare(1, async |site: &Site| {
        let mut answers = Vec::new();
        let (mut one, mut two) = (site.login().await, site.login().await);
        query(&mut two, "SET temp_buffers = '1MB'").await;
        let mut shown = Vec::new();
        for text in USE {
            shown.push(query(&mut one, text).await);
        }
        for text in ["SELECT 1", "SHOW temp_buffers", "SHOW temp_buffers"] {
            shown.extend([query(&mut two, text).await, query(&mut one, text).await]);
        }
        answers.push(("another has used it".to_owned(), shown.join(" | ")));
        drop((one, two));
        let mut one = site.login().await;
        let mut shown = vec![query(&mut one, "SET temp_buffers = '1MB'").await];
        for text in USE {
            shown.push(query(&mut one, text).await);
        }
        let mut two = site.login().await;
        for text in ["SELECT 1", "SHOW temp_buffers", "SHOW temp_buffers"] {
            shown.extend([query(&mut two, text).await, query(&mut one, text).await]);
        }
        answers.push(("its own, used".to_owned(), shown.join(" | ")));
        answers
    })
    .await;
}
