//! Clients that leave before they have their answers: what they sent is executed as PostgreSQL
//! would execute it.

use std::net::SocketAddr;

use proxy::Mode;
use testkit::Session;
use trace::Event;
use wire::frontend::tag;

use crate::compare::hear;
use crate::harness::{Fixture, SOON, limit};
use crate::raw::Raw;

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    Close,
    Terminate,
    HalfClose,
    HalfCloseAfterTerminate,
}

const WAYS: [Leave; 4] =
    [Leave::Close, Leave::Terminate, Leave::HalfClose, Leave::HalfCloseAfterTerminate];

/// What a client sends, and what is in the table afterwards.
struct Case {
    name: &'static str,
    put: fn(&mut Raw) -> &mut Raw,
    rows: &'static str,
    /// What a client that has half-closed its connection is answered.
    answer: &'static str,
}

const CASES: [Case; 17] = [
    Case {
        name: "insert",
        put: |raw| raw.query("INSERT INTO t VALUES (1)"),
        rows: "1",
        answer: "C(INSERT 0 1) ZI EOF",
    },
    Case {
        name: "slow insert",
        put: |raw| raw.query("INSERT INTO t SELECT 1 FROM pg_sleep(0.2)"),
        rows: "1",
        answer: "C(INSERT 0 1) ZI EOF",
    },
    Case {
        name: "two inserts",
        put: |raw| raw.query("INSERT INTO t VALUES (1)").query("INSERT INTO t VALUES (2)"),
        rows: "1,2",
        answer: "C(INSERT 0 1) ZI C(INSERT 0 1) ZI EOF",
    },
    Case {
        name: "slow, then insert",
        put: |raw| raw.query("SELECT pg_sleep(0.2)").query("INSERT INTO t VALUES (2)"),
        rows: "2",
        answer: "T1 D[\"\"] C(SELECT 1) ZI C(INSERT 0 1) ZI EOF",
    },
    Case {
        name: "error, then insert",
        put: |raw| raw.query("SELECT 1/0").query("INSERT INTO t VALUES (2)"),
        rows: "2",
        answer: "E(22012) ZI C(INSERT 0 1) ZI EOF",
    },
    Case {
        name: "extended",
        put: |raw| raw.parse("", "INSERT INTO t VALUES (3)").bind("").execute().sync(),
        rows: "3",
        answer: "1 2 C(INSERT 0 1) ZI EOF",
    },
    Case {
        name: "extended, twice",
        put: |raw| {
            raw.parse("s", "INSERT INTO t VALUES (3)").bind("s").execute().sync();
            raw.bind("s").execute().sync()
        },
        rows: "3,3",
        answer: "1 2 C(INSERT 0 1) ZI 2 C(INSERT 0 1) ZI EOF",
    },
    Case {
        name: "begin, insert, commit",
        put: |raw| raw.query("BEGIN").query("INSERT INTO t VALUES (4)").query("COMMIT"),
        rows: "4",
        answer: "C(BEGIN) ZT C(INSERT 0 1) ZT C(COMMIT) ZI EOF",
    },
    Case {
        name: "begin, insert",
        put: |raw| raw.query("BEGIN").query("INSERT INTO t VALUES (4)"),
        rows: "",
        answer: "C(BEGIN) ZT C(INSERT 0 1) ZT EOF",
    },
    Case {
        name: "insert, begin, insert",
        put: |raw| {
            raw.query("INSERT INTO t VALUES (1)").query("BEGIN").query("INSERT INTO t VALUES (4)")
        },
        rows: "1",
        answer: "C(INSERT 0 1) ZI C(BEGIN) ZT C(INSERT 0 1) ZT EOF",
    },
    Case {
        name: "copy",
        put: |raw| raw.query("COPY t FROM STDIN").copy_data(b"5\n6\n").bare(tag::COPY_DONE),
        rows: "5,6",
        answer: "G C(COPY 2) ZI EOF",
    },
    Case {
        name: "begin, copy, commit",
        put: |raw| {
            raw.query("BEGIN").query("COPY t FROM STDIN").copy_data(b"5\n6\n");
            raw.bare(tag::COPY_DONE).query("COMMIT")
        },
        rows: "5,6",
        answer: "C(BEGIN) ZT G C(COPY 2) ZT C(COMMIT) ZI EOF",
    },
    Case {
        name: "begin, insert, copy, commit",
        put: |raw| {
            raw.query("BEGIN").query("INSERT INTO t VALUES (1)").query("COPY t FROM STDIN");
            raw.copy_data(b"5\n6\n").bare(tag::COPY_DONE).query("COMMIT")
        },
        rows: "1,5,6",
        answer: "C(BEGIN) ZT C(INSERT 0 1) ZT G C(COPY 2) ZT C(COMMIT) ZI EOF",
    },
    Case {
        name: "listen, insert",
        put: |raw| raw.query("LISTEN z").query("INSERT INTO t VALUES (1)"),
        rows: "1",
        answer: "C(LISTEN) ZI C(INSERT 0 1) ZI EOF",
    },
    Case {
        name: "insert, listen, insert",
        put: |raw| {
            raw.query("INSERT INTO t VALUES (1)").query("LISTEN z");
            raw.query("INSERT INTO t VALUES (2)")
        },
        rows: "1,2",
        answer: "C(INSERT 0 1) ZI C(LISTEN) ZI C(INSERT 0 1) ZI EOF",
    },
    Case {
        name: "listen by the extended protocol, insert",
        put: |raw| {
            raw.parse("", "LISTEN z").bind("").execute().sync();
            raw.query("INSERT INTO t VALUES (1)")
        },
        rows: "1",
        answer: "1 2 C(LISTEN) ZI C(INSERT 0 1) ZI EOF",
    },
    Case {
        name: "copy that is not finished",
        put: |raw| raw.query("COPY t FROM STDIN").copy_data(b"5\n6\n"),
        rows: "",
        answer: "",
    },
];

