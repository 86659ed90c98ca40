//! Asides: queries of the proxy's own, between those of the client, whose answers nobody is shown.
//!
//! * *Align*: before the client is heard, the server connection gets the session's settings.
//! * *Rename*: after a `RESET`, the session is called again what it called itself at its start.
//! * *Ask*: after a transaction, PostgreSQL is asked what it has left behind.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wire::Piece;
use wire::backend::{self, Report, tag as reply};
use wire::cursor::Cursor;
use wire::frame::body;
use wire::frontend;

use trace::{SqlState, TransactionState};

use super::{AsksAlong, Leased, Repeat, Replies};
use crate::answer::Answer;
use crate::buffer::{Inbox, Outbox};
use crate::conversation::Shown;
use crate::regulate::question::{Answers, Question};
use crate::regulate::talk::Talk;
use crate::settings::{APPLICATION_NAME, OUR_NAME, Settings, put_quoted, steps};
use crate::statements::UnnamedOnServer;

/// What a query of ours is for.
#[derive(Debug)]
pub(super) enum Aside {
    /// The server connection has these settings afterwards; if a request depends on that, it waits.
    Align { then: Arc<Settings>, decides: bool },
    /// The session has its name of the beginning again.
    Rename,
    /// The question that `Residue` holds.
    Ask(Answers),
    /// Something is done for the session's next statement: one is prepared under its own name, or
    /// another session's sequences are forgotten.
    Prepare,
    /// Which of the session's own names are left.
    NamesLeft,
}

