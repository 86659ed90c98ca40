//! What clients ask for: W1 to W8 of the experiments.

use std::fmt::Write;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::client::{Answer, Client};

/// pgbench's scale, and what follows from it.
pub(crate) const SCALE: u32 = 20;
const ACCOUNTS: u32 = SCALE * 100_000;
/// Rows of the table that everybody writes to.
const HOT: u32 = 2;
/// Rows that the aggregate reads.
const RANGE: u32 = 3_000;

/// A kind of transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// W1: one row by its key.
    Point,
    /// W2: the sum over three thousand rows, so many times over.
    Range { times: u32 },
    /// W3: two reads around an update of one of two rows.
    Hot,
    /// W4: eight milliseconds of nothing, as if it were a disk.
    Wait,
    /// W5: pgbench's own transaction.
    TpcB,
    /// W6: three statements, and a millisecond of the client between them.
    Gaps,
    /// W7: two aggregates in a transaction; so many of a hundred clients idle 50 ms in between.
    Idle { percent: u32 },
    /// W8, beside W1: so many times through the accounts.
    Report { rows: u32, times: u32 },
}

impl Work {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Point => "W1 point reads",
            Self::Range { .. } => "W2 range sums",
            Self::Hot => "W3 hot rows",
            Self::Wait => "W4 8 ms waits",
            Self::TpcB => "W5 tpc-b",
            Self::Gaps => "W6 client gaps",
            Self::Idle { .. } => "W7 idle in transaction",
            Self::Report { .. } => "W8 reports",
        }
    }

    /// One transaction. The first error ends it.
    pub(crate) async fn run(
        self,
        client: &mut Client,
        chance: &mut ChaCha8Rng,
        text: &mut String,
    ) -> anyhow::Result<Answer> {
        let account = chance.random_range(1..=ACCOUNTS);
        match self {
            Self::Point => client.ask(point(text, account)).await,
            Self::Range { times } => client.ask(range(text, account, times)).await,
            Self::Wait => client.ask("SELECT pg_sleep(0.008)").await,
            Self::Report { rows, times } => client.ask(report(text, rows, times)).await,
            Self::Hot => {
                let mut talk = Talk { client, failed: None };
                talk.say("BEGIN").await?;
                talk.say(point(text, account)).await?;
                let row = chance.random_range(1..=HOT);
                talk.say(&format!("UPDATE hot SET n = n + 1 WHERE id = {row}")).await?;
                talk.say(point(text, chance.random_range(1..=ACCOUNTS))).await?;
                talk.end().await
            }
            Self::TpcB => tpc_b(client, chance, account).await,
            Self::Gaps => {
                let mut talk = Talk { client, failed: None };
                talk.say("BEGIN").await?;
                talk.say(point(text, account)).await?;
                tokio::time::sleep(GAP).await;
                talk.say(point(text, chance.random_range(1..=ACCOUNTS))).await?;
                tokio::time::sleep(GAP).await;
                talk.say(point(text, chance.random_range(1..=ACCOUNTS))).await?;
                talk.end().await
            }
            Self::Idle { percent } => {
                let mut talk = Talk { client, failed: None };
                talk.say("BEGIN").await?;
                talk.say(range(text, account, 1)).await?;
                if chance.random_range(0..100) < percent {
                    tokio::time::sleep(PAUSE).await;
                }
                talk.say(range(text, chance.random_range(1..=ACCOUNTS), 1)).await?;
                talk.end().await
            }
        }
    }
}

/// What a client does between two statements of W6, and of W7.
const GAP: Duration = Duration::from_millis(1);
const PAUSE: Duration = Duration::from_millis(50);

fn point(text: &mut String, account: u32) -> &str {
    text.clear();
    // A string takes everything.
    let _ = write!(text, "SELECT abalance FROM pgbench_accounts WHERE aid = {account}");
    text
}

fn range(text: &mut String, account: u32, times: u32) -> &str {
    let rows = RANGE * times;
    let from = account.min(ACCOUNTS - rows);
    text.clear();
    // A string takes everything.
    let _ = write!(
        text,
        "SELECT sum(abalance) FROM pgbench_accounts WHERE aid BETWEEN {from} AND {}",
        from + rows - 1
    );
    text
}

fn report(text: &mut String, rows: u32, times: u32) -> &str {
    text.clear();
    // A string takes everything.
    let _ = write!(
        text,
        "SELECT count(*), avg(bid * sqrt(aid)) FROM pgbench_accounts, \
         generate_series(1, {times}) WHERE aid <= {rows}"
    );
    text
}

/// An open transaction.
struct Talk<'a> {
    client: &'a mut Client,
    failed: Option<Answer>,
}

impl Talk<'_> {
    /// A statement, unless one before has failed.
    async fn say(&mut self, statement: &str) -> anyhow::Result<()> {
        if self.failed.is_none() {
            let answer = self.client.ask(statement).await?;
            self.failed = Some(answer).filter(|answer| *answer != Answer::Done);
        }
        Ok(())
    }

    async fn end(self) -> anyhow::Result<Answer> {
        match self.failed {
            None => self.client.ask("COMMIT").await,
            Some(error) => {
                self.client.ask("ROLLBACK").await?;
                Ok(error)
            }
        }
    }
}

async fn tpc_b(
    client: &mut Client,
    chance: &mut ChaCha8Rng,
    account: u32,
) -> anyhow::Result<Answer> {
    let teller = chance.random_range(1..=10 * SCALE);
    let branch = chance.random_range(1..=SCALE);
    let delta = chance.random_range(-5000..=5000);
    let mut talk = Talk { client, failed: None };
    talk.say("BEGIN").await?;
    let change = |table: &str, column: &str, key: &str, id: u32| {
        format!("UPDATE {table} SET {column} = {column} + {delta} WHERE {key} = {id}")
    };
    talk.say(&change("pgbench_accounts", "abalance", "aid", account)).await?;
    talk.say(&format!("SELECT abalance FROM pgbench_accounts WHERE aid = {account}")).await?;
    talk.say(&change("pgbench_tellers", "tbalance", "tid", teller)).await?;
    talk.say(&change("pgbench_branches", "bbalance", "bid", branch)).await?;
    talk.say(&format!(
        "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) \
         VALUES ({teller}, {branch}, {account}, {delta}, CURRENT_TIMESTAMP)"
    ))
    .await?;
    talk.end().await
}
