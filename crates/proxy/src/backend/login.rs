//! Logging in to the server: startup, authentication, and what it says about itself.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt;
use trace::SqlState;
use wire::backend::{Authentication, BackendKey, Report, offers, parameter, tag};
use wire::frontend;
use wire::scram::client::{Hello, Password, Proven, Secret};
use wire::scram::{MECHANISM, MECHANISM_PLUS};

use super::{AskedSettings, Backend, CancelKey, OpenError, Opening, Outdated, ServerState, Slot};
use crate::Endpoint;
use crate::access::{Credential, md5};
use crate::buffer::Inbox;
use crate::settings::{APPLICATION_NAME, OUR_NAME, Reported};
use crate::stream::Stream;
use crate::tls::{self, Attempt};

/// Longest message that is read while logging in.
const LOGIN_MESSAGE_MAX: usize = 64 * 1024;

/// A rejection by the rules of the server's `pg_hba.conf`, which may be for the lack of TLS or for
/// TLS (`invalid_authorization_specification`).
const REJECTED: SqlState = SqlState(*b"28000");

/// A server connection that is not one yet.
pub(super) struct Login<'a> {
    stream: Stream,
    inbox: Inbox,
    opening: &'a Opening<'a>,
    sasl: Sasl,
    reported: Reported,
    cancel_key: Option<CancelKey>,
}

/// How far SCRAM is.
enum Sasl {
    NotBegun,
    /// The mechanism was chosen.
    Hello(Hello),
    /// The proof was sent.
    Proven {
        proven: Proven,
        bound: bool,
    },
    /// The server has proved itself.
    Done {
        bound: bool,
    },
}