impl Leased<'_> {
    /// The session has just got the server connection: makes it the session's own.
    pub(in crate::regulate) fn begin(&mut self, to_server: &mut Outbox, to_client: &mut Outbox) {
        let told = to_client.len();
        if self.is_aligned() {
            self.tell(|write| write(to_client.bytes()));
        } else {
            self.align(to_server.bytes());
        }
        // What was said once is not said again, to another server.
        if self.soon.is_some() || to_client.len() != told {
            self.repeat = Repeat::No;
        }
    }

    fn is_aligned(&self) -> bool {
        self.server.settings().is_some_and(|own| Arc::ptr_eq(own, &self.talk.settings))
    }

    /// Asks for the session's settings, as far as the server connection has others.
    pub(super) fn align(&mut self, out: &mut Vec<u8>) {
        let Some(own) = self.server.settings().cloned() else { return };
        for step in steps(&own, &self.talk.settings, self.server.custom()) {
            let then = self.house.settings.settings(step.then);
            self.say(out, &step.query, Aside::Align { then, decides: step.decides });
        }
    }

    /// A request was sent whole. If it is alone and no transaction is open, what it leaves behind
    /// is asked in the same write; if it opens one, that is asked again.
    pub(super) fn ask_along(&mut self, client: &mut Inbox, to_server: &mut Outbox) {
        let asks = std::mem::replace(&mut self.asks_along, AsksAlong::Nothing);
        let conversation = &self.talk.conversation;
        let is_alone = conversation.is_alone() && !conversation.is_ahead();
        if asks != AsksAlong::Yes
            || !is_alone
            || !self.asides.is_empty()
            || conversation.transaction() != TransactionState::Idle
        {
            return;
        }
        if let Some(text) = self.question() {
            client.settle(to_server);
            self.say(to_server.bytes(), &text, Aside::Ask(Answers::default()));
        }
    }

    /// What is to be asked now, if anything.
    fn question(&mut self) -> Option<Vec<u8>> {
        let Talk { residue, settings, journal, .. } = &mut *self.talk;
        residue.ask(settings, || journal.now()).map(Question::text)
    }

    pub(super) fn say(&mut self, out: &mut Vec<u8>, query: &[u8], aside: Aside) {
        frontend::put_query(out, query);
        // "A simple Query message also destroys the unnamed statement."
        self.server.statements.unnamed = UnnamedOnServer::Free;
        self.talk.conversation.aside();
        self.asides.push_back(aside);
    }

    /// All that was judged is sent. If nothing is under way, says what is to be said before the
    /// server connection can be given back; `true` if nothing is.
    pub(super) fn wind_up(&mut self, to_server: &mut Outbox) -> bool {
        let conversation = &self.talk.conversation;
        if !conversation.is_quiet() || conversation.transaction() == TransactionState::Failed {
            return false;
        }
        if self.unfit.is_some() || self.needs.is_some() {
            return true;
        }
        if self.talk.residue.take_renames() {
            self.rename(to_server.bytes());
        }
        if self.talk.conversation.transaction() != TransactionState::Idle {
            return false;
        }
        if let Some(text) = self.question() {
            self.say(to_server.bytes(), &text, Aside::Ask(Answers::default()));
        }
        for statement in self.talk.tainted.drain(..) {
            self.server.statements.remove(statement.id());
        }
        self.talk.residue.is_clean()
            && self.talk.conversation.may_release()
            && !self.give_own_names_back(to_server.bytes())
    }

    /// `RESET application_name` gave the session our name, if it was run.
    fn rename(&mut self, out: &mut Vec<u8>) {
        let name = self.talk.startup.get(APPLICATION_NAME).unwrap_or_default();
        let mut query = b"SELECT pg_catalog.set_config('application_name', ".to_vec();
        put_quoted(&mut query, name);
        query.extend_from_slice(
            b", false) WHERE pg_catalog.current_setting('application_name') \
              OPERATOR(pg_catalog.=) ",
        );
        put_quoted(&mut query, OUR_NAME);
        self.say(out, &query, Aside::Rename);
    }

    /// Whether the client must wait for an aside: its next request may need other settings, or no
    /// server connection at all.
    pub(super) fn holds_back(&self) -> bool {
        self.asides.iter().any(|aside| match aside {
            Aside::Align { decides, .. } => *decides,
            Aside::Ask(_) | Aside::NamesLeft => true,
            Aside::Rename | Aside::Prepare => false,
        })
    }

    /// Hears a message of the answer to an aside.
    pub(super) fn hear_aside(&mut self, piece: Piece, message: &[u8]) -> Shown {
        let content = body(message);
        match piece.tag {
            reply::PARAMETER_STATUS => {
                if let Ok((name, value)) = backend::parameter(content) {
                    self.hear_parameter(name, value);
                }
            }
            reply::DATA_ROW => match self.asides.front_mut() {
                Some(Aside::Ask(answers)) if piece.len == piece.total => {
                    answers.read(content, &self.talk.user);
                }
                Some(Aside::Ask(_)) => self.refused = Some(Box::new(too_long())),
                Some(Aside::NamesLeft) => self.hear_name_left(first_column(content)),
                Some(Aside::Align { .. } | Aside::Rename | Aside::Prepare) | None => {}
            },
            reply::ERROR_RESPONSE => {
                let report = Report::read(content);
                if report.is_fatal() {
                    // A client that loses nothing lives on with another server connection.
                    if self.may_lose_server() {
                        return Shown::Nobody;
                    }
                    self.talk.hear_fatal();
                    return Shown::Client;
                }
                let code = SqlState::from_bytes(report.code).unwrap_or(SqlState(*b"XX000"));
                let mut answer = Answer::new(code, String::from_utf8_lossy(report.message));
                answer.hint = String::from_utf8_lossy(report.hint).into_owned();
                self.refused = Some(Box::new(answer));
            }
            reply::READY_FOR_QUERY => self.conclude(),
            reply::NOTIFICATION_RESPONSE => return Shown::Client,
            _ => {}
        }
        Shown::Nobody
    }

    pub(super) fn hear_parameter(&mut self, name: &[u8], value: &[u8]) {
        let registry = &self.house.settings;
        self.server.reported = registry.reported_with(&self.server.reported, name, value);
    }

    /// The oldest aside is over.
    fn conclude(&mut self) {
        let refused = self.refused.take();
        match (self.asides.pop_front(), refused) {
            (Some(Aside::Align { then, .. }), None) => {
                // Behind a step that failed, it is not what was meant.
                let is_known = self.unfit.is_none();
                self.server.set_settings(is_known.then_some(then));
                self.note_custom_settings();
            }
            (Some(Aside::Align { decides: true, .. }), Some(answer)) => self.unfit = Some(answer),
            // Asked along with a request that has opened a transaction.
            (Some(Aside::Ask(_)), _)
                if self.talk.conversation.transaction() != TransactionState::Idle =>
            {
                self.talk.residue.unask();
            }
            (Some(Aside::Ask(answers)), None) => self.take_answers(&answers),
            (Some(Aside::Ask(_)), Some(_)) => {
                self.talk.residue.answered(None, 0);
                self.talk.tell_pin();
            }
            (Some(Aside::NamesLeft), None) => self.own_names_given_back(),
            (
                Some(Aside::Align { .. } | Aside::Rename | Aside::Prepare | Aside::NamesLeft)
                | None,
                _,
            ) => {}
        }
    }

    fn note_custom_settings(&self) {
        if !self.server.custom().is_empty() {
            self.house.custom_settings.store(true, Ordering::Relaxed);
        }
    }

    fn take_answers(&mut self, answers: &Answers) {
        let registry = &self.house.settings;
        let startup = self.talk.startup.get(APPLICATION_NAME).unwrap_or_default();
        let with = |ours: &[u8], settings: &Settings| {
            let changes = answers.values.iter().map(|(name, value)| {
                let value = value.as_deref();
                if **name != *APPLICATION_NAME {
                    return (&**name, value);
                }
                (&**name, Some(value.filter(|value| *value != OUR_NAME).unwrap_or(ours)))
            });
            registry.settings(settings.changed(changes))
        };
        let own = with(startup, &self.talk.settings);
        let server = self.server.settings().map(|settings| with(OUR_NAME, settings));
        self.server.set_settings(server);
        self.note_custom_settings();
        self.talk.settings = own;
        self.talk.residue.answered(Some(answers), self.talk.settings.len());
        self.talk.tell_pin();
    }

    /// Tells the client what its settings are, as far as it was told otherwise.
    pub(super) fn tell(&mut self, put: impl FnOnce(&mut dyn FnMut(&mut Vec<u8>))) {
        let (reported, told) = (&self.server.reported, &self.talk.told);
        if Arc::ptr_eq(reported, told) {
            return;
        }
        let mut now = (**told).clone();
        let mut has_news = false;
        for (name, value) in reported.unlike(told) {
            now.set(name, value);
            has_news = true;
        }
        if has_news {
            put(&mut |out| {
                for (name, value) in reported.unlike(told) {
                    backend::put_parameter(out, name, value);
                }
            });
        }
        let now = self.house.settings.reported(now);
        self.talk.told = now;
    }

    /// What is to be told once all asides are over.
    pub(super) fn settle(&mut self, replies: &mut Replies<'_>) {
        if self.asides.is_empty() {
            self.tell(|write| replies.put(write));
        }
    }
}

/// A value that is not read, and so does not move.
fn too_long() -> Answer {
    Answer::new(SqlState(*b"54000"), "surgetank: the value of a setting is too long")
}

/// The first column of a `DataRow`; empty if it is null.
fn first_column(row: &[u8]) -> &[u8] {
    let mut cursor = Cursor::new(row);
    let (_count, length) = (cursor.i16(), cursor.i32());
    let length = length.and_then(|length| usize::try_from(length).ok());
    length.and_then(|length| cursor.bytes(length)).unwrap_or_default()
}
