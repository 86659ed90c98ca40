//! What a session leaves behind in its server connection: what moves with it, what pins it, and
//! when it is free again.

use proxy::Mode;
use trace::PinCause;
use wire::backend::parameter;

use crate::harness::{Fixture, limit};
use crate::raw::{Message, Raw, first_value};

#[tokio::test]
async fn settings_move_with_their_session() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let (one, two) = (fixture.connect_as("one").await, fixture.connect_as("two").await);
    let text = "SELECT current_setting('work_mem'), current_setting('timezone'), \
                current_setting('search_path'), current_setting('application_name'), \
                pg_backend_pid()";
    one.batch_execute("SET work_mem = '7MB'; SET TIME ZONE 'Asia/Tokyo'").await.unwrap();
    two.batch_execute("BEGIN; SET search_path = a, b; COMMIT").await.unwrap();
    two.batch_execute("BEGIN; SET work_mem = '9MB'; ROLLBACK").await.unwrap();
    for _ in 0..3 {
        let (first, second) =
            (one.query_one(text, &[]).await.unwrap(), two.query_one(text, &[]).await.unwrap());
        let values = |row: &tokio_postgres::Row| {
            [0, 1, 2, 3].map(|column| row.get::<_, String>(column)).join(" ")
        };
        assert_eq!(values(&first), "7MB Asia/Tokyo \"$user\", public one");
        assert_eq!(
            values(&second),
            "4MB Etc/UTC a, b two".replace("Etc/UTC", &zone(&fixture).await)
        );
        assert_eq!(first.get::<_, i32>(4), second.get::<_, i32>(4), "one server connection");
    }
    assert_eq!(fixture.pins(), []);
    drop((one, two));
    fixture.end().await;
}

/// The server's own time zone.
async fn zone(fixture: &Fixture) -> String {
    let direct = fixture.database.connect().await;
    direct.query_one("SHOW timezone", &[]).await.expect("a setting").get(0)
}

#[tokio::test]
async fn a_name_of_any_bytes_is_as_direct() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let owner = &fixture.database.owner;
    for (name, expected) in [(&b"w\xe9b"[..], "w?b"), (b"web's \\ $s$", "web's \\ $s$")] {
        let mut raw = Raw::connect(fixture.addr).await;
        raw.startup(
            0,
            &[
                (b"user", owner.user.as_bytes()),
                (b"database", fixture.database.name.as_bytes()),
                (b"application_name", name),
            ],
        );
        raw.authenticate(&owner.password).await;
        assert_eq!(raw.value("SHOW application_name").await, expected);
        raw.query("BEGIN; SET work_mem = '3MB'; RESET ALL").tags().await;
        assert_eq!(raw.value("SHOW application_name").await, expected);
        raw.query("COMMIT").tags().await;
        assert_eq!(raw.value("SHOW application_name").await, expected);
    }
    fixture.end().await;
}

#[tokio::test]
async fn each_kind_of_session_state_pins_until_it_is_gone() {
    let cases = [
        ("PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE p", PinCause::Prepare),
        ("BEGIN; LISTEN c; COMMIT", "NOTIFY c", "UNLISTEN c", PinCause::Listen),
        (
            "CREATE TEMP TABLE t (n int)",
            "SELECT * FROM t",
            "DROP TABLE t",
            PinCause::TemporaryTable,
        ),
        (
            "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT",
            "FETCH c",
            "CLOSE c",
            PinCause::CursorWithHold,
        ),
        (
            "SELECT pg_advisory_lock(5)",
            "SELECT 1",
            "SELECT pg_advisory_unlock(5)",
            PinCause::AdvisoryLock,
        ),
        ("SELECT setseed(0.5)", "SELECT 1", "DISCARD ALL", PinCause::Unknown),
        ("SELECT set_config('a.b' || 'c', 'd', false)", "SELECT 1", "DISCARD ALL", PinCause::Set),
    ];
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let other = fixture.connect().await;
    for (first, then, last, expected) in cases {
        let client = fixture.connect().await;
        client.batch_execute(first).await.unwrap();
        client.batch_execute(then).await.unwrap();
        assert_eq!(fixture.pins().last(), Some(&expected), "{first}");
        client.batch_execute(last).await.unwrap();
        // There is only one server connection: it is free again, and not closed.
        other.batch_execute("SELECT 1").await.unwrap_or_else(|error| panic!("{last}: {error}"));
        client.batch_execute("SELECT 1").await.unwrap();
    }
    // What ends with its transaction pins nobody.
    let told = fixture.pins().len();
    for text in [
        "BEGIN; CREATE TEMP TABLE t (n int) ON COMMIT DROP; COMMIT",
        "BEGIN; CREATE TEMP TABLE t (n int); ROLLBACK",
        "SELECT pg_advisory_lock(5); SELECT pg_advisory_unlock(5)",
    ] {
        other.batch_execute(text).await.unwrap();
        fixture.connect().await.batch_execute("SELECT 1").await.unwrap();
    }
    assert_eq!(fixture.pins().len(), told);
    drop(other);
    fixture.end().await;
}

/// What the client was told of a parameter last.
fn told(heard: &[Message], name: &str) -> Option<String> {
    let statuses = heard.iter().filter(|message| message.tag == 'S');
    let mut values = statuses.filter_map(|message| {
        let (known, value) = parameter(&message.body).ok()?;
        (known == name.as_bytes()).then(|| String::from_utf8_lossy(value).into_owned())
    });
    values.next_back()
}

