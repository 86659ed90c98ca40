//! What a running service is told to do: SHUTDOWN in its forms, RELOAD, SIGHUP.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;
use testkit::Session;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use super::restart::{Fixture, Load};
use super::{Process, SOON};

impl Fixture {
    /// With the owner as an admin.
    fn start_with_admin(&self, mode: &str) -> Process {
        self.start_with_admin_and(mode, &[])
    }

    fn start_with_admin_and(&self, mode: &str, more: &[&str]) -> Process {
        let mut words = self.words(mode);
        words.extend(more.iter().map(|&word| word.to_owned()));
        words.extend(["--admin-users".to_owned(), self.database.owner.user.clone()]);
        Process::start(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    async fn admin(&self, process: &Process) -> Session {
        testkit::connect(&format!("{}?dbname=pgbouncer", self.database.url_through(process.addr)))
            .await
    }

    async fn client(&self, process: &Process) -> Session {
        testkit::connect(&self.database.url_through(process.addr)).await
    }

    /// A file with this limit, and what else is said first.
    fn write(&self, limit: &str, more: &str) -> String {
        let path = self.path().with_file_name("surgetank.toml");
        let (url, user) = (self.database.url(), &self.database.owner.user);
        let text = format!(
            "{more}\nmode = \"regulate\"\nworkers = 2\nlimit = {limit}\n\
             admin_users = [\"{user}\"]\n[databases.\"*\"]\nurl = \"{url}\"\n"
        );
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    fn start_with_file(&self, file: &str) -> Process {
        let path = self.path().display().to_string();
        Process::start(&["-c", file, "--handover", &path, "--listen", "127.0.0.1:0"])
    }
}

/// Waits until nobody is let in any more.
async fn refused(process: &Process) {
    let deadline = Instant::now() + SOON;
    while TcpStream::connect(process.addr).await.is_ok() {
        assert!(Instant::now() < deadline, "it goes on listening");
    }
}

fn runs(process: &mut Process) -> bool {
    process.child.try_wait().expect("our child").is_none()
}

/// The limit, as the admin database shows it.
async fn limit(admin: &Session) -> String {
    let rows = admin.simple_query("SHOW CONFIG").await.expect("rows");
    let found = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) if row.get("key") == Some("default_pool_size") => {
            row.get("value").map(str::to_owned)
        }
        _ => None,
    });
    found.expect("the setting")
}

/// Waits for a limit.
async fn until_limit(admin: &Session, wanted: &str) {
    let deadline = Instant::now() + SOON;
    while limit(admin).await != wanted {
        assert!(Instant::now() < deadline, "the limit does not become {wanted}");
    }
}

#[tokio::test]
async fn shutdown_waits_for_nobody() {
    let fixture = Fixture::new().await;
    for mode in ["observe", "regulate"] {
        // Were they given their time, sessions would have longer than this test.
        let mut process = fixture.start_with_admin_and(mode, &["--grace", "3600"]);
        let (admin, client) = (fixture.admin(&process).await, fixture.client(&process).await);
        client.batch_execute("BEGIN; SELECT 1").await.expect("a transaction");
        // The answer may be overtaken by the end.
        let _ = admin.batch_execute("SHUTDOWN").await;
        assert!(process.ended().await.success());
        client.batch_execute("COMMIT").await.expect_err("its session has ended");
    }
}

#[tokio::test]
async fn shutdown_wait_for_clients_lets_them_stay_and_nobody_come() {
    let fixture = Fixture::new().await;
    for mode in ["observe", "regulate"] {
        let mut process = fixture.start_with_admin(mode);
        let (admin, client) = (fixture.admin(&process).await, fixture.client(&process).await);
        admin.batch_execute("SHUTDOWN WAIT_FOR_CLIENTS").await.expect("it is taken");
        refused(&process).await;
        client.batch_execute("BEGIN; SELECT 1; COMMIT").await.expect("it may stay");
        assert!(runs(&mut process), "{mode}");
        drop(client);
        assert!(process.ended().await.success());

        // Whoever asks again does not want to wait.
        let mut process = fixture.start_with_admin(mode);
        let (admin, client) = (fixture.admin(&process).await, fixture.client(&process).await);
        admin.batch_execute("SHUTDOWN WAIT_FOR_CLIENTS").await.expect("it is taken");
        refused(&process).await;
        let _ = admin.batch_execute("SHUTDOWN").await;
        assert!(process.ended().await.success());
        client.batch_execute("SELECT 1").await.expect_err("its session has ended");
    }
}

