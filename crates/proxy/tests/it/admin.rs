//! The admin database, and what can be done to a running proxy through it.

use std::num::NonZeroU32;

use proxy::{Config, Database, Mode, Upstream};
use testkit::Session;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::harness::{Fixture, MODES, SOON, code, limit};

/// A proxy whose database's owner may do everything.
async fn start(mode: Mode, count: u32) -> (Fixture, Session) {
    let set = |config: &mut Config| {
        limit(count)(config);
        config.admin_users = vec![config.databases[0].upstream.user().expect("a user").to_owned()];
    };
    let fixture = Fixture::start_with(mode, set).await;
    let admin = admin(&fixture).await;
    (fixture, admin)
}

async fn admin(fixture: &Fixture) -> Session {
    testkit::connect(&format!("{}?dbname=pgbouncer", fixture.url())).await
}

/// The rows of a command in the simple protocol, with column names.
async fn show(admin: &Session, command: &str) -> Vec<Vec<(String, Option<String>)>> {
    let messages = admin.simple_query(command).await.expect("it is shown");
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    rows.map(|row| {
        let column = |(index, column): (usize, &tokio_postgres::SimpleColumn)| {
            (column.name().to_owned(), row.get(index).map(str::to_owned))
        };
        row.columns().iter().enumerate().map(column).collect()
    })
    .collect()
}

fn value<'a>(row: &'a [(String, Option<String>)], name: &str) -> &'a str {
    let found = row.iter().find(|(column, _)| column == name);
    found.unwrap_or_else(|| panic!("no column {name}: {row:?}")).1.as_deref().unwrap_or("NULL")
}

async fn said(admin: &Session, command: &str) -> String {
    let error = admin.batch_execute(command).await.expect_err("it is refused");
    error.as_db_error().expect("in words").message().to_owned()
}