impl Login<'_> {
    pub(super) async fn run(opening: &Opening<'_>) -> Result<Box<Backend>, OpenError> {
        let upstream = opening.upstream;
        let attempts = upstream.tls().attempts(upstream.endpoint());
        let mut last = Err(OpenError::Unreachable("no way to connect".to_owned()));
        for (index, attempt) in attempts.iter().enumerate() {
            last = Self::attempt(opening, *attempt).await;
            // libpq's "allow" and "prefer": with TLS if not without, and the other way round.
            let again = match &last {
                Ok(_) => false,
                Err(OpenError::Unreachable(_)) => true,
                Err(OpenError::Impossible(_)) => false,
                Err(OpenError::Refused(code, _)) => *code == REJECTED,
            };
            if !again || index + 1 == attempts.len() {
                break;
            }
        }
        last
    }

    async fn attempt(opening: &Opening<'_>, attempt: Attempt) -> Result<Box<Backend>, OpenError> {
        let (upstream, endpoint) = (opening.upstream, opening.upstream.endpoint());
        let stream = upstream.tls().try_connect(endpoint, attempt).await.map_err(|error| {
            OpenError::Unreachable(format!("cannot reach PostgreSQL at {endpoint}: {error}"))
        })?;
        let mut login = Login {
            stream,
            inbox: Inbox::new(),
            opening,
            sasl: Sasl::NotBegun,
            reported: Reported::default(),
            cancel_key: None,
        };
        let packet = login.startup_packet();
        login.send(&packet).await?;
        loop {
            let message = login.receive().await?;
            if login.hear(&message).await? {
                return login.opened();
            }
        }
    }

    fn startup_packet(&self) -> Vec<u8> {
        let key = self.opening.key;
        let own: [(&[u8], &[u8]); 3] =
            [(b"user", &key.user), (b"database", &key.database), (APPLICATION_NAME, OUR_NAME)];
        let others = key.parameters.iter().map(|(name, value)| (&**name, &**value));
        let mut packet = Vec::new();
        wire::startup::put_session(&mut packet, 0, own.into_iter().chain(others));
        packet
    }

    /// Takes one message; `true` if it was `ReadyForQuery`.
    async fn hear(&mut self, message: &[u8]) -> Result<bool, OpenError> {
        let body = wire::frame::body(message);
        match message.first().copied().unwrap_or_default() {
            tag::AUTHENTICATION => self.authenticate(body).await?,
            tag::PARAMETER_STATUS => {
                let (name, value) = parameter(body).map_err(|error| self.malformed(&error))?;
                self.reported.set(name, value);
            }
            tag::BACKEND_KEY_DATA => {
                let key = BackendKey::read(body).map_err(|error| self.malformed(&error))?;
                self.cancel_key = Some(CancelKey::new(key.pid, key.key));
            }
            tag::ERROR_RESPONSE => {
                let report = Report::read(body);
                let code = SqlState::from_bytes(report.code);
                let words = String::from_utf8_lossy(report.message).into_owned();
                let code = code.unwrap_or(SqlState::CONNECTION_FAILURE);
                return Err(OpenError::Refused(code, words));
            }
            tag::READY_FOR_QUERY => return Ok(true),
            // Notices, and a version that is negotiated: nothing depends on them.
            _ => {}
        }
        Ok(false)
    }

    async fn authenticate(&mut self, body: &[u8]) -> Result<(), OpenError> {
        let request = Authentication::read(body).map_err(|error| self.malformed(&error))?;
        let endpoint = self.opening.upstream.endpoint();
        let mut reply = Vec::new();
        match request {
            Authentication::Ok => return self.let_in(),
            Authentication::CleartextPassword => {
                let Credential::Password(password) = self.opening.credential else {
                    return Err(self.lacking("its password"));
                };
                frontend::put_password(&mut reply, password.reveal().as_bytes());
            }
            Authentication::Md5Password(salt) => {
                let user = &self.opening.key.user;
                let response = match self.opening.credential {
                    Credential::Md5(stored) => md5::response(stored, salt),
                    Credential::Password(password) => {
                        let stored = md5::stored(password.reveal().as_bytes(), user);
                        md5::response(&stored, salt)
                    }
                    Credential::Keys(_) | Credential::None => {
                        return Err(self.lacking("the MD5 hash of its password"));
                    }
                };
                frontend::put_password(&mut reply, response.as_bytes());
            }
            Authentication::Sasl(mechanisms)
                if offers(mechanisms, MECHANISM) || offers(mechanisms, MECHANISM_PLUS) =>
            {
                self.begin_scram(offers(mechanisms, MECHANISM_PLUS), &mut reply)?;
            }
            Authentication::SaslContinue(data) => {
                let sasl = std::mem::replace(&mut self.sasl, Sasl::NotBegun);
                let Sasl::Hello(hello) = sasl else { return Err(out_of_turn(endpoint)) };
                let bound = hello.mechanism() == MECHANISM_PLUS;
                let secret = match self.opening.credential {
                    Credential::Password(password) => {
                        Secret::Password(Password(password.reveal().as_bytes()))
                    }
                    Credential::Keys(keys) => Secret::Keys(keys),
                    Credential::Md5(_) | Credential::None => {
                        return Err(self.lacking("its password or SCRAM keys"));
                    }
                };
                let (proven, last) =
                    hello.prove(data, secret).map_err(|error| scram_failed(endpoint, error))?;
                frontend::put_sasl_response(&mut reply, &last);
                self.sasl = Sasl::Proven { proven, bound };
            }
            Authentication::SaslFinal(data) => {
                let sasl = std::mem::replace(&mut self.sasl, Sasl::NotBegun);
                let Sasl::Proven { proven, bound } = sasl else {
                    return Err(out_of_turn(endpoint));
                };
                proven.check(data).map_err(|error| scram_failed(endpoint, error))?;
                self.sasl = Sasl::Done { bound };
                return Ok(());
            }
            Authentication::Sasl(_) | Authentication::Other(_) => {
                return Err(OpenError::Impossible(format!(
                    "PostgreSQL at {endpoint} asks for a kind of authentication that is not spoken \
                     here; trust, password, md5, scram-sha-256 and cert are"
                )));
            }
        }
        self.send(&reply).await
    }

    fn begin_scram(&mut self, plus: bool, reply: &mut Vec<u8>) -> Result<(), OpenError> {
        let upstream = self.opening.upstream;
        if matches!(self.opening.credential, Credential::Md5(_) | Credential::None) {
            return Err(self.lacking("its password or SCRAM keys"));
        }
        let hash = tls::end_point(&self.stream);
        let binding = upstream.tls().bind(hash.as_deref(), plus);
        let binding = binding.map_err(|why| broken(upstream.endpoint(), why))?;
        let nonce = STANDARD.encode(rand::random::<[u8; 18]>());
        let hello = Hello::new(&nonce, &binding);
        let data = hello.message();
        frontend::SaslInitial { mechanism: hello.mechanism(), data: &data }.put(reply);
        self.sasl = Sasl::Hello(hello);
        Ok(())
    }

    /// The server is content; are we?
    fn let_in(&self) -> Result<(), OpenError> {
        let (tls, endpoint) = (self.opening.upstream.tls(), self.opening.upstream.endpoint());
        match &self.sasl {
            // A server that skips its own proof may be another.
            Sasl::Hello(_) | Sasl::Proven { .. } => Err(out_of_turn(endpoint)),
            Sasl::NotBegun | Sasl::Done { bound: false } if tls.must_bind() => {
                let why = "channel_binding=require, and the server let us in without";
                Err(broken(endpoint, why))
            }
            Sasl::NotBegun | Sasl::Done { .. } => Ok(()),
        }
    }

    fn lacking(&self, what: &str) -> OpenError {
        let endpoint = self.opening.upstream.endpoint();
        let user = String::from_utf8_lossy(&self.opening.key.user);
        let kind = self.opening.credential.kind();
        OpenError::Impossible(format!(
            "PostgreSQL at {endpoint} asks user {user:?} for {what}, and we have {kind}: give the \
             database URL a user and password, or let clients log in by a password"
        ))
    }

    fn opened(self) -> Result<Box<Backend>, OpenError> {
        let Opening { key, worker, session, journal, upstream, settings, .. } = self.opening;
        let Some(cancel_key) = self.cancel_key else {
            return Err(out_of_turn(upstream.endpoint()));
        };
        let slot = Slot::open(journal, cancel_key.pid, *session);
        Ok(Box::new(Backend {
            stream: self.stream,
            inbox: self.inbox,
            state: ServerState::new(settings.only_name(OUR_NAME), settings.reported(self.reported)),
            cancel_key: Arc::new(cancel_key),
            key: Arc::clone(key),
            worker: *worker,
            rested: journal.now(),
            outdated: Outdated::default(),
            asked: AskedSettings::default(),
            slot,
        }))
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), OpenError> {
        let endpoint = self.opening.upstream.endpoint();
        self.stream.write_all(bytes).await.map_err(|error| broken(endpoint, &error.to_string()))
    }

    async fn receive(&mut self) -> Result<Vec<u8>, OpenError> {
        let endpoint = self.opening.upstream.endpoint();
        loop {
            let step = self.inbox.step(|_, total| total.min(LOGIN_MESSAGE_MAX));
            match step.map_err(|error| self.malformed(&error))? {
                Some(piece) if piece.len == piece.total => {
                    let message = self.inbox.peek(piece.len).to_vec();
                    self.inbox.discard(piece.len);
                    return Ok(message);
                }
                Some(piece) => {
                    let text = format!(
                        "message {:?} of {} bytes is longer than {LOGIN_MESSAGE_MAX} bytes",
                        char::from(piece.tag),
                        piece.total
                    );
                    return Err(senseless(endpoint, &text));
                }
                None => {}
            }
            let (inbox, stream) = (&mut self.inbox, &mut self.stream);
            match std::future::poll_fn(|cx| inbox.poll_fill(cx, stream)).await {
                Ok(0) => return Err(broken(endpoint, "closed by the server")),
                Ok(_) => {}
                Err(error) => return Err(broken(endpoint, &error.to_string())),
            }
        }
    }

    fn malformed(&self, error: &wire::Error) -> OpenError {
        senseless(self.opening.upstream.endpoint(), &error.to_string())
    }
}

fn broken(endpoint: &Endpoint, why: &str) -> OpenError {
    OpenError::Unreachable(format!("connection to PostgreSQL at {endpoint} broke at login: {why}"))
}

fn senseless(endpoint: &Endpoint, why: &str) -> OpenError {
    OpenError::Impossible(format!("login to PostgreSQL at {endpoint} made no sense: {why}"))
}

fn out_of_turn(endpoint: &Endpoint) -> OpenError {
    senseless(endpoint, "the server left out a step")
}

fn scram_failed(endpoint: &Endpoint, error: wire::scram::Refused) -> OpenError {
    senseless(endpoint, &format!("SCRAM: {error}"))
}
