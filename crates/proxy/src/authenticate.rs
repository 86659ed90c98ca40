//! How a client proves who it is: a user of a database, or an admin.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use trace::{Outcome, SqlState};
use wire::backend::Authentication;
use wire::frame::{HEADER, body};
use wire::frontend::{SaslInitial, tag};
use wire::scram::{Channel, MECHANISM, MECHANISM_PLUS, Refused, Verifier};

use crate::access::{Access, Caller, Credential, Doorman, Named, Secret, Word, md5};
use crate::answer::Answer;
use crate::client::Client;
use crate::journal::Journal;
use crate::kill::Kill;
use crate::pump::End;
use crate::roster::Card;
use crate::timer::sleep;
use crate::upstream::Password;
use crate::{Method, tls};

mod applicant;

pub(crate) use applicant::Applicant;

/// Why a client does not get in.
pub(crate) enum Stopped {
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
    pub(crate) fn refused(answer: Answer) -> Self {
        let outcome = Outcome::Error(answer.code);
        Self::With(answer, outcome)
    }
}

impl From<End> for Stopped {
    fn from(end: End) -> Self {
        match end {
            End::Dismissed(answer) => Self::refused(*answer),
            End::Done
            | End::Terminated
            | End::ClientGone
            | End::ServerGone
            | End::Unsent
            | End::NeedsNews
            | End::ServerBroken(_) => Self::Gone,
        }
    }
}

/// How a test went.
enum Test {
    /// It is the user; this is what its own login is worth towards the server.
    Passed(Credential),
    /// It may be anybody.
    Failed,
}

impl Test {
    /// Passed without a password: what is kept of the user is all that there is.
    fn passed_without(secret: Option<&Secret>) -> Self {
        Self::Passed(secret.map_or(Credential::None, Credential::of))
    }
}

/// A login under way.
pub(crate) struct Login<'a> {
    pub(crate) client: &'a mut Client,
    pub(crate) kill: &'a mut Kill,
    /// The session's; an admin has none.
    pub(crate) card: Option<&'a Card>,
    pub(crate) doorman: &'a Doorman,
    pub(crate) journal: &'a Journal,
    /// Whether users are those of the database URLs, and this one's has no password.
    pub(crate) is_url_bare: bool,
}

