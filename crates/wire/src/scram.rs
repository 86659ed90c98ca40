//! SCRAM-SHA-256 (RFC 5802, RFC 7677), both sides, with channel binding (RFC 5929).
//!
//! ```text
//!   password ─salting─▶ Keys (client key, server key) ─▶ Verifier (stored key, server key)
//!              what logs in to a server ▲                  ▲ what lets a client in
//!   server   Verifier::challenge(client-first) ─▶ Challenge::finish(client-final) ─▶ Accepted
//!   client   client::Hello ─▶ prove(server-first) ─▶ Proven::check(server-final)
//! ```
//!
//! Each side is a typestate: a step consumes the one before, so that nobody is let in by a message
//! out of turn. Who checks a proof learns the client key, and can log in to another server with it
//! that keeps the same verifier: no password need be stored anywhere.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub mod client;
mod server;

pub use server::{Accepted, Challenge};

/// The mechanism without channel binding.
pub const MECHANISM: &[u8] = b"SCRAM-SHA-256";

/// The mechanism with channel binding.
pub const MECHANISM_PLUS: &[u8] = b"SCRAM-SHA-256-PLUS";

/// The one kind of channel binding that PostgreSQL knows.
const BINDING_TYPE: &str = "tls-server-end-point";

/// Iterations of new verifiers: PostgreSQL's default (`scram_iterations`).
pub const ITERATIONS: u32 = 4096;

/// More iterations than anybody asks for: a server must not keep its client busy for minutes.
const ITERATIONS_MAX: u32 = 10_000_000;

/// Why an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The message is not SCRAM, or not one this side can take.
    #[error("malformed SCRAM message")]
    Malformed,
    /// The client's channel binding and ours do not go together: none where the mechanism asks for
    /// one, one where there is no TLS, or that of another certificate.
    #[error("SCRAM channel binding failed")]
    ChannelBinding,
    /// The proof does not fit the password.
    #[error("wrong password")]
    WrongPassword,
    /// The server could not prove that it knows the password.
    #[error("the server does not know the password itself")]
    WrongServer,
}

/// A secret of 32 bytes: never shown, overwritten when dropped.
#[derive(Clone)]
struct Key(Zeroizing<[u8; 32]>);

impl Key {
    fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// `HMAC(self, message)`.
    fn sign(&self, message: &[u8]) -> Self {
        Self::new(sign(&*self.0, message))
    }

    /// `H(self)`.
    fn digest(&self) -> Self {
        Self::new(Sha256::digest(*self.0).into())
    }

    fn xor(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(own, other)| *own ^= other);
        self
    }

    fn encode(&self) -> String {
        STANDARD.encode(*self.0)
    }

    fn decode(text: &str) -> Option<Self> {
        Some(Self::new(STANDARD.decode(text).ok()?.try_into().ok()?))
    }

    /// Compares in a time that does not tell where the difference is.
    fn is_same(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0.iter()).fold(0, |all, (own, other)| all | (own ^ other)) == 0
    }
}

/// How a password is made into keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salting {
    salt: Vec<u8>,
    iterations: u32,
}

impl Salting {
    /// With PostgreSQL's number of iterations. PostgreSQL's salts have 16 bytes.
    #[must_use]
    pub fn new(salt: &[u8]) -> Self {
        Self { salt: salt.to_vec(), iterations: ITERATIONS }
    }

    /// Takes the client's first message and gives the server's, before anything is known about the
    /// password. `nonce` must be random and printable without a comma; 18 bytes in base64 will do.
    ///
    /// # Errors
    /// [`Refused::Malformed`], [`Refused::ChannelBinding`].
    pub fn challenge(
        &self,
        client_first: &[u8],
        nonce: &str,
        channel: &Channel<'_>,
    ) -> Result<(Challenge, Vec<u8>), Refused> {
        Challenge::new(self, client_first, nonce, channel)
    }
}

