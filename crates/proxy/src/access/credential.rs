//! What logs in to the server.

use std::fmt;

use wire::scram::Keys;

use super::users::Secret;
use crate::upstream::Password;

/// What we know of a user towards the server; never shown.
pub(crate) enum Credential {
    /// The password.
    Password(Password),
    /// `md5(password || user)` as 32 hexadecimal digits.
    Md5(Box<str>),
    /// The keys that the client's own login has shown.
    Keys(Box<Keys>),
    /// Nothing: good for servers that trust us.
    None,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl Credential {
    /// In words, for errors.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Password(_) => "its password",
            Self::Md5(_) => "the MD5 hash of its password",
            Self::Keys(_) => "the SCRAM keys of its password",
            Self::None => "no password",
        }
    }

    /// What a stored secret is worth by itself.
    pub(crate) fn of(secret: &Secret) -> Self {
        match secret {
            Secret::Plain { password, .. } => Self::Password(password.clone()),
            Secret::Md5(hash) => Self::Md5(hash.clone()),
            Secret::Scram(_) | Secret::None => Self::None,
        }
    }
}
