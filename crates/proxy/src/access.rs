//! Who may come in, and how they prove it.
//!
//! In `observe` mode the server itself checks its clients: only [`Access::tls`] and
//! [`Access::sslmode`] matter then.

use std::fmt;
use std::str::FromStr;

use crate::{ClientTls, Error};

mod credential;
mod doorman;
pub(crate) mod md5;
mod query;
mod rules;
mod strikes;
mod users;

pub(crate) use credential::Credential;
pub(crate) use doorman::{Doorman, Person, Word};
pub use query::AuthQuery;
pub(crate) use rules::{Caller, Named};
pub use rules::{Method, Rules};
pub(crate) use users::Secret;
pub use users::Users;

/// Who may come in, and how they prove it.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Who there is, and what proves it is them.
    pub users: Users,
    /// Who is put to which test. Without rules: everybody of whom a password is kept to SCRAM (to
    /// MD5 if only its MD5 hash is kept); a user without one is trusted, on loopback addresses.
    pub rules: Rules,
    /// How to ask the server about users that are not in [`Access::users`].
    pub query: Option<AuthQuery>,
    /// What we prove ourselves with to clients that speak TLS; without it they are told "no".
    pub tls: Option<ClientTls>,
    /// Whether clients must speak TLS.
    pub sslmode: ClientSsl,
}

impl Access {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// [`Error::Access`] if TLS is demanded of clients, or their certificates are to be checked,
    /// and there is nothing to do it with.
    pub fn check(&self) -> Result<(), Error> {
        if self.sslmode >= ClientSsl::Require && self.tls.is_none() {
            let mode = self.sslmode;
            return Err(Error::Access(format!("sslmode {mode} for clients needs a certificate")));
        }
        let wants_ca = self.sslmode >= ClientSsl::VerifyCa || self.rules.ask_for_certificates();
        if wants_ca && !self.tls.as_ref().is_some_and(ClientTls::checks_clients) {
            let text = "checking clients' certificates needs a certificate authority (ca)";
            return Err(Error::Access(text.to_owned()));
        }
        Ok(())
    }
}

/// Whether clients must speak TLS (`PgBouncer`'s `client_tls_sslmode`). Over a Unix socket there is
/// none, whatever it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientSsl {
    /// They cannot, even if there is a certificate.
    Disable,
    /// They may, if there is a certificate.
    Allow,
    /// The same as [`ClientSsl::Allow`]: it is the client that chooses.
    #[default]
    Prefer,
    /// They must.
    Require,
    /// They must, and show a certificate that our authority has signed.
    VerifyCa,
    /// The same as [`ClientSsl::VerifyCa`]. The certificate's name is compared with the user's by
    /// the method `cert`.
    VerifyFull,
}

impl ClientSsl {
    const NAMES: [(&str, Self); 6] = [
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];
}

impl fmt::Display for ClientSsl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, mode)| mode == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

impl FromStr for ClientSsl {
    type Err = Error;

    /// # Errors
    /// [`Error::Access`] if it is not one of PostgreSQL's words.
    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == text);
        let unknown = || Error::Access(format!("sslmode {text:?} is not one of PostgreSQL's"));
        found.map(|(_, mode)| *mode).ok_or_else(unknown)
    }
}
