//! Prepared statements in `regulate` mode, over changing server connections.

use futures_util::future::join_all;
use proxy::Mode;
use testkit::Session;
use wire::frontend::tag;

use crate::harness::{Fixture, SOON, code, limit};
use crate::raw::{Raw, first_value};

/// Two sessions that make a third one use a certain server connection of two: the one that the
/// other does not hold.
struct Switch {
    sessions: [Session; 2],
}

impl Switch {
    async fn new(fixture: &Fixture) -> Self {
        let sessions = [fixture.connect().await, fixture.connect().await];
        for session in &sessions {
            session.batch_execute("BEGIN; SELECT 1").await.expect("a session of the test");
        }
        Self { sessions }
    }

    /// Frees the connection of one of the two.
    async fn free(&self, index: usize) {
        self.sessions[index].batch_execute("COMMIT").await.expect("a session of the test");
    }

    /// Takes the free connection again.
    async fn take(&self, index: usize) {
        self.sessions[index].batch_execute("BEGIN; SELECT 1").await.expect("a session of the test");
    }
}

#[tokio::test]
async fn a_named_statement_follows_its_session() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(2)).await;
    let client = fixture.connect().await;
    let text = "SELECT $1::int + 1, pg_backend_pid()";
    let statement = client.prepare(text).await.unwrap();
    let switch = Switch::new(&fixture).await;
    let mut pids = Vec::new();
    for round in 0..6_i32 {
        let index = usize::try_from(round % 2).unwrap();
        switch.free(index).await;
        let row = client.query_one(&statement, &[&round]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), round + 1);
        pids.push(row.get::<_, i32>(1));
        switch.take(index).await;
    }
    assert_ne!(pids[0], pids[1]);
    assert_eq!((pids[0], pids[1]), (pids[2], pids[3]));

    // The session sees its own statements, and no others.
    switch.free(0).await;
    let rows = client.query("SELECT name, statement FROM pg_prepared_statements", &[]).await;
    let rows = rows.unwrap();
    let seen: Vec<(&str, &str)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen.iter().all(|(name, _)| name.starts_with('s') && !name.starts_with("surge")));
    assert!(seen.iter().any(|(_, statement)| *statement == text));
    drop((client, switch));
    fixture.end().await;
}

#[tokio::test]
async fn the_unnamed_statement_follows_its_session() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(2)).await;
    let (mut one, mut two) = (Raw::login(&fixture).await, Raw::login(&fixture).await);
    let switch = Switch::new(&fixture).await;
    switch.free(0).await;
    assert_eq!(one.parse("", "SELECT 'one'").sync().tags().await, "1Z");
    assert_eq!(two.parse("", "SELECT 'two'").sync().tags().await, "1Z");
    for index in [0, 1, 0, 1] {
        for (raw, expected) in [(&mut one, "one"), (&mut two, "two")] {
            raw.bind("").execute().sync().send().await;
            assert_eq!(first_value(&raw.until_ready().await), expected);
        }
        switch.take(index).await;
        switch.free(1 - index).await;
    }
    // A session that has none does not find another's.
    let mut three = Raw::login(&fixture).await;
    three.bind("").execute().sync().send().await;
    assert_eq!(three.until_ready().await[0].code(), "26000");
    // Nor after an error has left it open which one is there.
    three.parse("", "SELEC").parse("", "SELECT 1").sync().send().await;
    assert_eq!(three.until_ready().await[0].code(), "42601");
    three.close("").bind("").sync().send().await;
    assert_eq!(three.until_ready().await[1].code(), "26000");
    // "A simple Query message also destroys the unnamed statement."
    one.value("SELECT 1").await;
    one.bind("").sync().send().await;
    assert_eq!(one.until_ready().await[0].code(), "26000");
    drop((one, two, three, switch));
    fixture.end().await;
}

#[tokio::test]
async fn answers_keep_their_order_whoever_gives_them() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let (mut one, mut two) = (Raw::login(&fixture).await, Raw::login(&fixture).await);
    let text = "SELECT 'x'";
    one.parse("a", text).bind("a").execute().sync();
    assert_eq!(one.tags().await, "12DCZ");
    // Known to the server connection: the proxy answers the Parse, in its turn.
    two.parse("b", text).describe("b").bind("b").execute();
    two.parse("c", text).bind("c").execute().close("b").sync();
    assert_eq!(two.tags().await, "1tT2DC12DC3Z");
    // With Flush instead of Sync.
    two.parse("d", text).bare(tag::FLUSH).send().await;
    assert_eq!(two.receive().await.tag, '1');
    two.bind("d").execute().bare(tag::FLUSH).send().await;
    assert_eq!(two.receive().await.tag, '2');
    assert_eq!(two.receive().await.tag, 'D');
    assert_eq!(two.receive().await.tag, 'C');
    assert_eq!(two.sync().tags().await, "Z");
    // An error discards the rest, our own answers too.
    two.parse("e", text).parse("f", "SELEC").parse("g", text).close("c").sync();
    assert_eq!(two.tags().await, "1EZ");
    // What was discarded may be prepared again; what was not is still there.
    two.parse("f", "SELECT 'f'").bind("f").execute().bind("a").sync();
    assert_eq!(two.tags().await, "12DCEZ", "the name is the other session's");
    two.close("b").close("d").close("nothing").sync();
    assert_eq!(two.tags().await, "333Z");
    assert_eq!(two.sync().sync().sync().tags().await, "Z");
    assert_eq!(two.until_ready().await.len() + two.until_ready().await.len(), 2);
    drop((one, two));
    fixture.end().await;
}

