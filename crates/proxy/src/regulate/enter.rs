//! How a client gets in: protocol version, who it is, and what the server would greet it with.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::timeout;
use trace::{Fingerprint, Micros, Outcome, RequestKind, SqlState};
use wire::backend::{self, Authentication};
use wire::frame::body;
use wire::frontend::{SaslInitial, tag};
use wire::scram::{self, Channel, Refused, Verifier};
use wire::startup::{self, Startup};

use super::{Failure, House, Session};
use crate::answer::Answer;
use crate::login;
use crate::pool::{Key, Parameter};
use crate::pump::End;

/// Longest message of authentication.
const AUTHENTICATION_MAX: usize = 8192;

/// Why a client does not get in.
enum Stopped {
    /// It is told.
    With(Answer, Outcome),
    /// It left.
    Gone,
}

impl From<wire::Error> for Stopped {
    fn from(error: wire::Error) -> Self {
        Self::refused(Answer::protocol(&error))
    }
}

impl Stopped {
    fn refused(answer: Answer) -> Self {
        let outcome = Outcome::Error(answer.code);
        Self::With(answer, outcome)
    }
}

impl From<End> for Stopped {
    fn from(end: End) -> Self {
        match end {
            End::Dismissed(answer) => Self::refused(answer),
            End::Done
            | End::Terminated
            | End::ClientGone
            | End::ServerGone
            | End::ServerBroken(_) => Self::Gone,
        }
    }
}

impl Session {
    /// Lets the client in and greets it; `None` if it does not get in, which it was told.
    pub(super) async fn enter(mut self, packet: Vec<u8>, arrived: Micros) -> Option<Self> {
        self.talk.arrives(arrived);
        let stopped = self.try_enter(&packet, arrived).await.err();
        let outcome = match &stopped {
            None => Outcome::Ok,
            Some(Stopped::With(_, outcome)) => *outcome,
            Some(Stopped::Gone) => Outcome::ClientGone,
        };
        let bytes = (packet.len(), self.client.outbox.bytes().len());
        self.talk.record_local(RequestKind::Connect, Fingerprint::NONE, bytes, outcome);
        match stopped {
            None => Some(self),
            Some(Stopped::With(answer, _)) => {
                self.client.dismiss(&answer).await;
                None
            }
            Some(Stopped::Gone) => None,
        }
    }

