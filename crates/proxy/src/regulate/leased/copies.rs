//! Sees to it that the server connection has the statements that the client names.

use std::sync::Arc;

use trace::SqlState;
use wire::backend::tag as reply;
use wire::frontend::{self, Parse, Target, tag};

use super::{Fate, Leased};
use crate::answer::Answer;
use crate::conversation::{Expect, Shown, Times, Within};
use crate::journal::Reading;
use crate::statements::{
    self, CLIENT_STATEMENTS_MAX, CopyNumber, CopyState, OUR_PREFIX, ServerCopy, Statement,
    UnnamedOnServer, same_result,
};

/// A statement that no server connection has. A `Bind` of it fails.
pub(super) const NO_STATEMENT: &[u8] = b"surgetank_refused";

/// Longest description that is read; the result of a statement with a longer one is not checked.
pub(super) const DESCRIPTION_MAX: usize = 1 << 20;

/// Copies that wait to be closed before they are, even if no statement is prepared.
const SURPLUS_MAX: usize = 32;

/// Where the statement of a name is.
pub(super) enum Brought {
    /// The server connection has this copy of it.
    Copy(Reading, ServerCopy),
    /// The server connection has it under the client's own name.
    OwnName(Reading),
    /// That is seen only once the server has answered.
    Wait,
    /// The client gets an error of ours.
    Refused,
    /// The session has no such statement.
    Unknown,
}

/// A description that is due, of which the client sees nothing.
pub(super) struct Description {
    statement: Arc<Statement>,
    copy: CopyNumber,
    /// The types of its parameters, once they are told.
    parameters: Vec<u8>,
}

