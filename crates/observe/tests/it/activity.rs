//! Who does what, and who waits for whom.

use testkit::postgres;
use trace::{BackendPid, BackendSample, Event, Fingerprint, Micros};

use crate::collect::{Collected, observe, until};

/// All samples of one backend.
fn samples(collected: &Collected, pid: i32) -> Vec<BackendSample> {
    let of_pid = |event: &Event| match event {
        Event::ActivitySampled(sample) => {
            sample.backends.iter().find(|backend| backend.pid == BackendPid(pid)).cloned()
        }
        _ => None,
    };
    collected.all(of_pid)
}

async fn pid(session: &testkit::Session) -> i32 {
    let row = session.query_one("SELECT pg_backend_pid()", &[]).await;
    row.expect("every session has a pid").get(0)
}

#[tokio::test]
async fn backends_are_seen_at_work_and_idle() {
    let postgres = postgres().await;
    let database = postgres.database().await;
    let (observer, collected) = observe(database.superuser_url(), false).await;
    let (busy, idle) = (database.connect().await, database.connect().await);
    let (busy_pid, idle_pid) = (pid(&busy).await, pid(&idle).await);
    idle.batch_execute("SET application_name = 'idler'; BEGIN; SELECT 'secret'").await.unwrap();

    let sleep = "SELECT pg_sleep(60), 'secret'";
    let asleep = BackendSample {
        pid: BackendPid(busy_pid),
        state: "active".into(),
        wait: "Timeout:PgSleep".into(),
        transaction_age: Micros::ZERO,
        statement: Fingerprint(sql::fingerprint(sleep)),
        application: "".into(),
    };
    let is_asleep = |sample: BackendSample| {
        sample.transaction_age > Micros::ZERO
            && BackendSample { transaction_age: Micros::ZERO, ..sample } == asleep
    };
    tokio::select! {
        slept = busy.batch_execute(sleep) => panic!("slept through: {slept:?}"),
        () = until("the sleeper to be seen", async || {
            samples(&collected, busy_pid).into_iter().any(is_asleep)
        }) => {}
    }
    until("the idle transaction to be seen", async || {
        samples(&collected, idle_pid).iter().any(|sample| {
            &*sample.state == "idle in transaction"
                && &*sample.application == "idler"
                && &*sample.wait == "Client:ClientRead"
                && sample.transaction_age > Micros::ZERO
        })
    })
    .await;
    observer.shutdown().await;

    let ours = |event: &Event| match event {
        Event::ActivitySampled(sample) => {
            sample.backends.iter().any(|backend| &*backend.application == "surgetank-observer")
        }
        _ => false,
    };
    // Other tests' observers may be seen; ours left itself out in at least its first sample.
    assert!(!collected.all(|event| (!ours(event)).then_some(())).is_empty());
    let texts = collected.all(|event| match event {
        Event::StatementSeen(seen) => Some(seen.text.clone()),
        _ => None,
    });
    assert!(texts.iter().any(|text| &**text == "SELECT pg_sleep($1), $2"), "{texts:?}");
    assert!(!texts.iter().any(|text| text.contains("secret")), "{texts:?}");
}

#[tokio::test]
async fn lock_waits_name_blocker_and_table() {
    let postgres = postgres().await;
    let database = postgres.database().await;
    let (observer, collected) = observe(database.superuser_url(), false).await;
    let (holder, waiter) = (database.connect().await, database.connect().await);
    holder
        .batch_execute("CREATE TABLE stock (id int); INSERT INTO stock VALUES (1)")
        .await
        .unwrap();
    holder.batch_execute("BEGIN; UPDATE stock SET id = 2").await.unwrap();
    let (holder_pid, waiter_pid) = (pid(&holder).await, pid(&waiter).await);

    let waits = async || {
        collected.has(|event| match event {
            Event::LockWaitSampled(wait) => {
                wait.waiter == BackendPid(waiter_pid)
                    && wait.blockers == [BackendPid(holder_pid)]
                    && &*wait.mode == "ShareLock"
                    && &*wait.target == "public.stock"
            }
            _ => false,
        })
    };
    tokio::select! {
        updated = waiter.batch_execute("UPDATE stock SET id = 3") => panic!("no wait: {updated:?}"),
        () = until("the wait to be seen", waits) => {}
    }
    observer.shutdown().await;
}