/// A batch without `Sync`: inserted, but not committed.
fn put_without_sync(raw: &mut Raw) -> &mut Raw {
    raw.parse("", "INSERT INTO t VALUES (3)").bind("").execute()
}

struct Place {
    fixture: Fixture,
    watcher: Session,
    left: usize,
}

impl Place {
    async fn new(count: u32) -> Self {
        let fixture = Fixture::start_with(Mode::Regulate, limit(count)).await;
        let watcher = testkit::connect(fixture.database.superuser_url()).await;
        let owner = fixture.database.connect().await;
        owner.batch_execute("CREATE TABLE t (n int)").await.expect("a table");
        Self { fixture, watcher, left: 0 }
    }

    /// A client says something and leaves; what it was answered.
    async fn leave(
        &mut self,
        addr: SocketAddr,
        put: fn(&mut Raw) -> &mut Raw,
        way: Leave,
    ) -> String {
        let mut raw = Raw::login_at(&self.fixture, addr).await;
        put(&mut raw);
        if matches!(way, Leave::Terminate | Leave::HalfCloseAfterTerminate) {
            raw.bare(tag::TERMINATE);
        }
        self.left += usize::from(addr == self.fixture.addr);
        match way {
            Leave::Close | Leave::Terminate => {
                raw.send().await;
                String::new()
            }
            Leave::HalfClose | Leave::HalfCloseAfterTerminate => {
                raw.half_close().await;
                hear(&mut raw, usize::MAX).await
            }
        }
    }

    /// Waits until nothing is under way for those who left.
    async fn settle(&self, direct: bool) {
        let closed = || {
            let all = self.fixture.all_events();
            let closed = all.iter().filter(|event| matches!(event, Event::SessionClosed { .. }));
            closed.count() >= self.left
        };
        testkit::wait_until(SOON, closed).await;
        let text = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                    AND backend_type = 'client backend' AND pid <> pg_backend_pid() \
                    AND ($1 OR state <> 'idle')";
        let deadline = tokio::time::Instant::now() + SOON;
        while self.watcher.query_one(text, &[&direct]).await.expect("a count").get::<_, i64>(0) > 0
        {
            assert!(tokio::time::Instant::now() < deadline, "something is still under way");
        }
    }

    async fn rows(&self) -> String {
        let text = "SELECT coalesce(string_agg(n::text, ',' ORDER BY n), '') FROM t";
        self.watcher.query_one(text, &[]).await.expect("a text").get(0)
    }

    async fn truncate(&self) {
        self.watcher.batch_execute("TRUNCATE t").await.expect("a table");
    }
}

#[tokio::test]
async fn what_was_sent_before_leaving_is_executed_as_without_a_proxy() {
    let mut place = Place::new(2).await;
    let server = place.fixture.database.address.clone();
    // Without connections of its own, the direct side can be waited for.
    let mut wrong = Vec::new();
    let addrs = [SocketAddr::new(server.host, server.port), place.fixture.addr];
    for (side, addr) in addrs.into_iter().enumerate() {
        for case in &CASES {
            for way in WAYS {
                let is_heard = matches!(way, Leave::HalfClose | Leave::HalfCloseAfterTerminate);
                // PostgreSQL gives up once it cannot answer, at one time or another.
                if side == 0 && !is_heard {
                    continue;
                }
                place.truncate().await;
                let answer = place.leave(addr, case.put, way).await;
                place.settle(side == 0).await;
                let found = (place.rows().await, answer);
                let is_heard = is_heard && !case.answer.is_empty();
                let is_right = found.0 == case.rows && (!is_heard || found.1 == case.answer);
                if !is_right {
                    wrong.push(format!("{side} {} {way:?}: {found:?}", case.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    drop(place.watcher);
    place.fixture.end().await;
}

#[tokio::test]
async fn a_batch_without_its_sync_is_not_executed() {
    let mut place = Place::new(1).await;
    for way in WAYS {
        let addr = place.fixture.addr;
        place.leave(addr, put_without_sync, way).await;
        place.settle(false).await;
        assert_eq!(place.rows().await, "", "{way:?}");
    }
    let mut next = Raw::login(&place.fixture).await;
    assert_eq!(next.value("SELECT 7").await, "7");
    drop((next, place.watcher));
    place.fixture.end().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_is_executed_too() {
    let mut place = Place::new(1).await;
    let mut wrong = Vec::new();
    for case in CASES.iter().filter(|case| !case.answer.is_empty()) {
        for way in [Leave::Close, Leave::Terminate] {
            place.truncate().await;
            let mut holder = Raw::login(&place.fixture).await;
            assert_eq!(holder.query("BEGIN; SELECT 1").tags().await, "CTDCZ");
            let addr = place.fixture.addr;
            place.leave(addr, case.put, way).await;
            assert_eq!(holder.query("COMMIT").tags().await, "CZ");
            place.settle(false).await;
            let rows = place.rows().await;
            if rows != case.rows {
                wrong.push(format!("{} {way:?}: {rows}", case.name));
            }
            drop(holder);
            place.left += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    drop(place.watcher);
    place.fixture.end().await;
}
