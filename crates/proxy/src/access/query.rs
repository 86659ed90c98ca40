//! Asking the server about a user.

/// How the server is asked what proves a user (`PgBouncer`'s `auth_query`).
///
/// It is asked on a server connection of its own, outside the limit, with the user's name as the
/// parameter `$1`; the answer is kept for a while. A secret in the answer may be an MD5 hash, a
/// SCRAM verifier or a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthQuery {
    /// The query: one parameter, the user's name; two columns, name and secret.
    pub text: String,
    /// Who asks: a user of [`Access::users`](crate::Access::users), or the one of the database's
    /// URL.
    pub user: String,
    /// The database in which is asked, as the server calls it; without one, that which the client
    /// asks for.
    pub database: Option<String>,
}

impl AuthQuery {
    /// `PgBouncer`'s query, which only a superuser may run.
    pub const DEFAULT: &str = "SELECT usename, passwd FROM pg_shadow WHERE usename=$1";

    /// Asks by [`AuthQuery::DEFAULT`].
    #[must_use]
    pub fn by(user: &str) -> Self {
        Self { text: Self::DEFAULT.to_owned(), user: user.to_owned(), database: None }
    }
}
