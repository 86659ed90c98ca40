//! Who may come in, and how they prove it.
//!
//! In `observe` mode the server itself checks its clients: only [`Access::tls`] and
//! [`Access::sslmode`] matter then.

use crate::{ClientTls, Error, SslMode};

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
pub use users::{Listed, Users};

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
    pub sslmode: SslMode,
}

impl Access {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// [`Error::Access`] if TLS is demanded of clients, or their certificates are to be checked,
    /// and there is nothing to do it with.
    pub fn check(&self) -> Result<(), Error> {
        if self.sslmode >= SslMode::Require && self.tls.is_none() {
            let mode = self.sslmode;
            return Err(Error::Access(format!("sslmode {mode} for clients needs a certificate")));
        }
        let wants_ca = self.sslmode >= SslMode::VerifyCa || self.rules.ask_for_certificates();
        if wants_ca && !self.tls.as_ref().is_some_and(ClientTls::checks_clients) {
            let text = "checking clients' certificates needs a certificate authority (ca)";
            return Err(Error::Access(text.to_owned()));
        }
        Ok(())
    }
}
