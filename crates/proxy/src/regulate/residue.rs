//! What a session may have left in its server connection: from the texts of its statements what
//! *may* be there, from PostgreSQL's answers what *is*.
//!
//! ```text
//!   clean ──a statement with an effect──▶ in doubt ──transaction over: asked──▶ clean
//!                                            ▲                          └────▶ pinned
//!                                            └── a statement that may undo it ────┘
//! ```
//! A session that is not clean keeps its server connection.

use std::collections::BTreeSet;

use sql::{Effects, Restored, SessionEffect, Touched};
use trace::{Fingerprint, Micros, PinCause};

use super::catalogue::Reach;
use super::question::{Answers, Question, all_objects};
use crate::settings::{APPLICATION_NAME, Settings, is_custom, shapes_constants};

/// Settings that one session may carry from one server connection to the next.
const SETTINGS_MAX: usize = 64;

/// How often the same question is asked at once: a cancel request that comes late may hit it.
const TRIES: u8 = 3;

/// When PostgreSQL is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// There is nothing to ask.
    No,
    /// When the transaction is over.
    Due,
    /// When the next one is over: PostgreSQL would not answer.
    Later,
}

/// What speaks for something being there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// Only that nothing proves the contrary.
    Weak,
    /// What statements say, or reach.
    Strong,
}

/// Why a session is pinned, and by which statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    /// When the statement came.
    pub(super) since: Micros,
    pub(super) cause: PinCause,
    pub(super) statement: Fingerprint,
}

/// What has become of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Pinned(Pin),
    Unpinned,
}

/// What a session may have left behind.
#[derive(Debug)]
pub(super) struct Residue {
    /// Settings whose values are in doubt.
    names: BTreeSet<Box<[u8]>>,
    restored: Restored,
    /// Settings changed for this transaction only.
    local: BTreeSet<Box<[u8]>>,
    /// Settings that an SQL-level prepared statement changes when it is executed.
    in_prepared: BTreeSet<Box<[u8]>>,
    /// Kinds of object that may be there, and the first statement that made one of each.
    objects: Effects,
    makers: Vec<(SessionEffect, Fingerprint, Micros)>,
    look: Look,
    asked: Option<Question>,
    /// When the last question was asked, and how often in vain.
    asked_at: Micros,
    vain: u8,
    /// What no question can settle.
    sealed: Option<Pin>,
    /// The pin that was told last.
    told: Option<Pin>,
    /// Whether `application_name` may be reset.
    renames: bool,
    /// Whether any setting may have been changed.
    any_setting: bool,
    doubt: Doubt,
}

impl Default for Residue {
    fn default() -> Self {
        Self {
            names: BTreeSet::new(),
            restored: Restored::Nothing,
            local: BTreeSet::new(),
            in_prepared: BTreeSet::new(),
            objects: Effects::NONE,
            makers: Vec::new(),
            look: Look::No,
            asked: None,
            asked_at: Micros::ZERO,
            vain: 0,
            sealed: None,
            told: None,
            renames: false,
            any_setting: false,
            doubt: Doubt::Weak,
        }
    }
}

impl Residue {
    /// Whether the server connection may serve others.
    pub(super) fn is_clean(&self) -> bool {
        self.names.is_empty()
            && self.objects.is_empty()
            && self.sealed.is_none()
            && self.asked.is_none()
            && self.restored != Restored::Everything
            && !self.renames
            && !self.any_setting
    }

    /// A statement with an effect is about to run; `read` tells which settings it may change.
    pub(super) fn note(
        &mut self,
        effects: Effects,
        (statement, at): (Fingerprint, Micros),
        read: impl FnOnce() -> Touched,
    ) {
        if effects.has(SessionEffect::Set) || effects.has(SessionEffect::SetLocal) {
            self.note_settings(
                &read(),
                effects,
                Pin { since: at, cause: PinCause::Set, statement },
            );
        }
        if effects.has(SessionEffect::Execute) {
            self.names.extend(self.in_prepared.iter().cloned());
            self.note_rollback();
        }
        // A `DO` block may set anything.
        self.any_setting |= effects.has(SessionEffect::Anything) && effects.has(SessionEffect::Set);
        let made = |kind| effects.has(kind) || effects.has(SessionEffect::Anything);
        for (kind, _) in PIN_CAUSES.iter().filter(|(kind, _)| made(*kind)) {
            self.objects = self.objects.with(*kind);
            if !self.makers.iter().any(|(known, ..)| known == kind) {
                self.makers.push((*kind, statement, at));
            }
            self.look = Look::Due;
        }
        let asked = self.asked.as_ref().map_or(Effects::NONE, |question| question.objects);
        if effects.has(SessionEffect::Release) && !self.objects.union(asked).is_empty() {
            self.look = Look::Due;
        }
    }