#[tokio::test]
async fn an_error_in_a_pipeline_leaves_the_next_batch_alone() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let mut raw = Raw::login(&fixture).await;
    for round in 0..3 {
        let (good, bad) = (format!("g{round}"), format!("b{round}"));
        raw.parse(&good, &format!("SELECT {round}")).bind(&good).execute().sync();
        raw.parse(&bad, "SELECT 1/0").bind(&bad).execute().parse("late", "SELECT 9").sync();
        raw.bind(&good).execute().sync();
        assert_eq!(raw.tags().await, "12DCZ");
        // The constant is folded when the portal is made.
        assert_eq!(raw.tags().await, "1EZ");
        assert_eq!(raw.tags().await, "2DCZ");
        // It was never prepared.
        raw.parse("late", "SELECT 9").bind("late").execute().close("late").sync();
        assert_eq!(raw.tags().await, "12DC3Z");
    }
    drop(raw);
    fixture.end().await;
}

#[tokio::test]
async fn more_statements_than_a_server_connection_keeps() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(2)).await;
    let client = fixture.connect().await;
    let mut statements = Vec::new();
    for number in 0..450 {
        statements.push(client.prepare(&format!("SELECT {number}")).await.unwrap());
    }
    for round in 0..2 {
        let answers = statements.iter().map(|statement| client.query_one(statement, &[]));
        for (number, row) in join_all(answers).await.into_iter().enumerate() {
            let value: i32 = row.unwrap().get(0);
            assert_eq!(usize::try_from(value).unwrap(), number, "round {round}");
        }
    }
    let count: i64 =
        client.query_one("SELECT count(*) FROM pg_prepared_statements", &[]).await.unwrap().get(0);
    assert_eq!(count, 451, "those of the session");
    drop((statements, client));
    fixture.end().await;
}

#[tokio::test]
async fn deallocate_and_discard_concern_only_the_session() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let (mut one, mut two) = (Raw::login(&fixture).await, Raw::login(&fixture).await);
    for raw in [&mut one, &mut two] {
        raw.parse("Name", "SELECT 'here'").sync().tags().await;
    }
    for (text, answer) in [
        ("DEALLOCATE \"Name\"", "DEALLOCATE\0"),
        ("deallocate prepare all;", "DEALLOCATE ALL\0"),
        ("DISCARD ALL", "DISCARD ALL\0"),
    ] {
        one.parse("Name", "SELECT 'here'").sync().tags().await;
        one.query(text).send().await;
        let heard = one.until_ready().await;
        assert_eq!(heard[0].body, answer.as_bytes(), "{text}");
        one.bind("Name").sync().send().await;
        assert_eq!(one.until_ready().await[0].code(), "26000", "{text}");
        two.bind("Name").execute().sync();
        assert_eq!(two.tags().await, "2DCZ", "{text}");
    }
    one.query("DEALLOCATE nothing").send().await;
    assert_eq!(one.until_ready().await[0].code(), "26000");
    // Within a transaction, and in a failed one, where the server must refuse.
    one.query("BEGIN; SELECT 1").tags().await;
    one.parse("n", "SELECT 1").sync().tags().await;
    one.query("DEALLOCATE n").send().await;
    assert_eq!(one.until_ready().await[1].body, b"T");
    one.query("DISCARD ALL").send().await;
    assert_eq!(one.until_ready().await[0].code(), "25001");
    one.query("DEALLOCATE ALL").send().await;
    assert_eq!(one.until_ready().await[0].code(), "25P02");
    one.query("ROLLBACK").tags().await;
    drop((one, two));
    fixture.end().await;
}