impl Login<'_> {
    /// Puts the client to the test; gives what its own login is worth towards the server.
    pub(crate) async fn run(
        &mut self,
        access: &Access,
        (user, database): (&[u8], &[u8]),
        word: &Word,
    ) -> Result<Credential, Stopped> {
        let (method, certificate) = self.method(access, (user, database), word)?;
        let test = if self.shows(certificate, user) {
            self.test(method, access, user, word).await?
        } else {
            Test::Failed
        };
        // A login that nothing proves is for users that there are.
        match test {
            Test::Passed(own) if word.is_some() => Ok(own),
            Test::Passed(_) | Test::Failed => Err(self.fail(method, user, database).await),
        }
    }

    fn farewell(&self) -> Answer {
        self.card.map_or_else(Answer::shutting_down, Card::farewell)
    }

    async fn listen(&mut self) -> Result<(), Stopped> {
        tokio::select! {
            biased;
            () = &mut *self.kill => Err(End::dismissed(self.farewell()).into()),
            alive = self.client.listen() => if alive { Ok(()) } else { Err(Stopped::Gone) },
        }
    }

    /// Which test it is, by the rules.
    fn method(
        &self,
        access: &Access,
        (user, database): (&[u8], &[u8]),
        word: &Word,
    ) -> Result<(Method, Option<Named>), Stopped> {
        if access.rules.is_empty() {
            let method = match word.as_deref() {
                _ if self.is_url_bare => Method::Trust,
                Some(Secret::Md5(_)) => Method::Md5,
                Some(_) | None => Method::Scram,
            };
            return Ok((method, None));
        }
        let tls = self.client.stream.tls().is_some();
        let caller = Caller { address: self.client.address, tls, database, user };
        access.rules.find(&caller).filter(|(method, _)| *method != Method::Reject).ok_or_else(
            || {
                let from = self.client.address.map_or("[local]".to_owned(), |ip| ip.to_string());
                let encryption = if tls { "encrypted" } else { "no encryption" };
                let (user, database) =
                    (String::from_utf8_lossy(user), String::from_utf8_lossy(database));
                Stopped::refused(Answer::new(
                    SqlState(*b"28000"),
                    format!(
                        "surgetank: no rule lets in host \"{from}\", user \"{user}\", \
                     database \"{database}\", {encryption}"
                    ),
                ))
            },
        )
    }

    /// Whether the client has shown the certificate that is asked for.
    fn shows(&self, certificate: Option<Named>, user: &[u8]) -> bool {
        let Some(wanted) = certificate else { return true };
        let shown = self.client.stream.tls().and_then(tls::peer_name);
        match (wanted, shown) {
            (_, None) => false,
            (Named::Anyhow, Some(_)) => true,
            (Named::AsUser, Some(name)) => !user.is_empty() && name == user,
        }
    }

    async fn test(
        &mut self,
        method: Method,
        access: &Access,
        user: &[u8],
        word: &Word,
    ) -> Result<Test, Stopped> {
        let secret = word.as_deref();
        match (method, secret) {
            (Method::Trust | Method::Cert, secret) => Ok(Test::passed_without(secret)),
            (Method::Peer, secret) => {
                let is_user = |name: String| name.as_bytes() == user;
                let passed = self.client.stream.system_user().await.is_some_and(is_user);
                Ok(if passed { Test::passed_without(secret) } else { Test::Failed })
            }
            (Method::Reject, _) => Ok(Test::Failed),
            (Method::Scram, secret) | (Method::Md5, secret @ Some(Secret::Scram(_))) => {
                self.scram(access, user, secret).await
            }
            (Method::Md5, secret) => self.md5(user, secret).await,
            (Method::Password, secret) => self.password(user, secret).await,
        }
    }

    /// An unknown user is put to the test as a known one is, so that names cannot be found out.
    async fn scram(
        &mut self,
        access: &Access,
        user: &[u8],
        secret: Option<&Secret>,
    ) -> Result<Test, Stopped> {
        let made_up = self.doorman.salting(user);
        let salting = match secret {
            Some(Secret::Scram(verifier)) => verifier.salting().clone(),
            _ => made_up.clone(),
        };
        let tls = self.client.stream.tls().and(access.tls.as_ref());
        let hash = tls.and_then(|tls| tls.end_point()).map(<[u8]>::to_vec);
        let mut offer = Vec::new();
        let plus: &[u8] = if hash.is_some() { MECHANISM_PLUS } else { b"" };
        for mechanism in [plus, MECHANISM].into_iter().filter(|name| !name.is_empty()) {
            offer.extend_from_slice(mechanism);
            offer.push(0);
        }
        offer.push(0);
        Authentication::Sasl(&offer).put(self.client.outbox.bytes());
        let message = self.answer().await?;
        let initial = SaslInitial::read(body(&message))?;
        let channel = match (initial.mechanism, &hash) {
            (MECHANISM_PLUS, Some(hash)) => Channel::Bound(hash),
            (MECHANISM, Some(_)) => Channel::Offered,
            (MECHANISM, None) => Channel::Unbound,
            _ => return Err(violation(Refused::Malformed)),
        };
        let nonce = STANDARD.encode(rand::random::<[u8; 18]>());
        let (challenge, first) =
            salting.challenge(initial.data, &nonce, &channel).map_err(violation)?;
        Authentication::SaslContinue(&first).put(self.client.outbox.bytes());
        let message = self.answer().await?;
        let nobody = Verifier::of_nobody(salting);
        let verifier = secret.and_then(|secret| secret.verifier(&made_up)).unwrap_or(&nobody);
        match challenge.finish(verifier, body(&message)) {
            Ok(accepted) => {
                Authentication::SaslFinal(&accepted.last_word).put(self.client.outbox.bytes());
                Ok(Test::Passed(match secret {
                    Some(Secret::Plain { password, .. }) => Credential::Password(password.clone()),
                    _ => Credential::Keys(Box::new(accepted.keys)),
                }))
            }
            Err(Refused::WrongPassword) => Ok(Test::Failed),
            Err(refused) => Err(violation(refused)),
        }
    }

    async fn md5(&mut self, user: &[u8], secret: Option<&Secret>) -> Result<Test, Stopped> {
        let salt: [u8; 4] = rand::random();
        Authentication::Md5Password(salt).put(self.client.outbox.bytes());
        let message = self.answer().await?;
        let answer = wire::frontend::text(body(&message))?;
        let stored = match secret {
            Some(Secret::Plain { password, .. }) => md5::stored(password.reveal().as_bytes(), user),
            Some(Secret::Md5(stored)) => stored.to_string(),
            Some(Secret::Scram(_) | Secret::None) | None => return Ok(Test::Failed),
        };
        Ok(match secret {
            Some(secret) if is_same(answer, md5::response(&stored, salt).as_bytes()) => {
                Test::Passed(Credential::of(secret))
            }
            _ => Test::Failed,
        })
    }

    async fn password(&mut self, user: &[u8], secret: Option<&Secret>) -> Result<Test, Stopped> {
        if self.client.stream.tls().is_none() && leaves_the_machine(self.client.address) {
            let text = "surgetank: a password is taken over TLS only; connect with sslmode=require";
            return Err(Stopped::refused(Answer::new(SqlState(*b"28000"), text)));
        }
        Authentication::CleartextPassword.put(self.client.outbox.bytes());
        let message = self.answer().await?;
        let answer = wire::frontend::text(body(&message))?;
        let fits = match secret {
            Some(Secret::Plain { password, .. }) => is_same(answer, password.reveal().as_bytes()),
            Some(Secret::Md5(stored)) => {
                is_same(md5::stored(answer, user).as_bytes(), stored.as_bytes())
            }
            Some(Secret::Scram(verifier)) => verifier.is_of(answer),
            Some(Secret::None) | None => false,
        };
        match std::str::from_utf8(answer) {
            Ok(password) if fits => Ok(Test::Passed(Credential::Password(Password::new(password)))),
            _ => Ok(Test::Failed),
        }
    }

    /// The client's next message of authentication.
    async fn answer(&mut self) -> Result<Vec<u8>, Stopped> {
        loop {
            // Of any other kind no more is awaited than what shows that it is one.
            let want = |kind, total| if kind == tag::PASSWORD { total } else { HEADER };
            if let Some(piece) = self.client.inbox.step(want)? {
                if piece.tag != tag::PASSWORD {
                    return Err(unexpected(piece.tag));
                }
                let message = self.client.inbox.peek(piece.len).to_vec();
                self.client.inbox.discard(piece.len);
                return Ok(message);
            }
            self.listen().await?;
        }
    }

    /// A failed login: the answer takes its time, the longer the more there were from this address.
    /// All failures look alike.
    async fn fail(&mut self, method: Method, user: &[u8], database: &[u8]) -> Stopped {
        let doorman = &self.doorman;
        doorman.doubt(&(user.into(), database.into()));
        let now = self.journal.now();
        // Over a Unix socket it comes from this machine.
        let address = self.client.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let delay = doorman.fail(address, now);
        let user = String::from_utf8_lossy(user);
        tracing::info!(%address, %user, ?delay, "a login failed");
        tokio::select! {
            biased;
            () = &mut *self.kill => return End::dismissed(self.farewell()).into(),
            () = sleep(delay) => {}
        }
        let (code, kind) = match method {
            Method::Cert => (SqlState(*b"28000"), "certificate"),
            Method::Peer => (SqlState(*b"28000"), "peer"),
            Method::Trust | Method::Reject | Method::Md5 | Method::Scram | Method::Password => {
                (SqlState::INVALID_PASSWORD, "password")
            }
        };
        let text = format!("surgetank: {kind} authentication failed for user \"{user}\"");
        Stopped::refused(Answer::new(code, text))
    }
}

/// In the middle of a login there is nothing but its own messages: a second startup packet (which
/// has no kind and is read as one of kind 0) ends it too.
fn unexpected(kind: u8) -> Stopped {
    let text = format!("surgetank: expected password response, got message type {kind}");
    Stopped::refused(Answer::new(SqlState::PROTOCOL_VIOLATION, text))
}

fn violation(refused: Refused) -> Stopped {
    let text = format!("surgetank: {refused}");
    Stopped::refused(Answer::new(SqlState::PROTOCOL_VIOLATION, text))
}

/// Compares in a time that does not tell where the difference is.
pub(crate) fn is_same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |all, (left, right)| all | (left ^ right)) == 0
}

/// Whether others could read what a client says in the clear: not over a Unix socket or loopback.
fn leaves_the_machine(address: Option<IpAddr>) -> bool {
    address.is_some_and(|address| !address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_clear_stays_on_the_machine() {
        let leaves = |address: &str| leaves_the_machine(Some(address.parse().unwrap()));
        assert!(!leaves("127.0.0.7") && !leaves("::1") && !leaves("::ffff:127.0.0.1"));
        assert!(leaves("10.0.0.1") && leaves("2001:db8::1"));
        assert!(!leaves_the_machine(None));
    }
}
