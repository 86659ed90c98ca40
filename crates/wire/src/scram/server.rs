//! The server's side of the exchange.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{BINDING_TYPE, Channel, Key, Keys, Refused, Salting, Verifier};

/// The server has spoken and waits for the client's proof.
#[must_use]
pub struct Challenge {
    transcript: String,
    /// What the client's final message must repeat of its first, in base64.
    binding: String,
    nonce: String,
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge").finish_non_exhaustive()
    }
}

/// The client was let in.
#[derive(Debug)]
pub struct Accepted {
    /// The server's final message, which proves the server in turn.
    pub last_word: Vec<u8>,
    /// The keys, with which one can log in elsewhere as this user.
    pub keys: Keys,
}

impl Challenge {
    pub(super) fn new(
        salting: &Salting,
        client_first: &[u8],
        nonce: &str,
        channel: &Channel<'_>,
    ) -> Result<(Self, Vec<u8>), Refused> {
        let message = std::str::from_utf8(client_first).map_err(|_| Refused::Malformed)?;
        let mut fields = message.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (fields.next(), fields.next(), fields.next())
        else {
            return Err(Refused::Malformed);
        };
        if !authzid.is_empty() {
            return Err(Refused::Malformed);
        }
        let binding = header(flag, channel)?;
        // The user name ("n=") is the one of the startup packet; PostgreSQL ignores it here too.
        let client_nonce = bare
            .strip_prefix("n=")
            .and_then(|rest| rest.split_once(",r="))
            .map(|(_, rest)| rest.split(',').next().unwrap_or_default())
            .filter(|nonce| !nonce.is_empty())
            .ok_or(Refused::Malformed)?;
        let nonce = format!("{client_nonce}{nonce}");
        let (salt, iterations) = (STANDARD.encode(&salting.salt), salting.iterations);
        let server_first = format!("r={nonce},s={salt},i={iterations}");
        let transcript = format!("{bare},{server_first}");
        Ok((
            Self { transcript, binding: STANDARD.encode(binding), nonce },
            server_first.into_bytes(),
        ))
    }

    /// Checks the client's final message.
    ///
    /// # Errors
    /// [`Refused::Malformed`], [`Refused::ChannelBinding`], [`Refused::WrongPassword`].
    pub fn finish(self, verifier: &Verifier, client_final: &[u8]) -> Result<Accepted, Refused> {
        let message = std::str::from_utf8(client_final).map_err(|_| Refused::Malformed)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(Refused::Malformed)?;
        let (binding, rest) = without_proof
            .strip_prefix("c=")
            .and_then(|rest| rest.split_once(",r="))
            .ok_or(Refused::Malformed)?;
        // Extensions may follow the nonce; none is known, so they only take part in the signature.
        let extended = rest.strip_prefix(&self.nonce).ok_or(Refused::Malformed)?;
        if !extended.is_empty() && !extended.starts_with(',') {
            return Err(Refused::Malformed);
        }
        if binding != self.binding {
            return Err(Refused::ChannelBinding);
        }
        let proof = Key::decode(proof).ok_or(Refused::Malformed)?;

        // ClientProof = ClientKey XOR HMAC(StoredKey, AuthMessage); StoredKey = H(ClientKey).
        let auth_message = format!("{},{without_proof}", self.transcript);
        let client = verifier.stored_key.sign(auth_message.as_bytes()).xor(&proof);
        if !client.digest().is_same(&verifier.stored_key) {
            return Err(Refused::WrongPassword);
        }
        let signature = verifier.server_key.sign(auth_message.as_bytes());
        Ok(Accepted {
            last_word: format!("v={}", signature.encode()).into_bytes(),
            keys: Keys { client, server: verifier.server_key.clone() },
        })
    }
}

/// What the client must send back in its final message: its own header, and the binding.
fn header(flag: &str, channel: &Channel<'_>) -> Result<Vec<u8>, Refused> {
    match (flag, channel) {
        ("n", Channel::Unbound | Channel::Offered) | ("y", Channel::Unbound) => {
            Ok(format!("{flag},,").into_bytes())
        }
        // "y": the client knows channel binding and thinks that we do not, though we said so.
        ("n", Channel::Bound(_)) | ("y", Channel::Bound(_) | Channel::Offered) => {
            Err(Refused::ChannelBinding)
        }
        (_, channel) => match (flag.strip_prefix("p="), channel) {
            (Some(BINDING_TYPE), Channel::Bound(hash)) => {
                Ok([format!("{flag},,").as_bytes(), hash].concat())
            }
            (Some(_), _) => Err(Refused::ChannelBinding),
            (None, _) => Err(Refused::Malformed),
        },
    }
}
