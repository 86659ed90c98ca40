//! What a session has said so far that matters beyond its server connection of the moment.

use std::sync::Arc;

use sql::SessionEffect;
use trace::{
    BackendPid, DynoId, Event, Fingerprint, Micros, Outcome, PinCause, Request, RequestKind,
    SessionId, TransactionState,
};
use wire::frontend::{self, BindHead, Parse};

use super::block::Block;
use super::catalogue::{Reach, Reaches};
use super::names::Names;
use super::notice::notice;
use super::notify::Listening;
use super::plain::Begin;
use super::residue::{News, Pin, Residue};
use super::tidying::Tidying;
use crate::answer::Answer;
use crate::conversation::{Conversation, Times};
use crate::journal::{Reading, Scribe};
use crate::sequences::SequenceUser;
use crate::settings::{Registry, Reported, Settings};
use crate::statements::Statement;

/// Longest simple query that is read whole, in bytes. A longer one is relayed in pieces, and the
/// session is pinned, since what it does to its session was not read.
pub(super) const QUERY_MAX: usize = 16 << 20;

/// Longest `Parse` that is held whole, in bytes, as it must be to be prepared elsewhere.
pub(super) const PARSE_MAX: usize = 16 << 20;

/// Harmless statements that a session remembers; a power of two.
const HARMLESS_KEPT: usize = 8;

/// Statements that may be named in a notice, and how much of their text.
const MINDED_MAX: usize = 16;
const NOTICE_MAX: usize = 200;

/// Whether the client is told why it is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notices {
    On,
    Off,
}

/// Whether all has arrived that was notified before the message at hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mail {
    #[default]
    OnItsWay,
    AllHere,
}

/// What a transaction does to PostgreSQL's catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CatalogueUse {
    Unchanged,
    /// It has run DDL.
    Changed,
}

/// A session's side of the conversation.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) conversation: Conversation,
    pub(super) journal: Scribe,
    /// Its prepared statements.
    pub(super) names: Names,
    /// Its settings, as PostgreSQL confirmed them last, and those of its beginning.
    pub(super) settings: Arc<Settings>,
    pub(super) startup: Arc<Settings>,
    /// What it was told of them.
    pub(super) told: Arc<Reported>,
    /// Who it is on the server.
    pub(super) user: Box<[u8]>,
    /// What it may have left in its server connection.
    pub(super) residue: Residue,
    /// By which server connections know whose sequences they have used.
    pub(super) sequences: SequenceUser,
    /// Statements that were found harmless lately, and as of which version.
    harmless: [(Fingerprint, u64); HARMLESS_KEPT],
    /// Whether the transaction under way has changed the catalogue.
    pub(super) catalogue: CatalogueUse,
    /// Statements prepared under settings of a transaction.
    pub(super) tainted: Vec<Arc<Statement>>,
    pub(super) notices: Notices,
    /// Texts of the statements that may be named in a notice; kept only if it is wanted.
    minded: Vec<(Fingerprint, Box<str>)>,
    /// What the client is to be told next.
    pub(super) notice: Option<Box<Answer>>,
    pub(super) block: Block,
    /// The last `BEGIN` that was deferred, and what follows the name in its `Parse`.
    pub(super) begin: Option<(Begin, Box<[u8]>)>,
    pub(super) mail: Mail,
    /// Channels that a listener of ours hears for it.
    pub(super) listening: Option<Box<Listening>>,
    /// The reading of the next message, if it was looked at before its turn.
    pub(super) foreseen: Option<Reading>,
    /// A request was refused: the rest of its batch is not heard.
    pub(super) refusing: bool,
    fatal: bool,
    /// When the request came that got the present server connection.
    arrived: Option<Micros>,
    assigned: Micros,
    /// What goes to the server before the message at hand; kept for its memory.
    pub(super) inserted: Vec<u8>,
}

impl Talk {
    pub(super) fn new(conversation: Conversation, journal: Scribe, registry: &Registry) -> Self {
        let settings = registry.only_name(b"");
        Self {
            conversation,
            journal,
            names: Names::default(),
            startup: Arc::clone(&settings),
            settings,
            told: Arc::default(),
            user: Box::default(),
            residue: Residue::default(),
            sequences: SequenceUser::default(),
            harmless: [(Fingerprint::NONE, 0); HARMLESS_KEPT],
            catalogue: CatalogueUse::Unchanged,
            tainted: Vec::new(),
            notices: Notices::Off,
            minded: Vec::new(),
            notice: None,
            block: Block::Closed,
            begin: None,
            mail: Mail::default(),
            listening: None,
            foreseen: None,
            refusing: false,
            fatal: false,
            arrived: None,
            assigned: Micros::ZERO,
            inserted: Vec::new(),
        }
    }

