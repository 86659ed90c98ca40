//! The real PostgreSQL.

use std::sync::Arc;

#[tokio::test]
async fn a_database_lets_its_owner_in_over_tcp_and_socket() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    for url in [database.url(), database.socket_url()] {
        let session = testkit::connect(&url).await;
        let row = session
            .query_one("SELECT current_user::text, current_database()::text", &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, String>(0), database.owner.user);
        assert_eq!(row.get::<_, String>(1), database.name);
    }
}

#[tokio::test]
async fn tests_at_the_same_time_share_one_server() {
    let (first, second) = tokio::join!(testkit::postgres(), testkit::postgres());
    assert!(Arc::ptr_eq(&first, &second));
    let (one, other) = (first.database().await, second.database().await);
    assert_ne!(one.name, other.name);
}

#[tokio::test]
async fn a_server_of_its_own_has_the_settings_asked_for() {
    let postgres = testkit::postgres_with(&[("max_connections", "7"), ("work_mem", "2MB")]).await;
    let session = postgres.superuser().await;
    for (name, value) in [
        ("max_connections", "7"),
        ("work_mem", "2MB"),
        ("fsync", "off"),
        ("listen_addresses", "127.0.0.1"),
        ("compute_query_id", "on"),
        ("shared_preload_libraries", "pg_stat_statements"),
    ] {
        let row = session.query_one(&format!("SHOW {name}"), &[]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), value, "{name}");
    }
}
