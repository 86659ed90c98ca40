//! The shop on a real PostgreSQL.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;
use testkit::Session;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use tokio_util::sync::CancellationToken;

use crate::config::{Command, Config};
use crate::database::Database;
use crate::error::ShopError;
use crate::{setup, web, worker};

/// Enough for any test step, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One customer, the whole catalogue with 1 000 of each product on the shelf, no orders.
const SMALL: &str = "
    INSERT INTO customers VALUES (7, 'seven@example.com', 'Seven', 'Europe');
    INSERT INTO products SELECT p, 'Product ' || p, 100, 1000 FROM generate_series(1, 2000) AS p;";

fn pool(url: &str, size: usize) -> Database {
    let config = tokio_postgres::Config::from_str(url).expect("testkit's addresses are good");
    Database::new(config, size).expect("the pool has all it needs")
}

async fn small_shop(url: &str) -> Session {
    let session = testkit::connect(url).await;
    session.batch_execute(setup::SCHEMA).await.expect("the schema is good");
    session.batch_execute(SMALL).await.expect("the schema takes this");
    session
}

async fn number(session: &Session, query: &str) -> i64 {
    session.query_one(query, &[]).await.expect("the query is good").get(0)
}

/// A running `web` process.
struct Web {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinSet<anyhow::Result<()>>,
}

impl Web {
    async fn start(database: Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let stop = CancellationToken::new();
        let mut serving = JoinSet::new();
        serving.spawn(web::serve_on(listener, database, stop.clone()));
        Self { address, stop, serving }
    }

    /// Status and body of the answer to `GET path`.
    async fn get(&self, path: &str) -> (u16, Value) {
        get(self.address, path).await
    }

    async fn stopped(mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.serving.join_next()).await;
        ended.expect("it stops").expect("it was started").expect("no panic").expect("no error");
    }
}

async fn get(address: SocketAddr, path: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).await.expect("the shop listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the shop reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("the shop answers");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.expect("a status line"), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_checkout_takes_stock_and_books_an_order() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let session = small_shop(&database.url()).await;
    let web = Web::start(pool(&database.url(), 5)).await;

    let (status, first) = web.get("/checkout?customer=7").await;
    assert_eq!((status, &first["customer"]), (200, &Value::from("Seven")), "{first}");
    let (_, second) = web.get("/checkout?customer=7").await;
    assert_eq!(second["recent_orders"][0], first["order"], "{second}");

    let sold = number(&session, "SELECT sum(quantity) FROM order_lines").await;
    assert_eq!(number(&session, "SELECT 2000 * 1000 - sum(stock) FROM products").await, sold);
    let value = number(&session, "SELECT sum(quantity * price_cents) FROM order_lines").await;
    let told = first["total_cents"].as_i64().zip(second["total_cents"].as_i64());
    assert_eq!(told.map(|(first, second)| first + second), Some(value));
    let (status, popular) = web.get("/popular").await;
    assert_eq!(status, 200);
    assert!(popular.as_array().is_some_and(|sellers| !sellers.is_empty()), "{popular}");
    assert_eq!(web.get("/product/12").await.1["name"], "Product 12");
    assert_eq!(web.get("/health").await.0, 200);
    web.stopped().await;
}

#[tokio::test]
async fn a_customers_own_mistake_changes_nothing_and_is_no_5xx() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let session = small_shop(&database.url()).await;
    let web = Web::start(pool(&database.url(), 5)).await;

    assert_eq!(web.get("/checkout?customer=8").await.0, 404);
    assert_eq!(web.get("/checkout?customer=everybody").await.0, 400);
    assert_eq!(web.get("/product/9000").await.0, 404);
    session.batch_execute("UPDATE products SET stock = 0").await.unwrap();
    let (status, told) = web.get("/checkout?customer=7").await;
    assert_eq!(status, 409, "{told}");
    assert!(told["error"].as_str().is_some_and(|told| told.ends_with("is out of stock")), "{told}");
    assert_eq!(number(&session, "SELECT count(*) FROM orders").await, 0);
    web.stopped().await;
}