    /// A statement with effects is about to run.
    pub(super) fn note_likely(&mut self) {
        self.doubt = Doubt::Strong;
    }

    /// Whether the session loses nothing with its server connection, as far as is known.
    pub(super) fn is_lost_without_harm(&self) -> bool {
        self.doubt == Doubt::Weak && self.sealed.is_none() && self.told.is_none()
    }

    /// The server connection is gone, and with it whatever may have been left there.
    pub(super) fn lost(&mut self) {
        *self = Self::default();
    }

    /// What a statement that is about to run reaches may change settings.
    pub(super) fn note_reach(&mut self, reach: &Reach, (statement, at): (Fingerprint, Micros)) {
        match reach {
            Reach::Harmless | Reach::Unproven => {}
            Reach::Functions(changes) => {
                self.any_setting |= changes.any_setting;
                if changes.unknowable {
                    self.seal(Pin { since: at, cause: PinCause::Set, statement });
                }
                if !changes.settings.is_empty() {
                    self.names.extend(changes.settings.iter().cloned());
                    self.note_rollback();
                }
            }
            Reach::Unknown => self.any_setting = true,
        }
    }

    /// `pin` is how the session is pinned if the change cannot move.
    fn note_settings(&mut self, touched: &Touched, effects: Effects, pin: Pin) {
        let bytes = |name: &String| -> Box<[u8]> { name.as_bytes().into() };
        self.local.extend(touched.local.iter().map(bytes));
        self.names.extend(touched.names.iter().filter(|name| !is_transactional(name)).map(bytes));
        if effects.has(SessionEffect::Prepare) {
            self.in_prepared.extend(touched.names.iter().map(bytes));
        }
        self.restored = self.restored.max(touched.restored);
        self.renames |= match touched.restored {
            Restored::Nothing => false,
            Restored::Some => self.names.contains(APPLICATION_NAME),
            Restored::Everything => true,
        };
        if touched.unknown || self.names.contains(b"seed".as_slice()) {
            self.seal(pin);
        }
    }

    /// The server says that a setting has changed: perhaps a function did it.
    pub(super) fn note_report(&mut self, name: &[u8]) {
        let name = name.to_ascii_lowercase();
        let names: &[&[u8]] = match name.as_slice() {
            b"is_superuser" => &[b"role", b"session_authorization"],
            b"in_hot_standby" | b"integer_datetimes" | b"server_encoding" | b"server_version" => {
                return;
            }
            name => &[name],
        };
        let known = |name: &[u8]| self.names.contains(name) || self.local.contains(name);
        if !names.iter().any(|name| known(name)) {
            self.names.extend(names.iter().map(|name| Box::from(*name)));
            self.note_rollback();
        }
    }

    /// Something was undone, or may have been.
    pub(super) fn note_rollback(&mut self) {
        self.restored = self.restored.max(Restored::Some);
    }

    /// From now on the session stays where it is.
    pub(super) fn seal(&mut self, pin: Pin) {
        self.sealed.get_or_insert(pin);
    }

    /// `DISCARD ALL` was done: all that could not be known is gone, too.
    pub(super) fn discarded(&mut self) {
        self.sealed = None;
        self.objects = all_objects();
        self.look = Look::Due;
    }

    /// A request begins.
    pub(super) fn resume(&mut self) {
        if self.look == Look::Later {
            self.look = Look::Due;
            self.vain = 0;
        }
    }

    /// Whether constants of a statement that is prepared now may be read otherwise than by the
    /// session's known settings.
    pub(super) fn is_meaning_open(&self) -> bool {
        let asked = self.asked.iter().flat_map(|question| &question.names);
        let mut open = self.names.iter().chain(&self.local).chain(asked);
        open.any(|name| shapes_constants(name))
    }

    /// Whether `application_name` may have been reset since the last call.
    pub(super) fn take_renames(&mut self) -> bool {
        std::mem::take(&mut self.renames)
    }