    pub(super) fn who(&self) -> (SessionId, DynoId) {
        (self.conversation.session(), self.conversation.dyno())
    }

    /// A request has come that needs a server connection.
    pub(super) fn arrives(&mut self, at: Micros) {
        self.arrived = Some(at);
    }

    /// The session has a server connection.
    pub(super) fn assigned(&mut self, backend: BackendPid, at: Micros) {
        self.assigned = at;
        self.conversation.set_backend(backend);
        self.journal.card.holds(backend, self.assigned);
    }

    /// Since when the session waits for a server connection, if it does.
    pub(super) fn waits_since(&self) -> Micros {
        self.arrived.unwrap_or_else(|| self.journal.now())
    }

    /// Since when it has its present server connection.
    pub(super) fn assigned_at(&self) -> Micros {
        self.assigned
    }

    /// The times of a message that is judged now.
    pub(super) fn times(&mut self, now: Micros) -> Times {
        let arrived = self.arrived.take().unwrap_or(now);
        let assigned = self.assigned.max(arrived);
        Times { arrived, assigned, sent: now.max(assigned) }
    }

    /// The server has said that it ends the connection.
    pub(super) fn hear_fatal(&mut self) {
        self.fatal = true;
    }

    pub(super) fn heard_fatal(&self) -> bool {
        self.fatal
    }

    /// Records what was never answered.
    pub(super) fn give_up(&mut self, outcome: Outcome) {
        while let Some(request) = self.conversation.give_up(outcome, self.journal.now()) {
            self.journal.request(request);
        }
    }

    /// Whether a statement is known to do nothing to its session but what its text says, as of
    /// this version of what is known.
    #[inline]
    pub(super) fn is_harmless(&self, statement: Fingerprint, version: u64) -> bool {
        self.harmless[place(statement)] == (statement, version)
    }

    /// Notes what a statement that is about to run may leave behind: by its text, and by what it
    /// reaches.
    /// `true` if it may run users' functions.
    pub(super) fn mind(&mut self, reading: Reading, text: &[u8], reaches: &Reaches) -> bool {
        let version = reaches.version();
        let reach = reaches.of(reading.fingerprint, text);
        if reach == Reach::Harmless {
            self.harmless[place(reading.fingerprint)] = (reading.fingerprint, version);
        }
        let at = self.journal.now();
        self.residue.note_reach(&reach, (reading.fingerprint, at));
        let runs_functions = matches!(reach, Reach::Functions(_));
        let is_likely = runs_functions || !reading.effects.is_empty();
        if is_likely {
            self.residue.note_likely();
        }
        let effects = match reach {
            Reach::Harmless => reading.effects,
            Reach::Unproven | Reach::Functions(_) | Reach::Unknown => {
                reading.effects.with(SessionEffect::Anything)
            }
        };
        self.note_effects(Reading { effects, ..reading }, text);
        runs_functions
    }

    fn note_effects(&mut self, reading: Reading, text: &[u8]) {
        if matches!(reading.kind, sql::Kind::Rollback | sql::Kind::Savepoint) {
            self.residue.note_rollback();
        }
        if reading.effects.is_empty() {
            return;
        }
        if self.notices == Notices::On {
            self.keep_text(reading.fingerprint, text);
        }
        let settings = || sql::settings(&String::from_utf8_lossy(text));
        let at = self.journal.now();
        self.residue.note(reading.effects, (reading.fingerprint, at), settings);
        if reading.effects.has(SessionEffect::Unknown) {
            self.pin(PinCause::Unknown, reading.fingerprint);
        }
        self.tell_pin();
    }

    /// Keeps the text of a statement that may be named in a notice.
    fn keep_text(&mut self, statement: Fingerprint, text: &[u8]) {
        if self.minded.iter().any(|(known, _)| *known == statement) {
            return;
        }
        if self.minded.len() >= MINDED_MAX {
            self.minded.remove(0);
        }
        let mut text = sql::normalise(&String::from_utf8_lossy(text));
        text.truncate(text.floor_char_boundary(NOTICE_MAX));
        self.minded.push((statement, text.into()));
    }

    /// From now on the session keeps its server connection: what was done cannot be asked about.
    pub(super) fn pin(&mut self, cause: PinCause, statement: Fingerprint) {
        let since = self.journal.now();
        self.residue.seal(Pin { since, cause, statement });
        self.tell_pin();
    }

