//! Who there is, and what proves it is them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use wire::scram::{Keys, Salting, Verifier};

use crate::Error;
use crate::upstream::Password;

/// The users of all databases.
///
/// By default each database lets in the user of its own URL, by the URL's password.
#[derive(Clone, Default)]
pub struct Users {
    listed: Option<HashMap<Box<[u8]>, Arc<Secret>>>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.listed {
            None => f.write_str("Users(of the URLs)"),
            Some(listed) => write!(f, "Users({} listed)", listed.len()),
        }
    }
}

impl Users {
    /// Nobody yet: fill it by [`Users::insert`], or leave it to an `auth_query`. The users of the
    /// databases' URLs are not let in then.
    #[must_use]
    pub fn nobody() -> Self {
        Self { listed: Some(HashMap::new()) }
    }

    /// Adds a user, in place of one of the same name. The secret is a password, an MD5 hash as
    /// PostgreSQL keeps it (`md5…`), or a verifier (`SCRAM-SHA-256$…`); an empty one lets the user
    /// in by no password at all (but by `trust` or `cert`).
    ///
    /// # Errors
    /// [`Error::Access`] if the secret looks like a hash or verifier and is not one.
    pub fn insert(&mut self, name: &str, secret: &str) -> Result<(), Error> {
        let secret = Secret::read(secret)
            .ok_or_else(|| Error::Access(format!("user {name:?}: the SCRAM verifier is broken")))?;
        let listed = self.listed.get_or_insert_default();
        listed.insert(name.as_bytes().into(), Arc::new(secret));
        Ok(())
    }

    /// Reads `PgBouncer`'s `userlist.txt`: `"name" "secret"` on each line, `""` for a quote in
    /// either; `;` or `#` begins a comment.
    ///
    /// # Errors
    /// [`Error::Userlist`] with the line.
    pub fn read_userlist(text: &str) -> Result<Self, Error> {
        let mut users = Self::nobody();
        for listed in Self::userlist(text) {
            let Listed { line, name, secret } = listed?;
            let why = || "the SCRAM verifier is broken".to_owned();
            users.insert(&name, &secret).map_err(|_| Error::Userlist { line, why: why() })?;
        }
        Ok(users)
    }

    /// The names and secrets of a `userlist.txt` as they stand there, or what is wrong with a line.
    pub fn userlist(text: &str) -> impl Iterator<Item = Result<Listed, Error>> {
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, text)| !text.is_empty() && !text.starts_with([';', '#']));
        lines.map(|(index, text)| {
            let line = index + 1;
            let why = || "write \"name\" \"secret\", both in double quotes".to_owned();
            let wrong = || Error::Userlist { line, why: why() };
            let (name, rest) = quoted(text).ok_or_else(wrong)?;
            let (secret, _) = quoted(rest.trim_start()).ok_or_else(wrong)?;
            Ok(Listed { line, name, secret })
        })
    }

    /// How many are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.listed.as_ref().map_or(0, HashMap::len)
    }

    /// Whether nobody is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the URLs of the databases say who there is.
    pub(crate) fn are_of_urls(&self) -> bool {
        self.listed.is_none()
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<&Arc<Secret>> {
        self.listed.as_ref()?.get(name)
    }
}

/// A user of a `userlist.txt`. `Debug` keeps the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Listed {
    /// The line, from 1.
    pub line: usize,
    /// The user's name.
    pub name: String,
    /// The password, or what proves it.
    pub secret: String,
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listed({}: {:?})", self.line, self.name)
    }
}

/// The text between double quotes at the beginning, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut inner = String::new();
    loop {
        let (before, after) = rest.split_once('"')?;
        inner.push_str(before);
        match after.strip_prefix('"') {
            Some(further) => {
                inner.push('"');
                rest = further;
            }
            None => return Some((inner, after)),
        }
    }
}

/// What proves that a user is who it says.
pub(crate) enum Secret {
    /// The password, and what follows from it, once somebody asks.
    Plain { password: Password, keys: OnceLock<(Salting, Verifier)> },
    /// `md5(password || user)` as 32 hexadecimal digits.
    Md5(Box<str>),
    /// What checks a password.
    Scram(Box<Verifier>),
    /// Nothing: no password fits.
    None,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain { .. } => "Plain",
            Self::Md5(_) => "Md5",
            Self::Scram(_) => "Scram",
            Self::None => "None",
        })
    }
}

impl Secret {
    /// Reads a secret as PostgreSQL and `PgBouncer` keep it; `None` if it is a broken verifier.
    pub(crate) fn read(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::None);
        }
        if text.starts_with("SCRAM-SHA-256$") {
            return Verifier::read(text).map(|verifier| Self::Scram(Box::new(verifier)));
        }
        match text.strip_prefix("md5") {
            Some(hash) if hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Some(Self::Md5(hash.to_ascii_lowercase().into()))
            }
            _ => Some(Self::plain(Password::new(text))),
        }
    }

    pub(crate) fn plain(password: Password) -> Self {
        Self::Plain { password, keys: OnceLock::new() }
    }

    /// What checks a password by SCRAM, if it can be: `salting` is for a password that is kept
    /// itself. Costs milliseconds the first time.
    pub(crate) fn verifier(&self, salting: &Salting) -> Option<&Verifier> {
        match self {
            Self::Plain { password, keys } => {
                let derive = || {
                    let keys = Keys::derive(password.reveal().as_bytes(), salting);
                    (salting.clone(), keys.verifier(salting.clone()))
                };
                Some(&keys.get_or_init(derive).1)
            }
            Self::Scram(verifier) => Some(verifier),
            Self::Md5(_) | Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_userlist_as_pgbouncer_writes_it() {
        let scram = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
            WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
            wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        let text = format!(
            "; people\n\"ann\" \"hunter2\"\n\n  \"b\"\"ob\"   \"pass\"\"word\" ignored\n\
             \"carl\" \"md5AAAA0123456789abcdef0123456789ab\"\n\"dora\" \"{scram}\"\n\
             \"eve\" \"md5 is not a hash\"\n\"fritz\" \"\"\n# end\n"
        );
        let users = Users::read_userlist(&text).unwrap();
        assert_eq!(users.len(), 6);
        let kinds = [("ann", "Plain"), ("b\"ob", "Plain"), ("carl", "Md5"), ("dora", "Scram")];
        for (name, kind) in kinds.into_iter().chain([("eve", "Plain"), ("fritz", "None")]) {
            assert_eq!(format!("{:?}", users.find(name.as_bytes()).unwrap()), kind, "{name}");
        }
        match &**users.find(b"b\"ob").unwrap() {
            Secret::Plain { password, .. } => assert_eq!(password.reveal(), "pass\"word"),
            other => panic!("{other:?}"),
        }
        assert!(users.find(b"zoe").is_none());
        assert_eq!(format!("{users:?}"), "Users(6 listed)");
    }

    #[test]
    fn a_broken_userlist_names_the_line() {
        let cases = [
            ("\"ann\" \"x\"\nbob secret\n", "line 2: write \"name\" \"secret\""),
            ("\"ann\" \"x", "line 1: write"),
            ("\"ann\"", "line 1: write"),
            ("\n\"ann\" \"SCRAM-SHA-256$4096:x\"", "line 2: the SCRAM verifier is broken"),
        ];
        for (text, says) in cases {
            let error = Users::read_userlist(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }
}