/// What the server's side knows of the connection under the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel<'a> {
    /// No TLS, or no binding was offered; the client chose [`MECHANISM`].
    Unbound,
    /// [`MECHANISM_PLUS`] was offered and the client chose [`MECHANISM`]: if it says that it knows
    /// channel binding, somebody in the middle has hidden the offer.
    Offered,
    /// The client chose [`MECHANISM_PLUS`]; this is the hash of our certificate.
    Bound(&'a [u8]),
}

/// The keys of a password: who has them can log in without it.
#[derive(Clone)]
pub struct Keys {
    client: Key,
    server: Key,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Derives them, after SASLprep, as PostgreSQL does. Costs milliseconds: once per password, not
    /// per session.
    #[must_use]
    pub fn derive(password: &[u8], salting: &Salting) -> Self {
        // "If the password isn't valid UTF-8, or contains prohibited characters, use it as is."
        let prepared = std::str::from_utf8(password)
            .ok()
            .and_then(|text| stringprep::saslprep(text).ok())
            .map(|text| Zeroizing::new(text.as_bytes().to_vec()));
        let password = prepared.as_deref().map_or(password, Vec::as_slice);
        // Hi(): the XOR of a chain of HMACs.
        // Keyed once: a long password is hashed each time.
        let mac = keyed(password);
        let mut link = Key::new(finish(&mac, &[&salting.salt[..], &[0, 0, 0, 1]].concat()));
        let mut salted = link.clone();
        for _ in 1..salting.iterations {
            link = Key::new(finish(&mac, &*link.0));
            salted = salted.xor(&link);
        }
        Self { client: salted.sign(b"Client Key"), server: salted.sign(b"Server Key") }
    }

    /// What checks them.
    #[must_use]
    pub fn verifier(&self, salting: Salting) -> Verifier {
        let stored_key = self.client.digest();
        Verifier { salting, stored_key, server_key: self.server.clone() }
    }
}

/// What a server must know to check a password, without the password.
#[derive(Clone)]
pub struct Verifier {
    salting: Salting,
    stored_key: Key,
    server_key: Key,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Who knows the server key can play the server.
        f.debug_struct("Verifier")
            .field("iterations", &self.salting.iterations)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// Reads PostgreSQL's form, `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
    #[must_use]
    pub fn read(stored: &str) -> Option<Self> {
        let (parameters, keys) = stored.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let iterations =
            iterations.parse().ok().filter(|count| (1..=ITERATIONS_MAX).contains(count))?;
        Some(Self {
            salting: Salting { salt: STANDARD.decode(salt).ok()?, iterations },
            stored_key: Key::decode(stored_key)?,
            server_key: Key::decode(server_key)?,
        })
    }

    /// The verifier of nobody's password: every proof fails as a wrong password's does. For users
    /// that do not exist.
    #[must_use]
    pub fn of_nobody(salting: Salting) -> Self {
        Self { salting, stored_key: Key::new([0; 32]), server_key: Key::new([0; 32]) }
    }

    /// How its password was made into keys.
    #[must_use]
    pub fn salting(&self) -> &Salting {
        &self.salting
    }

    /// Whether this is the password. Costs milliseconds.
    #[must_use]
    pub fn is_of(&self, password: &[u8]) -> bool {
        Keys::derive(password, &self.salting).client.digest().is_same(&self.stored_key)
    }

    /// As [`Salting::challenge`].
    ///
    /// # Errors
    /// [`Refused::Malformed`], [`Refused::ChannelBinding`].
    pub fn challenge(
        &self,
        client_first: &[u8],
        nonce: &str,
        channel: &Channel<'_>,
    ) -> Result<(Challenge, Vec<u8>), Refused> {
        self.salting.challenge(client_first, nonce, channel)
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn finish(mac: &Hmac<Sha256>, message: &[u8]) -> [u8; 32] {
    let mut mac = mac.clone();
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn sign(key: &[u8], message: &[u8]) -> [u8; 32] {
    finish(&keyed(key), message)
}

#[cfg(test)]
mod tests;
