//! A server connection of `regulate` mode: opened, logged in to, cancelled, closed.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use trace::{BackendPid, Event, Micros, SessionId, SqlState};
use wire::backend::tag;
use wire::frontend;

use crate::Upstream;
use crate::access::Credential;
use crate::answer::Answer;
use crate::buffer::Inbox;
use crate::journal::Journal;
use crate::pool::{Key, Kinds};
use crate::sequences::{Owner, SequenceUser, SequencesOf};
use crate::settings::{CustomNames, Registry, Reported, Settings, Way};
use crate::statements::ServerStatements;
use crate::stream::Stream;
use crate::timer::timeout;

mod ask;
mod login;
mod outdated;

use login::Login;
pub(crate) use outdated::Outdated;

/// How long a cancel request may take, and a backend to end after it was told to.
const PARTING: Duration = Duration::from_secs(5);

/// Longest message that is read as an answer to our own queries: a row with a name and a password
/// of 64 KiB (`auth_query`) is one.
const OWN_MESSAGE_MAX: usize = 128 * 1024;

/// What a cancel request must name.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CancelKey {
    pub(crate) pid: BackendPid,
    secret: Box<[u8]>,
}

impl CancelKey {
    pub(crate) fn new(pid: i32, secret: &[u8]) -> Self {
        Self { pid: BackendPid(pid), secret: secret.into() }
    }
}

impl std::fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelKey").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// A server connection.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) stream: Stream,
    pub(crate) inbox: Inbox,
    pub(crate) state: ServerState,
    pub(crate) cancel_key: Arc<CancelKey>,
    key: Arc<Key>,
    worker: usize,
    /// Since when it is idle.
    pub(crate) rested: Micros,
    /// Whether it serves no further transaction.
    pub(crate) outdated: Outdated,
    /// When it was last asked for its settings, and what it answered then.
    pub(crate) asked: AskedSettings,
    /// Last, so that the socket is closed before its end is recorded.
    slot: Slot,
}

/// What the backend has in its memory, for whichever session.
#[derive(Debug)]
pub(crate) struct ServerState {
    pub(crate) statements: ServerStatements,
    /// Its settings; `None` once they are not known any more.
    settings: Option<Arc<Settings>>,
    /// Custom settings that were ever set there.
    custom: CustomNames,
    /// What it has said of them.
    pub(crate) reported: Arc<Reported>,
    /// Whose sequences it knows.
    pub(crate) sequences: SequencesOf,
}

impl ServerState {
    /// Of a new server connection.
    pub(crate) fn new(settings: Arc<Settings>, reported: Arc<Reported>) -> Self {
        Self {
            statements: ServerStatements::default(),
            settings: Some(settings),
            custom: CustomNames::default(),
            reported,
            sequences: SequencesOf::default(),
        }
    }

    /// Its settings, if they are known.
    pub(crate) fn settings(&self) -> Option<&Arc<Settings>> {
        self.settings.as_ref()
    }

    /// The custom settings that were ever set there.
    pub(crate) fn custom(&self) -> &CustomNames {
        &self.custom
    }

    /// It has these settings now; none if they are not known any more.
    pub(crate) fn set_settings(&mut self, settings: Option<Arc<Settings>>) {
        if let Some(settings) = &settings {
            self.custom.add_all(settings);
        }
        self.settings = settings;
    }
}

/// What a backend has told of its settings, so that what cannot have changed is not asked again.
#[derive(Debug, Default)]
pub(crate) struct AskedSettings {
    pub(crate) at: Micros,
    /// When it had read the configuration files.
    pub(crate) loaded: Box<str>,
    /// The hash of what a new session would be told of the settings in them.
    pub(crate) values: Box<str>,
}

/// A slot of the server: its end is recorded when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    pid: BackendPid,
    /// Its number on the roster: later ones have higher numbers.
    number: u64,
    journal: Arc<Journal>,
}

impl Slot {
    /// Records that the slot was taken.
    pub(crate) fn open(journal: &Arc<Journal>, pid: BackendPid, session: SessionId) -> Self {
        let at = journal.now();
        journal.record(Event::ServerOpened { at, backend: pid, session });
        let number = journal.roster.server_opened(pid, session, at);
        Self { pid, number, journal: Arc::clone(journal) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let at = self.journal.now();
        self.journal.record(Event::ServerClosed { at, backend: self.pid });
        self.journal.roster.server_closed(self.number);
    }
}

/// Why a server connection could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// Nothing answered, or not in time, or it hung up.
    Unreachable(String),
    /// It cannot be talked to: not PostgreSQL, or it asks for what is not to be had.
    Impossible(String),
    /// PostgreSQL said no.
    Refused(SqlState, String),
}

impl OpenError {
    /// What the client is told.
    pub(crate) fn answer(&self) -> Answer {
        match self {
            Self::Unreachable(text) | Self::Impossible(text) => {
                Answer::new(SqlState::CONNECTION_FAILURE, format!("surgetank: {text}"))
            }
            Self::Refused(code, words) => Answer::new(*code, words.clone()),
        }
    }

    /// Whether waiting may help: PostgreSQL does not answer, has no room just now (53300), is
    /// starting up or shutting down (57P03), or shut down in the middle of the login.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Impossible(_) => false,
            Self::Refused(code, _) => matches!(
                *code,
                SqlState::TOO_MANY_CONNECTIONS
                    | SqlState::CANNOT_CONNECT_NOW
                    | SqlState::ADMIN_SHUTDOWN
                    | SqlState::CRASH_SHUTDOWN
            ),
        }
    }
}

