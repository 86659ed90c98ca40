//! Every key that `PgBouncer` 1.25 knows, and what it means here.

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It does what it does there.
    Honoured,
    /// It does nothing, because.
    NoEffect(&'static str),
}

const HONOURED: &str = "listen_addr listen_port unix_socket_dir unix_socket_mode \
    unix_socket_group auth_type auth_file auth_hba_file auth_query \
    auth_user auth_dbname pool_mode default_pool_size max_db_connections max_client_conn \
    query_wait_timeout query_wait_notify server_connect_timeout client_tls_sslmode \
    client_tls_key_file client_tls_cert_file client_tls_ca_file server_tls_sslmode \
    server_tls_ca_file server_tls_cert_file server_tls_key_file admin_users stats_users";

/// Reasons, and the keys they are the reasons of.
const NO_EFFECT: [(&str, &str); 11] = [
    (
        "messages go to stderr, and the recording has every connection and request",
        "logfile syslog syslog_facility syslog_ident log_connections log_disconnections \
         log_pooler_errors log_stats verbose stats_period",
    ),
    (
        "the service manager sees to it",
        "pidfile user job_name service_name conffile so_reuseport peer_id suspend_timeout",
    ),
    (
        "a server connection is reset exactly, and checked before it is used; it needs no query",
        "server_reset_query server_reset_query_always server_check_query server_check_delay \
         server_fast_close server_round_robin",
    ),
    (
        "server connections are kept while they are good; RECONNECT renews them",
        "server_lifetime server_idle_timeout server_login_retry min_pool_size",
    ),
    (
        "the limit is one number for the database",
        "reserve_pool_size reserve_pool_timeout max_user_connections max_user_client_connections \
         max_db_client_connections",
    ),
    (
        "nothing ends a client's session or request but PostgreSQL's own timeouts: set \
         statement_timeout and idle_in_transaction_session_timeout there",
        "client_idle_timeout client_login_timeout idle_transaction_timeout transaction_timeout \
         query_timeout cancel_wait_timeout autodb_idle_timeout user_idle_timeout",
    ),
    (
        "every startup parameter and setting is carried to the server",
        "ignore_startup_parameters track_extra_parameters application_name_add_host",
    ),
    ("prepared statements always work", "max_prepared_statements disable_pqexec"),
    (
        "names are looked up by the system",
        "dns_max_ttl dns_nxdomain_ttl dns_zone_check_period resolv_conf",
    ),
    (
        "sockets and buffers are tuned as they are",
        "pkt_buf max_packet_size listen_backlog sbuf_loopcnt tcp_defer_accept tcp_socket_buffer \
         tcp_keepalive tcp_keepcnt tcp_keepidle tcp_keepintvl tcp_user_timeout",
    ),
    (
        "TLS is rustls with its own safe choice, and identities are certificates' names",
        "client_tls_protocols client_tls_ciphers client_tls13_ciphers client_tls_ecdhcurve \
         client_tls_dheparams server_tls_protocols server_tls_ciphers server_tls13_ciphers \
         auth_ident_file auth_ldap_options scram_iterations",
    ),
];

const HONOURED_IN_DATABASE: &str =
    "dbname host port user password pool_size max_db_connections pool_mode";

const NO_EFFECT_IN_DATABASE: [(&str, &str); 4] = [
    ("it is one for all databases, in [pgbouncer]", "auth_user auth_query auth_dbname"),
    (
        "the limit is one number for the database",
        "min_pool_size reserve_pool_size max_db_client_connections server_lifetime \
         load_balance_hosts",
    ),
    (
        "clients' own settings are carried to the server; ALTER ROLE … SET gives defaults",
        "client_encoding datestyle timezone application_name",
    ),
    (
        "nothing is run on a new server connection; ALTER ROLE … SET serves most such queries",
        "connect_query",
    ),
];

fn look(key: &str, honoured: &str, rest: &[(&'static str, &str)]) -> Option<Meaning> {
    let among = |keys: &str| keys.split_ascii_whitespace().any(|one| one == key);
    if among(honoured) {
        return Some(Meaning::Honoured);
    }
    rest.iter().find(|(_, keys)| among(keys)).map(|(why, _)| Meaning::NoEffect(why))
}

/// A key of `[pgbouncer]`; nothing if `PgBouncer` does not know it.
pub(super) fn meaning(key: &str) -> Option<Meaning> {
    look(key, HONOURED, &NO_EFFECT)
}

/// A key of a connection string.
pub(super) fn meaning_in_database(key: &str) -> Option<Meaning> {
    look(key, HONOURED_IN_DATABASE, &NO_EFFECT_IN_DATABASE)
}