#[tokio::test]
async fn a_client_is_told_what_its_own_settings_are() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let (mut one, mut two) = (Raw::login(&fixture).await, Raw::login(&fixture).await);
    let mut heard = Vec::new();
    for text in [
        "SET client_encoding = 'LATIN1'; SET DateStyle = 'German'; SET application_name = 'x'",
        "SELECT 1",
    ] {
        one.query(text).send().await;
        heard.extend(one.until_ready().await);
        // Its settings are nobody else's business.
        two.query("SELECT 1").send().await;
        assert!(!two.until_ready().await.iter().any(|message| message.tag == 'S'));
    }
    assert_eq!(told(&heard, "client_encoding").unwrap(), "LATIN1");
    assert_eq!(told(&heard, "DateStyle").unwrap(), "German, DMY");
    assert_eq!(told(&heard, "application_name").unwrap(), "x");
    // Answered without losing anybody's statements, and what goes back is told.
    one.query("DISCARD ALL").query("SHOW DateStyle").send().await;
    let mut heard = one.until_ready().await;
    heard.extend(one.until_ready().await);
    assert_eq!(first_value(&heard), "ISO, MDY");
    assert_eq!(told(&heard, "DateStyle").unwrap(), "ISO, MDY");
    assert_eq!(told(&heard, "client_encoding").unwrap(), "UTF8");
    assert_eq!(told(&heard, "application_name").unwrap(), "");
    drop((one, two));
    fixture.end().await;
}

#[tokio::test]
async fn settings_that_cannot_move_fail_the_request_and_nothing_is_run() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let superuser = testkit::connect(fixture.database.superuser_url()).await;
    let owner = &fixture.database.owner.user;
    let role = format!("{owner}_friend");
    for text in [format!("CREATE ROLE {role}"), format!("GRANT {role} TO {owner}")] {
        superuser.batch_execute(&text).await.unwrap();
    }
    let (one, two) = (fixture.connect().await, fixture.connect().await);
    one.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    one.batch_execute(&format!("GRANT ALL ON t TO {role}; SET ROLE {role}")).await.unwrap();
    two.batch_execute("SELECT 1").await.unwrap();
    superuser.batch_execute(&format!("REVOKE {role} FROM {owner}")).await.unwrap();
    let error = one.batch_execute("INSERT INTO t VALUES (1)").await.unwrap_err();
    assert_eq!(crate::harness::code(&error), "42501", "{error}");
    let error = one.query("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(crate::harness::code(&error), "42501", "{error}");
    // The server connection is none the worse, and the session lives on.
    let count: i64 = two.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(count, 0);
    superuser.batch_execute(&format!("GRANT {role} TO {owner}")).await.unwrap();
    one.batch_execute("INSERT INTO t VALUES (1); RESET ROLE").await.unwrap();
    two.batch_execute("DROP TABLE t").await.unwrap();
    superuser.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
    drop((one, two));
    fixture.end().await;
}

#[tokio::test]
async fn the_same_text_under_other_settings_is_another_statement() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let (mut one, mut two) = (Raw::login(&fixture).await, Raw::login(&fixture).await);
    let text = "SELECT extract(epoch FROM '2026-01-01 00:00'::timestamptz)::text";
    let (utc, tokyo) = ("1767225600.000000", "1767193200.000000");
    one.query("SET timezone = 'UTC'").tags().await;
    two.query("SET timezone = 'Asia/Tokyo'").tags().await;
    for (index, expected) in [utc, tokyo, utc].into_iter().enumerate() {
        let raw = if index % 2 == 0 { &mut one } else { &mut two };
        raw.parse("s", text).bind("s").execute().close("s").sync().send().await;
        assert_eq!(first_value(&raw.until_ready().await), expected);
    }
    // Nor does what is prepared in passing stay for others.
    one.query("BEGIN; SET LOCAL timezone = 'Asia/Tokyo'").tags().await;
    one.parse("s", text).bind("s").execute().close("s").sync().send().await;
    assert_eq!(first_value(&one.until_ready().await), tokyo);
    one.query("COMMIT").tags().await;
    one.parse("t", text).bind("t").execute().sync().send().await;
    assert_eq!(first_value(&one.until_ready().await), utc);
    drop((one, two));
    fixture.end().await;
}

#[tokio::test]
async fn a_client_that_asks_is_told_why_it_is_pinned() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let mut raw = Raw::connect(fixture.addr).await;
    let owner = &fixture.database.owner;
    raw.startup(
        0,
        &[
            (b"user", owner.user.as_bytes()),
            (b"database", fixture.database.name.as_bytes()),
            (b"options", b"-c surgetank.notices=on"),
        ],
    );
    raw.authenticate(&owner.password).await;
    raw.query("SELECT pg_advisory_lock(5)").query("SELECT 1").send().await;
    let mut heard = raw.until_ready().await;
    heard.extend(raw.until_ready().await);
    // It may come after the second answer.
    raw.query("SELECT 2").send().await;
    heard.extend(raw.until_ready().await);
    let notice = heard.iter().find(|message| message.tag == 'N').expect("a notice");
    assert_eq!(
        notice.text(),
        "surgetank: this session keeps its server connection because of a session-level advisory \
         lock; made by: SELECT pg_advisory_lock($1)"
    );
    drop(raw);
    fixture.end().await;
}
