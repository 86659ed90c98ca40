//! Logging in to the server: startup, authentication, and what it says about itself.

use std::sync::Arc;

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use tokio::io::AsyncWriteExt;
use trace::SqlState;
use wire::backend::{Authentication, BackendKey, Report, offers, parameter, tag};
use wire::frontend;

use super::{Backend, CancelKey, OpenError, Opened, Opening, Slot};
use crate::Endpoint;
use crate::buffer::Inbox;
use crate::statements::ServerStatements;
use crate::stream::ServerStream;

/// What our connections call themselves in `pg_stat_activity`.
const APPLICATION_NAME: &[u8] = b"surgetank";

/// Longest message that is read while logging in.
const LOGIN_MESSAGE_MAX: usize = 64 * 1024;

/// A server connection that is not one yet.
pub(super) struct Login<'a> {
    stream: ServerStream,
    inbox: Inbox,
    opening: &'a Opening<'a>,
    scram: Option<ScramSha256>,
    greeting: Vec<u8>,
    cancel_key: Option<CancelKey>,
}

impl Login<'_> {
    pub(super) async fn run(opening: &Opening<'_>) -> Result<Opened, OpenError> {
        let endpoint = opening.upstream.endpoint();
        let stream = ServerStream::connect(endpoint).await.map_err(|error| {
            OpenError::Unreachable(format!("cannot reach PostgreSQL at {endpoint}: {error}"))
        })?;
        let mut login = Login {
            stream,
            inbox: Inbox::new(),
            opening,
            scram: None,
            greeting: Vec::new(),
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
        let own: [(&[u8], &[u8]); 3] = [
            (b"user", &key.user),
            (b"database", &key.database),
            (b"application_name", APPLICATION_NAME),
        ];
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
                let (name, _) = parameter(body).map_err(|error| self.malformed(&error))?;
                if name != b"application_name" {
                    self.greeting.extend_from_slice(message);
                }
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
        let upstream = self.opening.upstream;
        let mut reply = Vec::new();
        match request {
            Authentication::Ok => return Ok(()),
            Authentication::CleartextPassword => {
                frontend::put_password(&mut reply, self.password("a password")?);
            }
            Authentication::Md5Password(salt) => {
                let password = self.password("an MD5 password")?;
                let hash = md5_hash(&self.opening.key.user, password, salt);
                frontend::put_password(&mut reply, hash.as_bytes());
            }
            Authentication::Sasl(mechanisms) if offers(mechanisms, wire::scram::MECHANISM) => {
                let password = self.password("a SCRAM password")?;
                let scram = ScramSha256::new(password, ChannelBinding::unsupported());
                let initial = frontend::SaslInitial {
                    mechanism: wire::scram::MECHANISM,
                    data: scram.message(),
                };
                initial.put(&mut reply);
                self.scram = Some(scram);
            }
            Authentication::SaslContinue(data) => {
                let endpoint = upstream.endpoint();
                let scram = self.scram.as_mut().ok_or_else(|| out_of_turn(endpoint))?;
                scram.update(data).map_err(|error| scram_failed(endpoint, &error))?;
                frontend::put_sasl_response(&mut reply, scram.message());
            }
            Authentication::SaslFinal(data) => {
                let endpoint = upstream.endpoint();
                let mut scram = self.scram.take().ok_or_else(|| out_of_turn(endpoint))?;
                return scram.finish(data).map_err(|error| scram_failed(endpoint, &error));
            }
            Authentication::Sasl(_) | Authentication::Other(_) => {
                return Err(OpenError::Unreachable(format!(
                    "PostgreSQL at {} asks for a kind of authentication that is not spoken here; \
                     trust, password, md5 and scram-sha-256 are",
                    upstream.endpoint()
                )));
            }
        }
        self.send(&reply).await
    }

    fn password(&self, what: &str) -> Result<&[u8], OpenError> {
        let upstream = self.opening.upstream;
        upstream.password().map(|secret| secret.reveal().as_bytes()).ok_or_else(|| {
            let (endpoint, user) = (upstream.endpoint(), upstream.user());
            OpenError::Unreachable(format!(
                "PostgreSQL at {endpoint} asks for {what} of user {user:?}, \
                 and the database URL has none"
            ))
        })
    }

    fn opened(self) -> Result<Opened, OpenError> {
        let Opening { key, worker, session, journal, upstream, .. } = self.opening;
        let Some(cancel_key) = self.cancel_key else {
            return Err(out_of_turn(upstream.endpoint()));
        };
        let slot = Slot::open(journal, cancel_key.pid, *session);
        let backend = Box::new(Backend {
            stream: self.stream,
            inbox: self.inbox,
            statements: ServerStatements::default(),
            cancel_key: Arc::new(cancel_key),
            key: Arc::clone(key),
            worker: *worker,
            slot,
        });
        Ok(Opened { backend, greeting: self.greeting })
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
                    let error = wire::Error::Length {
                        tag: piece.tag,
                        length: piece.total,
                        limit: LOGIN_MESSAGE_MAX,
                    };
                    return Err(self.malformed(&error));
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
        broken(self.opening.upstream.endpoint(), &error.to_string())
    }
}

fn broken(endpoint: &Endpoint, why: &str) -> OpenError {
    OpenError::Unreachable(format!("connection to PostgreSQL at {endpoint} broke at login: {why}"))
}

fn out_of_turn(endpoint: &Endpoint) -> OpenError {
    broken(endpoint, "the server left out a step")
}

fn scram_failed(endpoint: &Endpoint, error: &std::io::Error) -> OpenError {
    broken(endpoint, &format!("SCRAM: {error}"))
}