/// For whom a server connection is opened, and how.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) upstream: &'a Upstream,
    /// What proves that we are `key.user`.
    pub(crate) credential: &'a Credential,
    pub(crate) limit: Duration,
    pub(crate) key: &'a Arc<Key>,
    pub(crate) worker: usize,
    pub(crate) session: SessionId,
    pub(crate) journal: &'a Arc<Journal>,
    pub(crate) settings: &'a Registry,
}

impl Backend {
    /// Connects and logs in.
    pub(crate) async fn open(opening: Opening<'_>) -> Result<Box<Self>, OpenError> {
        let endpoint = opening.upstream.endpoint();
        match timeout(opening.limit, Login::run(&opening)).await {
            Ok(result) => result,
            Err(_) => Err(OpenError::Unreachable(format!(
                "PostgreSQL at {endpoint} did not answer within {:?}",
                opening.limit
            ))),
        }
    }

    /// Makes the connection ready to be used by a worker; `None` if it broke while it was idle.
    pub(crate) fn adopt(mut self: Box<Self>, worker: usize) -> Option<Box<Self>> {
        if !self.check_idle() {
            return None;
        }
        if self.worker == worker {
            return Some(self);
        }
        let this = *self;
        Some(Box::new(Self { stream: this.stream.migrate().ok()?, worker, ..this }))
    }

    /// Its number: later ones have higher numbers.
    pub(crate) fn number(&self) -> u64 {
        self.slot.number
    }

    /// What sessions it can serve.
    pub(crate) fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// When the server was heard last on it.
    pub(crate) fn heard(&self) -> Micros {
        self.rested.max(self.asked.at)
    }

    /// Looks at what the server said while nobody asked: `false` if it has ended the connection, or
    /// is about to. Costs no system call while it is silent.
    pub(crate) fn check_idle(&mut self) -> bool {
        if !self.stream.seems_readable() {
            return true;
        }
        let mut context = Context::from_waker(Waker::noop());
        loop {
            match self.inbox.poll_fill(&mut context, &mut self.stream) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return false,
                // Notices and parameters stay in the inbox, for the next session to see.
                Poll::Pending => return !self.inbox.holds(tag::ERROR_RESPONSE),
            }
        }
    }

    /// Sends messages of our own.
    pub(crate) async fn send(&mut self, messages: &[u8]) -> Result<(), OpenError> {
        let sent = self.stream.write_all(messages).await;
        sent.map_err(|error| OpenError::Unreachable(error.to_string()))
    }

    /// The server's next message to us.
    pub(crate) async fn receive(&mut self) -> Result<Vec<u8>, OpenError> {
        let broken = |text: String| OpenError::Unreachable(text);
        loop {
            let step = self.inbox.step(|_, total| total.min(OWN_MESSAGE_MAX));
            if let Some(piece) = step.map_err(|error| broken(error.to_string()))? {
                if piece.len < piece.total {
                    return Err(broken("the answer is too long".to_owned()));
                }
                let message = self.inbox.peek(piece.len).to_vec();
                self.inbox.discard(piece.len);
                return Ok(message);
            }
            let (inbox, stream) = (&mut self.inbox, &mut self.stream);
            match poll_fn(|cx| inbox.poll_fill(cx, stream)).await {
                Ok(0) => return Err(broken("closed by the server".to_owned())),
                Ok(_) => {}
                Err(error) => return Err(broken(error.to_string())),
            }
        }
    }

    /// Ends the connection and waits until the backend is gone, so that its slot is free:
    /// PostgreSQL leaves closing the socket to the end of the process. A backend that does not
    /// notice in time (it may be deep in a query) is left to itself.
    pub(crate) async fn close(mut self: Box<Self>) {
        let farewell = async {
            let mut message = Vec::new();
            frontend::put_bare(&mut message, frontend::tag::TERMINATE);
            // One try: a server that takes nothing just now need not be told so politely.
            let _ = poll_fn(|cx| Poll::Ready(Pin::new(&mut self.stream).poll_write(cx, &message)))
                .await;
            // If a message was broken off, the farewell is the middle of it, and the server waits
            // for the rest: this ends it.
            self.stream.shutdown().await?;
            // Not an array: it would be part of every session, though few ever come here.
            let mut scratch = vec![0; 4096];
            while self.stream.read(&mut scratch).await? > 0 {}
            std::io::Result::Ok(())
        };
        // However it fails, the connection is gone afterwards.
        let _ = timeout(PARTING, farewell).await;
    }
}

impl Kinds for Box<Backend> {
    fn fits(&self, key: &Key) -> bool {
        *self.key == *key
    }

    fn way_to(&self, settings: &Settings) -> Way {
        let own = self.state.settings.as_ref();
        own.map_or(Way::Awaited, |own| own.way_to(settings, &self.state.custom))
    }

    fn knows_others_settings(&self, settings: &Settings) -> bool {
        settings.lacks_any(&self.state.custom)
    }

    fn sequences_of(&self, user: &SequenceUser) -> Owner {
        self.state.sequences.owner(user)
    }

    fn worker(&self) -> usize {
        self.worker
    }
}

/// Sends a cancel request and waits until it was delivered: the server closes the connection once
/// it has signalled the backend.
pub(crate) async fn cancel(upstream: &Upstream, key: &CancelKey) {
    let mut packet = Vec::new();
    wire::startup::put_cancel(&mut packet, key.pid.0, &key.secret);
    let delivery = async {
        let mut stream = upstream.connect().await?;
        stream.write_all(&packet).await?;
        let mut scratch = [0; 16];
        while stream.read(&mut scratch).await? > 0 {}
        std::io::Result::Ok(())
    };
    // "The server does not tell whether it was successful"; nor can we.
    let _ = timeout(PARTING, delivery).await;
}
