//! Rules of `pg_hba.conf`: who is put to which test. The first that matches counts.

use std::net::IpAddr;

use crate::Error;

mod read;

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// It need not.
    Trust,
    /// It cannot.
    Reject,
    /// By its password, challenged by MD5; by SCRAM if its verifier is what is kept.
    Md5,
    /// By its password, challenged by SCRAM-SHA-256, bound to our certificate where there is TLS.
    Scram,
    /// By its password as it is; only over TLS, loopback or a Unix socket.
    Password,
    /// By a certificate that our authority has signed, whose common name is the user's.
    Cert,
    /// Over a Unix socket, by the name of the operating system's user that the process runs as.
    Peer,
}

/// On what kind of connection a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Local,
    Host,
    HostSsl,
    HostNoSsl,
}

/// Whether a name is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    All,
    /// Databases: the one named as the user is.
    SameUser,
    /// Exactly this.
    Is(Box<[u8]>),
}

/// Addresses a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addresses {
    All,
    /// Those of this network.
    Net(IpAddr, IpAddr),
}

/// A line of `pg_hba.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    kind: Kind,
    databases: Vec<Name>,
    users: Vec<Name>,
    addresses: Addresses,
    method: Method,
    /// Whether a certificate is asked for besides (`clientcert=`): signed by our authority, and
    /// named as the user.
    certificate: Option<Named>,
}

/// What a client's certificate must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// `clientcert=verify-ca`.
    Anyhow,
    /// `clientcert=verify-full`, and the method `cert`.
    AsUser,
}

/// Rules in order; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// Who wants to come in, as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    /// Without one it comes over a Unix socket.
    pub(crate) address: Option<IpAddr>,
    pub(crate) tls: bool,
    pub(crate) database: &'a [u8],
    pub(crate) user: &'a [u8],
}

impl Rules {
    /// One method for all, wherever they come from.
    #[must_use]
    pub fn all(method: Method) -> Self {
        let rule = |kind| Rule {
            kind,
            databases: vec![Name::All],
            users: vec![Name::All],
            addresses: Addresses::All,
            method,
            certificate: (method == Method::Cert).then_some(Named::AsUser),
        };
        Self { rules: vec![rule(Kind::Local), rule(Kind::Host)] }
    }

    /// Reads the lines of a `pg_hba.conf`: `local`, `host`, `hostssl`, `hostnossl`; databases
    /// (`all`, `sameuser`, names); users (`all`, names); an address (`all`, a network, an address
    /// and its mask); a method (`trust`, `reject`, `md5`, `scram-sha-256`, `password`, `cert`,
    /// `peer`); and `clientcert=`.
    ///
    /// # Errors
    /// [`Error::Rules`] with the line: what is not understood is never left out.
    pub fn read(text: &str) -> Result<Self, Error> {
        let mut rules = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line_error = |why| Error::Rules { line: index + 1, why };
            rules.extend(read::line(line).map_err(line_error)?);
        }
        Ok(Self { rules })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(crate) fn ask_for_certificates(&self) -> bool {
        self.rules.iter().any(|rule| rule.certificate.is_some())
    }

    /// The test for this client, by the first rule that matches; without one it is not let in.
    pub(crate) fn find(&self, caller: &Caller<'_>) -> Option<(Method, Option<Named>)> {
        let rule = self.rules.iter().find(|rule| rule.matches(caller))?;
        Some((rule.method, rule.certificate))
    }
}

impl Rule {
    fn matches(&self, caller: &Caller<'_>) -> bool {
        let kind = match (self.kind, caller.address) {
            (Kind::Local, None) | (Kind::Host, Some(_)) => true,
            (Kind::HostSsl, Some(_)) => caller.tls,
            (Kind::HostNoSsl, Some(_)) => !caller.tls,
            (Kind::Local, Some(_)) | (Kind::Host | Kind::HostSsl | Kind::HostNoSsl, None) => false,
        };
        let means = |names: &[Name], name: &[u8]| {
            names.iter().any(|one| match one {
                Name::All => true,
                Name::SameUser => name == caller.user,
                Name::Is(exactly) => **exactly == *name,
            })
        };
        kind && means(&self.databases, caller.database)
            && means(&self.users, caller.user)
            && caller.address.is_none_or(|address| self.addresses.contain(address))
    }
}

impl Addresses {
    fn contain(self, address: IpAddr) -> bool {
        match (self, address.to_canonical()) {
            (Self::All, _) => true,
            (Self::Net(IpAddr::V4(net), IpAddr::V4(mask)), IpAddr::V4(address)) => {
                net & mask == address & mask
            }
            (Self::Net(IpAddr::V6(net), IpAddr::V6(mask)), IpAddr::V6(address)) => {
                net & mask == address & mask
            }
            (Self::Net(..), _) => false,
        }
    }
}

#[cfg(test)]
mod tests;