    /// The transaction is over; what PostgreSQL must be asked now, if anything.
    pub(super) fn ask(
        &mut self,
        own: &Settings,
        now: impl FnOnce() -> Micros,
    ) -> Option<&Question> {
        let is_nothing = self.names.is_empty() && self.local.is_empty() && self.objects.is_empty();
        if is_nothing
            && self.asked.is_none()
            && !self.any_setting
            && self.restored != Restored::Everything
        {
            (self.restored, self.look) = (Restored::Nothing, Look::No);
            return None;
        }
        // Once set, even for the transaction only, a custom setting is known for ever.
        let local = std::mem::take(&mut self.local);
        let new = local.into_iter().filter(|name| is_custom(name) && own.get(name).is_none());
        self.names.extend(new);
        if self.asked.is_some() || self.look == Look::Later {
            return None;
        }
        if self.any_setting {
            self.restored = Restored::Everything;
            self.names.extend([b"role"[..].into(), b"session_authorization"[..].into()]);
        }
        if self.restored == Restored::Everything {
            self.names.extend(own.names().map(Into::into));
        }
        let restores = std::mem::replace(&mut self.restored, Restored::Nothing);
        if self.objects.is_empty() {
            self.look = Look::No;
        }
        if self.look == Look::No && self.names.is_empty() {
            return None;
        }
        if self.names.contains(b"client_encoding".as_slice()) {
            // Their bytes are others now.
            self.names.extend(own.not_ascii().map(Into::into));
        }
        let mut question = Question {
            names: std::mem::take(&mut self.names).into_iter().collect(),
            restores: restores != Restored::Nothing,
            any_setting: std::mem::take(&mut self.any_setting),
            objects: Effects::NONE,
        };
        if self.look == Look::Due {
            question.objects = std::mem::take(&mut self.objects);
            self.look = Look::No;
        }
        self.asked = Some(question);
        self.asked_at = now();
        self.asked.as_ref()
    }

    /// The question came too early: it is asked again when the transaction is over.
    pub(super) fn unask(&mut self) {
        let Some(question) = self.asked.take() else { return };
        if !question.objects.is_empty() {
            self.look = Look::Due;
        }
        self.put_back(question);
    }

    fn put_back(&mut self, question: Question) {
        self.names.extend(question.names);
        self.any_setting |= question.any_setting;
        if question.restores {
            self.note_rollback();
        }
        self.objects = self.objects.union(question.objects);
    }

    /// The answer to the question; `None` if there is none. `settings` is how many the session has
    /// now.
    pub(super) fn answered(&mut self, answers: Option<&Answers>, settings: usize) {
        let Some(question) = self.asked.take() else { return };
        let Some(answers) = answers else {
            self.put_back(question);
            self.vain += 1;
            self.look = if self.vain < TRIES { Look::Due } else { Look::Later };
            return;
        };
        self.vain = 0;
        self.doubt = Doubt::Weak;
        // What was made since stands beside what was found.
        self.objects = self.objects.union(answers.objects);
        let objects = self.objects;
        self.makers.retain(|(kind, ..)| objects.has(*kind));
        if !objects.has(SessionEffect::Prepare) {
            self.in_prepared.clear();
        }
        if answers.has_giant || settings > SETTINGS_MAX {
            let (since, statement) = (self.asked_at, Fingerprint::NONE);
            self.seal(Pin { since, cause: PinCause::Set, statement });
        }
    }

    /// What has become of the session since the last call. Only what PostgreSQL has confirmed
    /// counts, or cannot be asked about.
    pub(super) fn news(&mut self) -> Option<News> {
        if self.asked.is_some() || self.look == Look::Due {
            return None;
        }
        let now = self.sealed.or_else(|| {
            let (kind, cause) = PIN_CAUSES.iter().find(|(kind, _)| self.objects.has(*kind))?;
            // Unless nobody was seen to make it.
            let maker = self.makers.iter().find(|(known, ..)| known == kind);
            let (_, statement, since) =
                *maker.unwrap_or(&(*kind, Fingerprint::NONE, self.asked_at));
            Some(Pin { since, cause: *cause, statement })
        });
        match (std::mem::replace(&mut self.told, now), now) {
            (before, Some(pin)) if before != Some(pin) => Some(News::Pinned(pin)),
            (Some(_), None) => Some(News::Unpinned),
            _ => None,
        }
    }
}

/// Kinds of object that pin a session.
const PIN_CAUSES: [(SessionEffect, PinCause); 6] = [
    (SessionEffect::Prepare, PinCause::Prepare),
    (SessionEffect::Listen, PinCause::Listen),
    (SessionEffect::TemporaryTable, PinCause::TemporaryTable),
    (SessionEffect::CursorWithHold, PinCause::CursorWithHold),
    (SessionEffect::AdvisoryLock, PinCause::AdvisoryLock),
    (SessionEffect::ReplicationSlot, PinCause::ReplicationSlot),
];

/// Settings of the transaction, whichever way they are set.
fn is_transactional(name: &str) -> bool {
    matches!(name, "transaction_isolation" | "transaction_read_only" | "transaction_deferrable")
}

#[cfg(test)]
mod tests;
