//! Whether TLS must be spoken: the same words for a server and for clients.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// Whether the other side must speak TLS, and prove itself: for a server libpq's `sslmode`, for
/// clients `PgBouncer`'s `client_tls_sslmode`. Over a Unix socket there is none, whatever it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SslMode {
    /// It is not spoken. To clients: not even if there is a certificate.
    Disable,
    /// With a server only if it insists. Clients may, if there is a certificate.
    Allow,
    /// With a server if it can. Clients may: it is they who choose, as with [`SslMode::Allow`].
    #[default]
    Prefer,
    /// They must.
    Require,
    /// They must, and show a certificate that our authority has signed.
    VerifyCa,
    /// A server's certificate must be in its name, too. For clients the same as
    /// [`SslMode::VerifyCa`]: the certificate's name is compared with the user's by the method
    /// `cert`.
    VerifyFull,
}

impl SslMode {
    const NAMES: [(&str, Self); 6] = [
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, mode)| mode == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

impl FromStr for SslMode {
    type Err = Error;

    /// # Errors
    /// [`Error::Access`] if it is not one of PostgreSQL's words.
    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == text);
        let unknown = || Error::Access(format!("sslmode {text:?} is not one of PostgreSQL's"));
        found.map(|(_, mode)| *mode).ok_or_else(unknown)
    }
}
