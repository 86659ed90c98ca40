//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), as a typestate: each step consumes the
//! one before, so that a session cannot be let in by a message out of turn.
//!
//! ```text
//!   Verifier::challenge(client-first) ──▶ (Challenge, server-first)
//!   Challenge::finish(client-final)   ──▶ server-final, or WrongPassword
//! ```
//!
//! Without TLS there is no channel binding: only the header `n,,` or `y,,` is accepted. The
//! client's side is `postgres_protocol::authentication::sasl`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The one mechanism that is offered.
pub const MECHANISM: &[u8] = b"SCRAM-SHA-256";

/// Why a client was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The message is not SCRAM, or not one this server can take.
    #[error("malformed SCRAM message")]
    Malformed,
    /// The client asks for channel binding, which needs TLS.
    #[error("SCRAM channel binding needs TLS")]
    ChannelBinding,
    /// The proof does not fit the password.
    #[error("wrong password")]
    WrongPassword,
}

/// What a server must know to check a password, without the password.
#[derive(Clone)]
pub struct Verifier {
    salt: String,
    iterations: u32,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Who knows the server key can play the server.
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Derives the verifier of a password with a random salt, SASLprep and 4096 iterations, just as
    /// PostgreSQL stores it. Costs milliseconds: once per password, not per session.
    #[must_use]
    pub fn of_password(password: &[u8]) -> Self {
        let stored = postgres_protocol::password::scram_sha_256(password);
        Self::read(&stored).expect("postgres-protocol writes PostgreSQL's verifier format")
    }

    /// Reads PostgreSQL's form, `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
    #[must_use]
    pub fn read(stored: &str) -> Option<Self> {
        let (parameters, keys) = stored.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let key = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
        Some(Self {
            salt: salt.to_owned(),
            iterations: iterations.parse().ok()?,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    /// Takes the client's first message and gives the server's. `nonce` must be random and
    /// printable without a comma; 18 bytes in base64 will do.
    ///
    /// # Errors
    /// [`Refused::Malformed`], [`Refused::ChannelBinding`].
    pub fn challenge(
        &self,
        client_first: &[u8],
        nonce: &str,
    ) -> Result<(Challenge, Vec<u8>), Refused> {
        let message = std::str::from_utf8(client_first).map_err(|_| Refused::Malformed)?;
        let mut fields = message.splitn(3, ',');
        let (Some(binding), Some(authzid), Some(bare)) =
            (fields.next(), fields.next(), fields.next())
        else {
            return Err(Refused::Malformed);
        };
        match binding {
            "n" | "y" if authzid.is_empty() => {}
            _ if binding.starts_with("p=") => return Err(Refused::ChannelBinding),
            _ => return Err(Refused::Malformed),
        }
        // The user name ("n=") is the one of the startup packet; PostgreSQL ignores it here too.
        let client_nonce = bare
            .strip_prefix("n=")
            .and_then(|rest| rest.split_once(",r="))
            .map(|(_, rest)| rest.split(',').next().unwrap_or_default())
            .filter(|nonce| !nonce.is_empty())
            .ok_or(Refused::Malformed)?;
        let nonce = format!("{client_nonce}{nonce}");
        let server_first = format!("r={nonce},s={},i={}", self.salt, self.iterations);
        let challenge = Challenge {
            transcript: format!("{bare},{server_first}"),
            binding: STANDARD.encode(format!("{binding},,")),
            nonce,
            stored_key: self.stored_key,
            server_key: self.server_key,
        };
        Ok((challenge, server_first.into_bytes()))
    }
}

/// The server has spoken and waits for the client's proof.
#[must_use]
pub struct Challenge {
    transcript: String,
    binding: String,
    nonce: String,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge").finish_non_exhaustive()
    }
}

impl Challenge {
    /// Checks the client's final message; gives the server's, which proves the server in turn.
    ///
    /// # Errors
    /// [`Refused::Malformed`], [`Refused::WrongPassword`].
    pub fn finish(self, client_final: &[u8]) -> Result<Vec<u8>, Refused> {
        let message = std::str::from_utf8(client_final).map_err(|_| Refused::Malformed)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(Refused::Malformed)?;
        let expected = format!("c={},r={}", self.binding, self.nonce);
        // Extensions may follow the nonce; none is known, so they only take part in the signature.
        let extended = without_proof.strip_prefix(&expected).ok_or(Refused::Malformed)?;
        if !extended.is_empty() && !extended.starts_with(',') {
            return Err(Refused::Malformed);
        }
        let proof = STANDARD.decode(proof).map_err(|_| Refused::Malformed)?;
        let proof: [u8; 32] = proof.try_into().map_err(|_| Refused::Malformed)?;

        // ClientProof = ClientKey XOR HMAC(StoredKey, AuthMessage); StoredKey = H(ClientKey).
        let auth_message = format!("{},{without_proof}", self.transcript);
        let mut client_key = sign(&self.stored_key, auth_message.as_bytes());
        for (byte, proof) in client_key.iter_mut().zip(proof) {
            *byte ^= proof;
        }
        let stored_key: [u8; 32] = Sha256::digest(client_key).into();
        if !same(&stored_key, &self.stored_key) {
            return Err(Refused::WrongPassword);
        }
        let signature = sign(&self.server_key, auth_message.as_bytes());
        Ok(format!("v={}", STANDARD.encode(signature)).into_bytes())
    }
}

fn sign(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Compares in a time that does not tell where the difference is.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.iter().zip(right).fold(0, |difference, (l, r)| difference | (l ^ r)) == 0
}

#[cfg(test)]
mod tests;