#[tokio::test]
async fn a_pool_larger_than_the_server_fails_at_once_when_the_slots_are_taken() {
    let postgres = testkit::postgres_with(&[("max_connections", "7")]).await;
    let database = postgres.database().await;
    let pool = pool(&database.url(), 15);
    let mut held = Vec::new();
    let refused = loop {
        match pool.client().await {
            Ok(client) => held.push(client),
            Err(error) => break error,
        }
    };
    let ShopError::Connect(source) = &refused else { panic!("{}", refused.chain()) };
    assert_eq!(source.code(), Some(&SqlState::TOO_MANY_CONNECTIONS));
    assert!(held.len() < 7, "{} connections", held.len());
    let told = refused.chain();
    assert!(told.starts_with("error creating connection: db error: FATAL: "), "{told}");
    assert_eq!(Web::start(pool.clone()).await.get("/popular").await.0, 500);
    // One that comes back serves the next: nothing is broken but the arithmetic.
    held.pop();
    let _ = pool.client().await.expect("an idle connection is at hand");
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_finish() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let session = small_shop(&database.url()).await;
    let web = Web::start(pool(&database.url(), 5)).await;

    session.batch_execute("BEGIN; LOCK TABLE products").await.unwrap();
    let address = web.address;
    let request = get(address, "/checkout?customer=7");
    let stop = async {
        let held = "SELECT count(*) FROM pg_locks WHERE NOT granted \
                    AND relation = 'products'::regclass";
        while number(&session, held).await == 0 {
            tokio::task::yield_now().await;
        }
        web.stop.cancel();
        // It no longer listens: it has heard, and has not thrown the request away.
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        session.batch_execute("COMMIT").await.unwrap();
    };
    let ((status, told), ()) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(request, stop) })
            .await
            .expect("the checkout waits for the lock, the stop for the checkout");
    assert_eq!(status, 200, "{told}");
    web.stopped().await;
}

#[tokio::test]
async fn the_jobs_do_theirs_and_wait_for_no_customer() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let session = small_shop(&database.url()).await;
    let pool = pool(&database.url(), 2);
    session.batch_execute("UPDATE products SET stock = 3 WHERE id <= 2").await.unwrap();

    let customer = testkit::connect(&database.url()).await;
    customer.batch_execute("BEGIN; UPDATE products SET stock = 2 WHERE id = 1").await.unwrap();
    worker::restock(&pool).await.unwrap();
    customer.batch_execute("COMMIT").await.unwrap();
    let stock = |id: i32| format!("SELECT stock::bigint FROM products WHERE id = {id}");
    assert_eq!(number(&session, &stock(1)).await, 2, "left for the next round");
    assert_eq!(number(&session, &stock(2)).await, 1_003);
    assert_eq!(number(&session, &stock(3)).await, 1_000, "full enough");

    worker::restock(&pool).await.unwrap();
    assert_eq!(number(&session, &stock(1)).await, 1_002);
    worker::report(&pool).await.unwrap();
}

#[tokio::test]
async fn setup_fills_an_empty_database_and_leaves_a_full_one_alone() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let set_up = async |reset| {
        let url = database.url();
        let config = Config::read(|name| (name == "DATABASE_URL").then(|| url.clone())).unwrap();
        crate::run(Command::Setup { reset }, config, CancellationToken::new()).await.unwrap();
    };
    let session = small_shop(&database.url()).await;
    set_up(false).await;
    assert_eq!(number(&session, "SELECT count(*) FROM customers").await, 1, "left alone");

    set_up(true).await;
    for (table, rows) in
        [("customers", 20_000), ("products", 2_000), ("orders", 500_000), ("order_lines", 750_000)]
    {
        let count = format!("SELECT count(*) FROM {table}");
        assert_eq!(number(&session, &count).await, rows, "{table}");
    }
    let busiest = "SELECT max(n) FROM (SELECT count(*) AS n FROM orders GROUP BY customer_id) AS _";
    assert!(number(&session, busiest).await < 100, "customers order about equally often");
    // What makes every checkout read the whole table.
    let lookups =
        "SELECT count(*) FROM pg_index WHERE indrelid = 'orders'::regclass AND NOT indisprimary";
    assert_eq!(number(&session, lookups).await, 0);
    let plan =
        session.query("EXPLAIN SELECT id FROM orders WHERE customer_id = 7", &[]).await.unwrap();
    let plan: String = plan.iter().map(|row| row.get::<_, String>(0) + "\n").collect();
    assert!(plan.contains("Seq Scan on orders"), "{plan}");
}
