//! The client's side of the exchange.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{BINDING_TYPE, ITERATIONS_MAX, Key, Keys, MECHANISM, MECHANISM_PLUS, Refused, Salting};

/// What the client's side knows of the connection under the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding<'a> {
    /// No TLS, or channel binding is not wanted.
    None,
    /// There is TLS, but the server did not offer [`MECHANISM_PLUS`].
    NotOffered,
    /// Bound to the server's certificate, of which this is the hash.
    EndPoint(&'a [u8]),
}

/// How the client knows the password.
#[derive(Clone, Copy, Debug)]
pub enum Secret<'a> {
    /// Itself. Deriving the keys costs milliseconds.
    Password(Password<'a>),
    /// By its keys; they fit one salt only.
    Keys(&'a Keys),
}

/// A password, never shown.
#[derive(Clone, Copy)]
pub struct Password<'a>(pub &'a [u8]);

impl fmt::Debug for Password<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// The client has spoken and waits for the challenge.
#[must_use]
#[derive(Debug)]
pub struct Hello {
    mechanism: &'static [u8],
    /// `<header>` and the binding's data, as the final message repeats them.
    binding: Vec<u8>,
    header: String,
    pub(super) bare: String,
    nonce: String,
}

impl Hello {
    /// `nonce` must be random and printable without a comma.
    pub fn new(nonce: &str, binding: &Binding<'_>) -> Self {
        let (mechanism, header, data): (_, _, &[u8]) = match binding {
            Binding::None => (MECHANISM, "n,,".to_owned(), b""),
            Binding::NotOffered => (MECHANISM, "y,,".to_owned(), b""),
            Binding::EndPoint(hash) => (MECHANISM_PLUS, format!("p={BINDING_TYPE},,"), hash),
        };
        // PostgreSQL takes the name from the startup packet.
        let bare = format!("n=,r={nonce}");
        let binding = [header.as_bytes(), data].concat();
        Self { mechanism, binding, header, bare, nonce: nonce.to_owned() }
    }

    /// The mechanism that is chosen.
    #[must_use]
    pub fn mechanism(&self) -> &'static [u8] {
        self.mechanism
    }

    /// The first message.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        format!("{}{}", self.header, self.bare).into_bytes()
    }

    /// Takes the server's first message; gives the client's final one.
    ///
    /// # Errors
    /// [`Refused::Malformed`].
    pub fn prove(
        self,
        server_first: &[u8],
        secret: Secret<'_>,
    ) -> Result<(Proven, Vec<u8>), Refused> {
        let message = std::str::from_utf8(server_first).map_err(|_| Refused::Malformed)?;
        let mut fields = message.split(',');
        let mut field = |name: &str| {
            fields.next().and_then(|field| field.strip_prefix(name)).ok_or(Refused::Malformed)
        };
        let (nonce, salt, iterations) = (field("r=")?, field("s=")?, field("i=")?);
        // Ours, and something of the server's.
        if nonce.strip_prefix(&self.nonce).is_none_or(str::is_empty) {
            return Err(Refused::Malformed);
        }
        let iterations = iterations.parse().map_err(|_| Refused::Malformed)?;
        if !(1..=ITERATIONS_MAX).contains(&iterations) {
            return Err(Refused::Malformed);
        }
        let salt = STANDARD.decode(salt).map_err(|_| Refused::Malformed)?;
        let derived;
        let keys = match secret {
            Secret::Keys(keys) => keys,
            Secret::Password(Password(password)) => {
                derived = Keys::derive(password, &Salting { salt, iterations });
                &derived
            }
        };
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(&self.binding));
        let auth_message = format!("{},{message},{without_proof}", self.bare);
        let signature = keys.client.digest().sign(auth_message.as_bytes());
        let proof = keys.client.clone().xor(&signature);
        let last = format!("{without_proof},p={}", proof.encode());
        let expected = keys.server.sign(auth_message.as_bytes());
        Ok((Proven { expected }, last.into_bytes()))
    }
}

/// The client has proved itself and waits for the server's proof.
#[must_use]
pub struct Proven {
    expected: Key,
}

impl fmt::Debug for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proven")
    }
}

impl Proven {
    /// Checks the server's final message.
    ///
    /// # Errors
    /// [`Refused::Malformed`], [`Refused::WrongServer`] if the server has only pretended to know
    /// the password, or said an error (`e=`).
    pub fn check(self, server_final: &[u8]) -> Result<(), Refused> {
        let message = std::str::from_utf8(server_final).map_err(|_| Refused::Malformed)?;
        let first = message.split(',').next().unwrap_or_default();
        let signature = first.strip_prefix("v=").ok_or(Refused::WrongServer)?;
        let signature = Key::decode(signature).ok_or(Refused::Malformed)?;
        if signature.is_same(&self.expected) { Ok(()) } else { Err(Refused::WrongServer) }
    }
}