#[tokio::test]
async fn shutdown_wait_for_servers_lets_transactions_end_and_none_begin() {
    let fixture = Fixture::new().await;
    let mut process = fixture.start_with_admin("regulate");
    let admin = fixture.admin(&process).await;
    let (busy, idle) = (fixture.client(&process).await, fixture.client(&process).await);
    busy.batch_execute("BEGIN; CREATE TABLE kept AS SELECT 7 AS n").await.expect("a transaction");
    admin.batch_execute("SHUTDOWN WAIT_FOR_SERVERS").await.expect("it is taken");
    refused(&process).await;
    // The late request is refused at once, and the transaction goes on.
    let late = loop {
        // It may still be served in the moment in which the order is taken.
        if let Err(refused) = idle.simple_query("SELECT 1").await {
            break refused;
        }
    };
    assert_eq!(late.code().map(SqlState::code), Some("57P01"), "{late}");
    busy.batch_execute("UPDATE kept SET n = n + 1").await.expect("it goes on");
    assert!(runs(&mut process));
    busy.batch_execute("COMMIT").await.expect("it ends well");
    assert!(process.ended().await.success());
    let direct = testkit::connect(&fixture.database.url()).await;
    let row = direct.query_one("SELECT n FROM kept", &[]).await.expect("it was committed");
    assert_eq!(row.get::<_, i32>(0), 8);
}

#[tokio::test]
async fn a_file_is_taken_over_whole_or_not_at_all() {
    let fixture = Fixture::new().await;
    let file = fixture.write("3", "");
    let process = fixture.start_with_file(&file);
    let admin = fixture.admin(&process).await;
    assert_eq!(limit(&admin).await, "3");
    fixture.write("4", "");
    admin.batch_execute("RELOAD").await.expect("a good file");
    assert_eq!(limit(&admin).await, "4");
    fixture.write("5", "");
    process.signal(Signal::SIGHUP);
    until_limit(&admin, "5").await;
    let wrong = [
        ("0", "", ":4:9: "),
        ("9", "limt = 1", ":1:1: unknown field `limt`"),
        ("9", "mode = \"observe\"", ":2:1: duplicate key"),
        ("9", "[", ":1:2: "),
    ];
    for (count, more, expected) in wrong {
        fixture.write(count, more);
        let error = admin.batch_execute("RELOAD").await.expect_err("it is refused");
        let told = error.as_db_error().expect("in words").message().to_owned();
        assert!(told.contains(&format!("surgetank.toml{expected}")), "{more}: {told}");
        process.signal(Signal::SIGHUP);
        assert_eq!(limit(&admin).await, "5");
    }
    // What cannot change while it runs takes everything with it.
    let text = std::fs::read_to_string(fixture.write("9", "")).expect("the file");
    std::fs::write(&file, text.replace("workers = 2", "workers = 3")).expect("a file");
    let error = admin.batch_execute("RELOAD").await.expect_err("it is refused");
    let told = error.as_db_error().expect("in words").message().to_owned();
    assert!(told.contains("workers cannot be changed while running"), "{told}");
    assert_eq!(limit(&admin).await, "5");
    // A file that is not there either.
    std::fs::remove_file(&file).expect("it was there");
    admin.batch_execute("RELOAD").await.expect_err("it is refused");
    fixture.write("6", "");
    admin.batch_execute("RELOAD").await.expect("good again");
    assert_eq!(limit(&admin).await, "6");
    fixture.client(&process).await.batch_execute("SELECT 1").await.expect("it serves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_read_again_during_a_handover_too() {
    let _alone = crate::MACHINE.lock().await;
    let fixture = Fixture::new().await;
    let file = fixture.write("3", "");
    let mut old = fixture.start_with_file(&file);
    let admin = fixture.admin(&old).await;
    let load = Load::start(&fixture.database.url_through(old.addr), 3);
    load.goes_on(5).await;

    // A successor that has our sockets and does not get ready.
    let mut stream = UnixStream::connect(fixture.path()).expect("a proxy waits there");
    let hello = r#"{"Hello":{"protocol":1,"version":"x","pid":1}}"#;
    writeln!(stream, "{hello}").expect("it listens");
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).expect("it answers");
    assert!(answer.contains("Sockets"), "{answer}");
    fixture.write("4", "");
    old.signal(Signal::SIGHUP);
    until_limit(&admin, "4").await;
    drop(stream);
    load.goes_on(5).await;

    // A true one, started while the old one reads its file again and again.
    let session = fixture.client(&old).await;
    session.batch_execute("BEGIN; SELECT 1").await.expect("a transaction");
    fixture.write("5", "");
    old.signal(Signal::SIGHUP);
    let new = fixture.start_with_file(&file);
    for _ in 0..10 {
        old.signal(Signal::SIGHUP);
        load.goes_on(2).await;
    }
    until_limit(&admin, "5").await;
    let admin_of_new = fixture.admin(&new).await;
    assert_eq!(limit(&admin_of_new).await, "5");
    fixture.write("7", "");
    new.signal(Signal::SIGHUP);
    until_limit(&admin_of_new, "7").await;
    session.batch_execute("COMMIT").await.expect("the old one serves it to its end");
    drop((session, admin));
    assert!(old.ended().await.success());
    load.goes_on(5).await;
    let failures = load.end().await;
    assert!(failures.is_empty(), "{} failed: {:?}", failures.len(), failures.first());
}