#[tokio::test]
async fn a_sql_level_deallocate_all_in_a_batch_does_no_harm_to_others() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(2)).await;
    let (one, two) = (fixture.connect().await, fixture.connect().await);
    let kept = two.prepare("SELECT 'kept'").await.unwrap();
    one.execute("DEALLOCATE ALL", &[]).await.unwrap();
    let again = one.prepare("SELECT 'kept'").await.unwrap();
    assert_eq!(one.query_one(&again, &[]).await.unwrap().get::<_, &str>(0), "kept");
    for _ in 0..5 {
        assert_eq!(two.query_one(&kept, &[]).await.unwrap().get::<_, &str>(0), "kept");
    }
    let error = two.execute("EXECUTE nothing", &[]).await.unwrap_err();
    assert_eq!(code(&error), "26000");
    drop((kept, again, one, two));
    testkit::wait_until(SOON, || !fixture.requests().is_empty()).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_statement_is_there_for_the_batch_behind_one_that_failed() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(2)).await;
    let mut raw = Raw::login(&fixture).await;
    for name in ["s", "t"] {
        assert_eq!(raw.parse(name, &format!("SELECT '{name}'")).sync().tags().await, "1Z");
    }
    let switch = Switch::new(&fixture).await;
    for index in [0, 1] {
        switch.free(index).await;
        // On one of the two connections both are new. The error keeps the server from preparing
        // the first in its batch; the others have been sent before anybody knows that.
        raw.parse("", "SELECT 1/0").bind("").execute().bind("s").execute().sync();
        raw.bind("s").execute().bind("t").execute().sync();
        raw.bind("t").execute().bind("s").execute().sync().send().await;
        let mut heard = Vec::new();
        for _ in 0..3 {
            heard.push(raw.until_ready().await.iter().map(|it| it.tag).collect::<String>());
        }
        assert_eq!(heard, ["1EZ", "2DC2DCZ", "2DC2DCZ"], "{index}");
        for name in ["s", "t"] {
            assert_eq!(raw.bind(name).execute().sync().tags().await, "2DCZ");
            raw.parse("other", &format!("SELECT '{name}'")).close("other").sync();
            assert_eq!(raw.tags().await, "13Z");
        }
        switch.take(index).await;
    }
    drop((raw, switch));
    fixture.end().await;
}

#[tokio::test]
async fn a_batch_behind_one_that_failed_finds_no_other_sessions_statement() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let (mut raw, mut other) = (Raw::login(&fixture).await, Raw::login(&fixture).await);
    for index in 0..2 {
        other.parse("", "SELECT 'theirs'").bind("").execute().sync().send().await;
        assert_eq!(first_value(&other.until_ready().await), "theirs");
        // The server discards what comes behind the error, which nobody knows when the second
        // batch is sent.
        raw.parse("wrong", "SELEC");
        match index {
            0 => raw.parse("", "SELECT 'mine'").sync(),
            _ => raw.close("").sync(),
        };
        raw.bind("").execute().sync().send().await;
        let failed = raw.until_ready().await;
        assert_eq!(failed[0].code(), "42601");
        let answer = raw.until_ready().await;
        let error = answer.iter().find(|it| it.tag == 'E').unwrap_or_else(|| panic!("{answer:?}"));
        assert_eq!(error.code(), "26000", "{index}");
    }
    drop((raw, other));
    fixture.end().await;
}

#[tokio::test]
async fn a_statement_whose_table_changed_fails_until_it_is_prepared_again() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let mut one = Raw::login(&fixture).await;
    let mut two = Raw::login(&fixture).await;
    one.query("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").tags().await;
    for raw in [&mut one, &mut two] {
        assert_eq!(raw.parse("all", "SELECT * FROM t").sync().tags().await, "1Z");
    }
    two.query("ALTER TABLE t ADD word text").tags().await;
    for raw in [&mut one, &mut two] {
        for _ in 0..2 {
            raw.bind("all").execute().sync().send().await;
            let heard = raw.until_ready().await;
            assert_eq!((heard[0].tag, heard[0].code().as_str()), ('E', "0A000"));
        }
        raw.close("all").parse("all", "SELECT * FROM t").bind("all").execute().sync();
        assert_eq!(raw.tags().await, "312DCZ");
    }
    drop((one, two));
    fixture.end().await;
}

#[tokio::test]
async fn a_statement_whose_table_changed_can_be_prepared_again() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let client = fixture.connect().await;
    client.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
    let text = "SELECT * FROM t";
    let stale = client.prepare(text).await.unwrap();
    client.query_one(&stale, &[]).await.unwrap();
    client.batch_execute("ALTER TABLE t ADD m int DEFAULT 2").await.unwrap();
    // As without a proxy.
    let error = client.query_one(&stale, &[]).await.unwrap_err();
    assert_eq!(code(&error), "0A000");
    let fresh = client.prepare(text).await.unwrap();
    assert_eq!(client.query_one(&fresh, &[]).await.unwrap().get::<_, i32>(1), 2);
    drop((client, stale, fresh));
    fixture.end().await;
}