    /// Records a pin that is new, or gone, and tells the client if it wants to know.
    pub(super) fn tell_pin(&mut self) {
        let Some(news) = self.residue.news() else { return };
        let session = self.conversation.session();
        let News::Pinned(Pin { since, cause, statement }) = news else {
            self.journal.record(Event::SessionUnpinned { at: self.journal.now(), session });
            return;
        };
        self.journal.record(Event::SessionPinned { at: since, session, cause, statement });
        if self.notices == Notices::On {
            let text = self.minded.iter().find(|(known, _)| *known == statement);
            self.notice = Some(Box::new(notice(cause, text.map(|(_, text)| &**text))));
        }
    }

    /// The reading of the statement that a message names or contains.
    pub(super) fn reading_of(&self, tag: u8, body: &[u8]) -> Option<Reading> {
        match tag {
            frontend::tag::QUERY => Some(self.journal.read(frontend::text_head(body))),
            frontend::tag::PARSE => {
                Parse::read(body).ok().map(|parse| self.journal.read(parse.query))
            }
            frontend::tag::BIND => match BindHead::read(body)?.statement {
                [] => self.names.unnamed().map(|unnamed| unnamed.reading),
                name => self.names.get(name).map(|statement| statement.reading),
            },
            _ => None,
        }
    }

    /// Records a request that was not relayed, and is over now. One that failed waited for a server
    /// connection until its end.
    pub(super) fn record_local(
        &mut self,
        kind: RequestKind,
        statement: Fingerprint,
        (bytes_in, bytes_out): (usize, usize),
        outcome: Outcome,
    ) {
        let now = self.journal.now();
        let arrived = self.arrived.take().unwrap_or(now);
        let assigned = if outcome.is_ok() { self.assigned.max(arrived) } else { now };
        let bytes = |count| u32::try_from(count).unwrap_or(u32::MAX);
        self.journal.request(Request {
            session: self.conversation.session(),
            dyno: self.conversation.dyno(),
            kind,
            statement,
            backend: BackendPid::NONE,
            arrived,
            assigned,
            sent: assigned,
            first_byte: now,
            done: now,
            bytes_in: bytes(bytes_in),
            bytes_out: bytes(bytes_out),
            rows: 0,
            outcome,
            blame: outcome.blame(),
            transaction: self.transaction(),
        });
    }

    /// Does what `DEALLOCATE` and `DISCARD ALL` ask for where they concern only the session's
    /// names, which the server does not know by these names; gives the command tag to answer with.
    ///
    /// Not while answers are due, nor in a failed transaction, where the server must refuse. Where
    /// settings go back too, the caller must have a server connection to change.
    pub(super) fn tidy_up(
        &mut self,
        text: &[u8],
        place: Place,
    ) -> Option<(&'static [u8], Fingerprint)> {
        let state = self.transaction();
        if !self.conversation.is_quiet() || state == TransactionState::Failed {
            return None;
        }
        let done: &[u8] = match Tidying::read(text)? {
            Tidying::One(name) => {
                if !self.names.remove(name.as_bytes()) {
                    return None;
                }
                // "A simple Query message also destroys the unnamed statement."
                self.names.drop_unnamed();
                b"DEALLOCATE"
            }
            // A pinned session has more in its server connection than names.
            Tidying::AllStatements | Tidying::Everything if !self.residue.is_clean() => {
                return None;
            }
            // Refused in a transaction block: the server says so.
            Tidying::Everything if state != TransactionState::Idle => return None,
            // Custom settings stay known, without a value.
            Tidying::Everything if self.settings.has_custom() => return None,
            Tidying::AllStatements => {
                self.names.clear();
                b"DEALLOCATE ALL"
            }
            Tidying::Everything => {
                if !Arc::ptr_eq(&self.settings, &self.startup) {
                    if place == Place::WithoutServer {
                        return None;
                    }
                    self.settings = Arc::clone(&self.startup);
                }
                self.names.clear();
                self.sequences = SequenceUser::default();
                if let Some(own) = &mut self.listening {
                    own.leave(None);
                }
                b"DISCARD ALL"
            }
        };
        Some((done, self.journal.read(text).fingerprint))
    }
}

/// Where a statement is remembered.
fn place(statement: Fingerprint) -> usize {
    usize::try_from(statement.0 % HARMLESS_KEPT as u64).unwrap_or(0)
}

/// Where a session is when it tidies up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    OnServer,
    WithoutServer,
}