    async fn try_enter(&mut self, packet: &[u8], arrived: Micros) -> Result<(), Stopped> {
        let Startup::Session(wish) = startup::read(packet)? else { return Err(Stopped::Gone) };
        let options = wish.protocol_options();
        if wish.minor > 0 || options.clone().next().is_some() {
            backend::put_negotiate(self.client.outbox.bytes(), 0, options);
        }
        if wish.parameter(b"replication").is_some_and(|value| !is_false(value)) {
            return Err(Stopped::refused(Answer::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "surgetank: replication needs observe mode, not regulate",
            )));
        }
        let user = wish.user().to_vec();
        match timeout(login::LOGIN_TIME, self.authenticate(&user)).await {
            Ok(result) => result?,
            Err(_) => return Err(Stopped::Gone),
        }
        self.key = Arc::new(self.house.key(&wish));
        let greeting = self.greeting(arrived).await?;
        let out = self.client.outbox.bytes();
        Authentication::Ok.put(out);
        out.extend_from_slice(&greeting);
        let application = wish.parameter(b"application_name").unwrap_or_default();
        backend::put_parameter(out, b"application_name", application);
        self.entry.key().put(out);
        backend::put_ready(out, b'I');
        Ok(())
    }

    /// Checks the client against the URL's user and password. Without a password everybody is
    /// trusted who comes (over loopback only) as that user.
    async fn authenticate(&mut self, user: &[u8]) -> Result<(), Stopped> {
        let known = user == self.house.database().upstream.user().as_bytes();
        let failed = || {
            let user = String::from_utf8_lossy(user);
            let text = format!("surgetank: password authentication failed for user \"{user}\"");
            Stopped::refused(Answer::new(SqlState::INVALID_PASSWORD, text))
        };
        let house = Arc::clone(&self.house);
        if let Some(verifier) = &house.verifier {
            // An unknown user is put to the test too, so that names cannot be found out.
            match self.scram(verifier).await? {
                Ok(last_word) if known => {
                    Authentication::SaslFinal(&last_word).put(self.client.outbox.bytes());
                }
                Ok(_) | Err(Refused::WrongPassword) => return Err(failed()),
                Err(
                    refused @ (Refused::Malformed | Refused::ChannelBinding | Refused::WrongServer),
                ) => {
                    let text = format!("surgetank: {refused}");
                    return Err(Stopped::refused(Answer::new(SqlState::PROTOCOL_VIOLATION, text)));
                }
            }
        } else if !known {
            return Err(failed());
        }
        Ok(())
    }

    /// The exchange; its result is the server's last word, if the password was right.
    async fn scram(&mut self, verifier: &Verifier) -> Result<Result<Vec<u8>, Refused>, Stopped> {
        let offer = [scram::MECHANISM, b"\0\0"].concat();
        Authentication::Sasl(&offer).put(self.client.outbox.bytes());
        let message = self.answer().await?;
        let initial = SaslInitial::read(body(&message))?;
        if initial.mechanism != scram::MECHANISM {
            return Ok(Err(Refused::Malformed));
        }
        let nonce = STANDARD.encode(rand::random::<[u8; 18]>());
        let (challenge, first) = match verifier.challenge(initial.data, &nonce, &Channel::Unbound) {
            Ok(challenge) => challenge,
            Err(refused) => return Ok(Err(refused)),
        };
        Authentication::SaslContinue(&first).put(self.client.outbox.bytes());
        let message = self.answer().await?;
        Ok(challenge.finish(verifier, body(&message)).map(|accepted| accepted.last_word))
    }

    /// The client's next message of authentication.
    async fn answer(&mut self) -> Result<Vec<u8>, Stopped> {
        loop {
            if let Some(piece) = self.client.inbox.step(|_, total| total.min(AUTHENTICATION_MAX))? {
                if piece.tag != tag::PASSWORD || piece.len < piece.total {
                    return Err(wire::Error::Malformed("password message").into());
                }
                let message = self.client.inbox.peek(piece.len).to_vec();
                self.client.inbox.discard(piece.len);
                return Ok(message);
            }
            self.listen().await?;
        }
    }

    /// What the server says to sessions of this kind. The first of a kind gets a server connection
    /// to learn it, and so learns whether the database exists at all.
    async fn greeting(&mut self, arrived: Micros) -> Result<Arc<[u8]>, Stopped> {
        if let Some(greeting) = self.house.greeting(&self.key) {
            return Ok(greeting);
        }
        match self.obtain(arrived).await {
            Ok((lease, backend)) => {
                self.entry.target.detach().await;
                lease.give_back(backend).await;
                self.talk.journal.card.rests();
            }
            Err(Failure::Over(end)) => return Err(end.into()),
            Err(failure) => {
                self.entry.target.detach().await;
                let (answer, outcome) = self.explain(&failure, arrived);
                return Err(Stopped::With(answer, outcome));
            }
        }
        // It was kept when a connection of this kind was opened, at the latest just now.
        self.house.greeting(&self.key).ok_or(Stopped::Gone)
    }
}

impl House {
    /// The kind of server connection that a session needs.
    fn key(&self, wish: &startup::Session<'_>) -> Key {
        let own: [&[u8]; 4] = [b"user", b"database", b"application_name", b"replication"];
        let mut parameters: Vec<Parameter> = login::parameters_for_server(wish)
            .into_iter()
            .filter(|(name, _)| !own.contains(&name.as_slice()) && !name.starts_with(b"_pq_."))
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        parameters.sort();
        self.database().key(wish.database(), parameters)
    }
}

/// PostgreSQL's words for "no".
fn is_false(value: &[u8]) -> bool {
    let words: [&[u8]; 5] = [b"false", b"off", b"no", b"0", b""];
    words.iter().any(|word| value.eq_ignore_ascii_case(word))
}