/// `PgBouncer` 1.25's columns, by its documentation; ours may follow.
const THEIRS: [(&str, &str); 9] = [
    (
        "STATS",
        "database total_server_assignment_count total_xact_count total_query_count \
         total_received total_sent total_xact_time total_query_time total_wait_time \
         total_client_parse_count total_server_parse_count total_bind_count \
         avg_server_assignment_count avg_xact_count avg_query_count avg_recv avg_sent \
         avg_xact_time avg_query_time avg_wait_time avg_client_parse_count \
         avg_server_parse_count avg_bind_count",
    ),
    (
        "POOLS",
        "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active \
         sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us \
         pool_mode load_balance_hosts",
    ),
    (
        "DATABASES",
        "name host port database force_user pool_size min_pool_size reserve_pool_size \
         server_lifetime pool_mode load_balance_hosts max_connections current_connections \
         max_client_connections current_client_connections paused disabled",
    ),
    ("LISTS", "list items"),
    ("CONFIG", "key value default changeable"),
    ("VERSION", "version"),
    (
        "CLIENTS",
        "type user database replication state addr port local_addr local_port connect_time \
         request_time wait wait_us close_needed ptr link remote_pid tls application_name \
         prepared_statements id",
    ),
    ("TOTALS", "name value"),
    ("STATE", "key value"),
];

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_named_as_in_pgbouncer() {
    for mode in MODES {
        let (fixture, admin) = start(mode, 2).await;
        let client = fixture.connect_as("web.1").await;
        client.batch_execute("SELECT 1").await.unwrap();
        for (what, columns) in THEIRS {
            // The same in the simple and in the extended protocol.
            let statement = admin.prepare(&format!("SHOW {what};")).await.unwrap();
            let typed: Vec<_> = statement.columns().iter().map(|c| c.name().to_owned()).collect();
            let rows = show(&admin, &format!("show {what}")).await;
            assert!(!rows.is_empty(), "{what}");
            let names: Vec<_> = rows[0].iter().map(|(name, _)| name.clone()).collect();
            assert_eq!(names, typed, "{what}");
            let theirs: Vec<_> = columns.split_ascii_whitespace().collect();
            assert_eq!(names[..theirs.len()], theirs, "{what}");
            assert_eq!(admin.query(&statement, &[]).await.unwrap().len(), rows.len(), "{what}");
        }
        for what in "HELP STATS_TOTALS STATS_AVERAGES SERVERS USERS FDS SOCKETS ACTIVE_SOCKETS MEM \
                     DNS_HOSTS DNS_ZONES PEERS PEER_POOLS WAITERS LIMIT"
            .split_ascii_whitespace()
        {
            show(&admin, &format!("SHOW {what}")).await;
        }
        drop((client, admin));
        fixture.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_hosts_are_shown() {
    let set = |config: &mut Config| {
        let user = config.databases[0].upstream.user().expect("a user").to_owned();
        for url in ["postgres://a@db.internal/x", "postgres://a@10.0.0.1/x"] {
            let upstream = Upstream::parse(url).unwrap();
            let name = Some(upstream.endpoint().to_string().into());
            config.databases.push(Database { name, ..Database::any(upstream) });
        }
        config.admin_users = vec![user];
    };
    let fixture = Fixture::start_with(Mode::Regulate, set).await;
    let admin = admin(&fixture).await;
    let memory = show(&admin, "SHOW MEM").await;
    let number = |name| value(&memory[0], name).parse::<u64>().unwrap();
    assert_eq!((memory.len(), value(&memory[0], "name")), (1, "resident"));
    assert!(number("memtotal") > 1 << 20, "{memory:?}");
    assert_eq!(number("size") * number("used"), number("memtotal"));
    let hosts = show(&admin, "SHOW DNS_HOSTS").await;
    let names: Vec<_> = hosts.iter().map(|row| value(row, "hostname")).collect();
    assert_eq!(names, ["db.internal"], "addresses are no names");
    drop(admin);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_counted() {
    for mode in MODES {
        let (fixture, admin) = start(mode, 2).await;
        let mut client = fixture.connect_as("web.1").await;
        client.batch_execute("SELECT 1").await.unwrap();
        let transaction = client.transaction().await.unwrap();
        transaction.batch_execute("SELECT 2").await.unwrap();
        let clients = show(&admin, "SHOW CLIENTS").await;
        assert_eq!(clients.len(), 1, "admins are not counted: {clients:?}");
        let seen = ["dyno", "state", "user"].map(|name| value(&clients[0], name));
        let state = "active";
        assert_eq!(seen, ["web.1", state, fixture.database.owner.user.as_str()], "{mode:?}");
        let servers = show(&admin, "SHOW SERVERS").await;
        let link = value(&clients[0], "link");
        assert!(servers.iter().any(|row| value(row, "ptr") == link), "{servers:?}");
        transaction.commit().await.unwrap();
        drop(client);
        let stats = loop {
            // Also when the client is gone.
            if show(&admin, "SHOW CLIENTS").await.is_empty() {
                break show(&admin, "SHOW STATS").await;
            }
        };
        assert_eq!(stats.len(), 1, "{stats:?}");
        assert_eq!(value(&stats[0], "total_xact_count"), "2", "{mode:?}");
        // SELECT, BEGIN, SELECT, COMMIT.
        assert_eq!(value(&stats[0], "total_query_count"), "4", "{mode:?}");
        assert_eq!(value(&stats[0], "total_server_assignment_count"), "2", "{mode:?}");
        drop(admin);
        fixture.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_lets_transactions_end_and_requests_wait() {
    let (fixture, admin) = start(Mode::Regulate, 2).await;
    let mut first = fixture.connect_as("web.1").await;
    let second = fixture.connect_as("web.2").await;
    let watcher = fixture.postgres.superuser().await;
    let transaction = first.transaction().await.unwrap();
    transaction.batch_execute("SELECT 1").await.unwrap();
    let operator = self::admin(&fixture).await;
    let pause = operator.batch_execute("PAUSE");
    let query = second.query_one("SELECT 7", &[]);
    let rest = async {
        loop {
            let waiters = show(&admin, "SHOW WAITERS").await;
            if waiters.len() == 2 {
                let seen = |row: usize| ["role", "dyno"].map(|name| value(&waiters[row], name));
                assert_eq!([seen(0), seen(1)], [["waits", "web.2"], ["holds", "web.1"]]);
                break;
            }
        }
        transaction.commit().await.unwrap();
    };
    let rest = async {
        rest.await;
        fixture.until_connections(&watcher, 0).await;
        let state = show(&admin, "SHOW STATE").await;
        assert_eq!(value(&state[1], "value"), "yes");
        admin.batch_execute("RESUME").await.unwrap();
    };
    let (paused, answered, ()) = tokio::join!(pause, query, rest);
    paused.unwrap();
    assert_eq!(answered.unwrap().get::<_, i32>(0), 7);
    assert_eq!(said(&admin, "RESUME").await, "the proxy is not paused");
    assert_eq!(said(&admin, "PAUSE nope").await, "no such database: nope");
    drop((admin, operator, first, second));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnect_takes_effect_between_transactions() {
    let (fixture, admin) = start(Mode::Regulate, 1).await;
    let mut client = fixture.connect().await;
    let pid = "SELECT pg_backend_pid()";
    let transaction = client.transaction().await.unwrap();
    let before: i32 = transaction.query_one(pid, &[]).await.unwrap().get(0);
    admin.batch_execute("RECONNECT").await.unwrap();
    let servers = show(&admin, "SHOW SERVERS").await;
    assert_eq!(value(&servers[0], "close_needed"), "1");
    let same: i32 = transaction.query_one(pid, &[]).await.unwrap().get(0);
    assert_eq!(same, before);
    transaction.commit().await.unwrap();
    admin.batch_execute("WAIT_CLOSE").await.unwrap();
    let after: i32 = client.query_one(pid, &[]).await.unwrap().get(0);
    assert_ne!(after, before);
    drop((admin, client));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_sessions_end_and_new_ones_wait() {
    for mode in MODES {
        let (fixture, admin) = start(mode, 2).await;
        let (one, two) = (fixture.connect_as("a").await, fixture.connect_as("b").await);
        let clients = show(&admin, "SHOW CLIENTS").await;
        let id = value(clients.iter().find(|row| value(row, "dyno") == "a").unwrap(), "id");
        admin.batch_execute(&format!("KILL_CLIENT {id}")).await.unwrap();
        testkit::wait_until(SOON, || one.is_closed()).await;
        assert!(!two.is_closed());
        admin.batch_execute("KILL").await.unwrap();
        testkit::wait_until(SOON, || two.is_closed()).await;
        let (answer, ()) = tokio::join!(
            async { fixture.connect().await.query_one("SELECT 1", &[]).await },
            async {
                while show(&admin, "SHOW CLIENTS").await.is_empty() {}
                admin.batch_execute("RESUME").await.unwrap();
            }
        );
        assert_eq!(answer.unwrap().get::<_, i32>(0), 1, "{mode:?}");
        admin.batch_execute("DISABLE \"*\"").await.unwrap();
        let error = tokio_postgres::connect(&fixture.url(), NoTls).await.err().unwrap();
        assert!(code(&error).contains("3D000"), "{error}");
        admin.batch_execute("ENABLE \"*\"").await.unwrap();
        drop(fixture.connect().await);
        drop(admin);
        fixture.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_look_changes_nothing() {
    let set = |config: &mut Config| {
        config.stats_users = vec![config.databases[0].upstream.user().expect("a user").to_owned()];
    };
    let fixture = Fixture::start_with(Mode::Regulate, set).await;
    let admin = admin(&fixture).await;
    show(&admin, "SHOW STATS").await;
    for command in ["PAUSE", "KILL", "SHUTDOWN", "SET limit = 3", "SHOW FDS"] {
        assert_eq!(said(&admin, command).await, "admin access needed", "{command}");
    }
    // With a wrong password nobody gets in, nor does a user that is not listed.
    let owner: tokio_postgres::Config = fixture.url().parse().unwrap();
    for (user, password) in [(&*fixture.database.owner.user, "wrong"), ("somebody", "wrong")] {
        let mut config = owner.clone();
        let error = config.dbname("pgbouncer").user(user).password(password).connect(NoTls).await;
        assert_eq!(code(&error.err().unwrap()), "28P01", "{user}");
    }
    drop(admin);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_configuration_is_taken_over_whole_or_not_at_all() {
    let (fixture, admin) = start(Mode::Regulate, 1).await;
    let other = fixture.postgres.database().await;
    let control = fixture.proxy.control();
    let client = fixture.connect().await;
    client.batch_execute("SELECT 1").await.unwrap();

    // What cannot change takes everything with it.
    let mut config = control.config();
    config.limit = NonZeroU32::new(7);
    config.workers = config.workers.checked_add(1).unwrap();
    let refused = control.reload(config).await.unwrap_err().to_string();
    assert!(refused.starts_with("workers cannot be changed"), "{refused}");
    assert_eq!(control.config().limit.map(NonZeroU32::get), Some(1));

    admin.batch_execute("SET default_pool_size = 3").await.unwrap();
    let databases = show(&admin, "SHOW DATABASES").await;
    assert_eq!(value(&databases[0], "pool_size"), "3");
    assert!(said(&admin, "SET workers = 2").await.contains("restart"));
    assert!(said(&admin, "SET default_pool_size = 0").await.contains("above 0"));
    assert_eq!(said(&admin, "RELOAD").await, "nobody takes this order");

    // Another server behind the same name: sessions follow with their next transaction.
    let mut config = control.config();
    config.databases = vec![Database {
        server_name: Some(other.name.as_str().into()),
        ..Database::any(Upstream::parse(&other.url()).unwrap())
    }];
    let told = control.reload(config).await.unwrap();
    assert_eq!(told, ["database *: changed"]);
    let row = client.query_one("SELECT current_database(), current_user::text", &[]).await.unwrap();
    let seen: (String, String) = (row.get(0), row.get(1));
    assert_eq!(seen, (other.name.clone(), other.owner.user.clone()));

    // A database that is gone takes its sessions with it.
    let mut config = control.config();
    config.databases[0].name = Some("else".into());
    control.reload(config).await.unwrap();
    testkit::wait_until(SOON, || client.is_closed()).await;
    drop((admin, client));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_is_shown_with_its_reason() {
    let (fixture, admin) = start(Mode::Regulate, 3).await;
    let client = fixture.connect().await;
    client.batch_execute("BEGIN; SELECT 1").await.unwrap();
    let rows = async || show(&admin, "SHOW LIMIT").await;
    // The law begins at eight, and learns with its first slot that three is all there is. The
    // client may have its answer a moment before it counts as idle.
    let shown = async |name: &str| value(&rows().await[0], name).to_owned();
    while shown("reason").await != "ceiling" || shown("idle_in_transaction").await != "1" {}
    let rows = rows().await;
    let names = ["database", "adaptive", "limit", "executing", "held", "ceiling", "reason"];
    let values = names.map(|name| value(&rows[0], name));
    assert_eq!(values[..2], ["*", "yes"]);
    assert_eq!(values[3..], ["0", "1", "3", "ceiling"]);
    let limit: u32 = values[2].parse().unwrap();
    assert!((1..=3).contains(&limit), "{limit}");
    drop((client, admin));
    fixture.end().await;
}