impl Leased<'_> {
    /// A `Parse` with a name.
    pub(super) fn parse_named(
        &mut self,
        parse: &Parse<'_>,
        content: &[u8],
        reading: Reading,
        times: Times,
    ) -> Fate {
        if self.has_own_names() {
            self.expect(Expect::Parse(None, Shown::Client), times);
            if self.talk.names.get(parse.name).is_none() {
                let statement = self.new_statement(content, reading);
                self.talk.names.set_later(parse.name, Some(statement));
                self.talk.conversation.changes_name();
            }
            self.talk.conversation.name(reading.fingerprint);
            return Fate::Pass;
        }
        if self.talk.names.get(parse.name).is_some() {
            return self.parse_taken(parse.name, content, times);
        }
        if !self.talk.names.has_room() {
            let text = format!(
                "surgetank: the session has too many prepared statements ({CLIENT_STATEMENTS_MAX})"
            );
            self.refuse(Answer::new(SqlState(*b"54000"), text), times);
            return Fate::Drop;
        }
        let statement = self.new_statement(content, reading);
        self.send_parse(&statement, content, CopyState::Sent, times, Shown::Client);
        self.talk.names.set_later(parse.name, Some(Arc::clone(&statement)));
        self.talk.conversation.changes_name();
        self.send_describe(times);
        self.talk.conversation.name(reading.fingerprint);
        Fate::Drop
    }

    /// A `Parse` with a name that the session has given already: PostgreSQL judges the statement
    /// first, and then says so.
    fn parse_taken(&mut self, name: &[u8], content: &[u8], times: Times) -> Fate {
        match self.bring_named(name, times) {
            Brought::Copy(_, copy) => {
                statements::put_parse(&mut self.talk.inserted, copy.name.as_bytes(), content);
                self.expect(Expect::Parse(None, Shown::Client), times);
                Fate::Drop
            }
            Brought::Wait => Fate::Hold,
            Brought::Refused | Brought::OwnName(_) | Brought::Unknown => Fate::Drop,
        }
    }

    fn new_statement(&self, content: &[u8], reading: Reading) -> Arc<Statement> {
        let meaning = self.talk.settings.meaning();
        self.house.statements.parsed(content, meaning, reading)
    }

    /// Sees to it that the server has the session's statement of this name.
    pub(super) fn bring_named(&mut self, name: &[u8], times: Times) -> Brought {
        if self.talk.names.is_open(name) {
            return Brought::Wait;
        }
        let Some(statement) = self.talk.names.get(name) else {
            return self.unknown(name, times);
        };
        let reading = statement.reading;
        if self.has_own_names() {
            return Brought::OwnName(reading);
        }
        let (id, parsed) = (statement.id(), statement.parsed());
        if !self.take_own_names(reading.effects, times) {
            return Brought::Wait;
        }
        if self.has_own_names() {
            return Brought::OwnName(reading);
        }
        let Some(copy) = self.server.statements.find(id, parsed) else {
            return self.prepare_anew(name, times);
        };
        match copy.state {
            CopyState::Ready => Brought::Copy(reading, copy),
            CopyState::Sent => {
                match self.talk.conversation.preparing(Some(copy.number)) {
                    // An error in that batch would not keep the client's request from running.
                    Some(Within::EarlierBatch) => Brought::Wait,
                    Some(Within::ThisBatch) | None => Brought::Copy(reading, copy),
                }
            }
            CopyState::Unchecked => Brought::Wait,
            CopyState::Changed => {
                self.server.statements.remove(id);
                let text = "cached plan must not change result type";
                let answer = Answer::new(SqlState::FEATURE_NOT_SUPPORTED, text);
                self.refuse(answer.raised_by("RevalidateCachedQuery"), times);
                Brought::Refused
            }
        }
    }

    /// PostgreSQL says that there is no such statement; but not of a name that may be ours.
    fn unknown(&mut self, name: &[u8], times: Times) -> Brought {
        if self.has_own_names() || !name.starts_with(OUR_PREFIX.as_bytes()) {
            return Brought::Unknown;
        }
        let name = String::from_utf8_lossy(name);
        let text = format!("prepared statement \"{name}\" does not exist");
        self.refuse(Answer::new(SqlState(*b"26000"), text), times);
        Brought::Refused
    }

    /// Prepares a statement that the server connection lacks. If it has a result, the client's
    /// request waits until it is seen to be the one that the client was told of.
    fn prepare_anew(&mut self, name: &[u8], times: Times) -> Brought {
        let Some(known) = self.talk.names.get(name).cloned() else { return Brought::Unknown };
        let meaning = self.talk.settings.meaning();
        let statement = if known.meaning() == meaning {
            known
        } else {
            // Prepared now, it will mean what the session's present settings make of it.
            let other = self.house.statements.with_meaning(&known, meaning);
            self.talk.names.replace(name, &other);
            other
        };
        let has_result = statement.columns().is_some();
        let state = if has_result { CopyState::Unchecked } else { CopyState::Sent };
        let copy = self.send_parse(&statement, statement.content(), state, times, Shown::Nobody);
        self.send_describe(times);
        if has_result {
            frontend::put_bare(&mut self.talk.inserted, tag::FLUSH);
            return Brought::Wait;
        }
        Brought::Copy(statement.reading, copy)
    }

    fn send_parse(
        &mut self,
        statement: &Arc<Statement>,
        content: &[u8],
        state: CopyState,
        times: Times,
        shown: Shown,
    ) -> ServerCopy {
        // One that a client prepares itself has its number already.
        let parsed = match shown {
            Shown::Client => statement.parsed(),
            Shown::Nobody => self.house.statements.next_parse(),
        };
        let copy = self.server.statements.add(statement.id(), parsed, state);
        self.close_surplus(times);
        statements::put_parse(&mut self.talk.inserted, copy.name.as_bytes(), content);
        self.expect(Expect::Parse(Some(copy.number), shown), times);
        if self.talk.residue.is_meaning_open() {
            self.talk.tainted.push(Arc::clone(statement));
        }
        let (statement, parameters) = (Arc::clone(statement), Vec::new());
        self.descriptions.push_back(Description { statement, copy: copy.number, parameters });
        copy
    }

    /// Asks PostgreSQL what it made of the statement that was sent last.
    fn send_describe(&mut self, times: Times) {
        let Some(Description { copy, .. }) = self.descriptions.back() else { return };
        let target = copy.name();
        Target::Statement(target.as_bytes()).put_describe(&mut self.talk.inserted);
        self.expect(Expect::Describe(Shown::Nobody), times);
    }

    fn close_surplus(&mut self, times: Times) {
        for copy in self.server.statements.take_surplus() {
            copy.put_close(&mut self.talk.inserted);
            self.expect(Expect::Close(Some(copy), Shown::Nobody), times);
        }
    }

    /// Closes copies that nobody uses any more, if they are many.
    pub(super) fn close_much_surplus(&mut self, times: Times) {
        if self.server.statements.surplus() > SURPLUS_MAX {
            self.close_surplus(times);
        }
    }

    /// Lets the batch fail on the server, with this error for the client.
    pub(super) fn refuse(&mut self, answer: Answer, times: Times) {
        frontend::put_bind(&mut self.talk.inserted, NO_STATEMENT);
        self.expect(Expect::Refused, times);
        self.refusals.push_back(answer);
    }

    /// Sees to it that the server's unnamed statement is this session's: its own, or none. `false`
    /// if the server must answer an earlier batch first, on which that depends.
    pub(super) fn bring_unnamed(&mut self, times: Times) -> bool {
        let conversation = &self.talk.conversation;
        let is_behind = conversation.is_behind();
        if self.talk.names.is_open(b"")
            || (is_behind && conversation.preparing(None) == Some(Within::EarlierBatch))
        {
            return false;
        }
        let on_server = self.server.statements.unnamed;
        match self.talk.names.unnamed() {
            Some(unnamed) if on_server == UnnamedOnServer::Of(unnamed.id) => {}
            Some(unnamed) => {
                if let Some(content) = &unnamed.content {
                    statements::put_parse(&mut self.talk.inserted, b"", content);
                    self.server.statements.unnamed = UnnamedOnServer::Of(unnamed.id);
                    self.expect(Expect::Parse(None, Shown::Nobody), times);
                }
            }
            // An error in an earlier batch may leave another session's there.
            None if on_server == UnnamedOnServer::Free && !is_behind => {}
            None => {
                Target::Statement(b"").put_close(&mut self.talk.inserted);
                self.server.statements.unnamed = UnnamedOnServer::Free;
                self.expect(Expect::Close(None, Shown::Nobody), times);
            }
        }
        true
    }

    /// Hears a message of a description that the client has not asked for. `content` is empty if
    /// it is too long to be read.
    pub(super) fn hear_description(&mut self, message: u8, content: &[u8]) {
        if message == reply::PARAMETER_DESCRIPTION {
            if let Some(description) = self.descriptions.front_mut() {
                description.parameters = content.to_vec();
            }
            return;
        }
        let Some(Description { statement, copy, parameters }) = self.descriptions.pop_front()
        else {
            return;
        };
        let columns = if message == reply::ROW_DESCRIPTION { content } else { &[] };
        let is_changed = statement.columns().is_some_and(|told| !same_result(told, columns));
        let is_unread = message == reply::ROW_DESCRIPTION && content.is_empty();
        if !is_unread && !parameters.is_empty() {
            self.house.statements.describe(&statement, &parameters, columns);
        }
        let state = match is_changed && !is_unread {
            true => CopyState::Changed,
            false => CopyState::Ready,
        };
        self.server.statements.described(copy, statement.id(), state);
    }

    /// An error in which our name of a statement stands, with the client's in its place.
    pub(super) fn with_own_name(&self, message: &str) -> Option<String> {
        let quoted = format!("\"{OUR_PREFIX}");
        let (before, rest) = message.split_once(&quoted)?;
        let (digits, after) = rest.split_once('"')?;
        let id = self.server.statements.statement_of(CopyNumber::parse(digits)?)?;
        let (name, _) = self.talk.names.iter().find(|(_, statement)| statement.id() == id)?;
        Some(format!("{before}\"{}\"{after}", String::from_utf8_lossy(name)))
    }
}
