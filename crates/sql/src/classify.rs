//! Kind and session effect of each statement in a string, from its words as they pass.

use crate::kind::{Effects, Kind, SessionEffect};
use crate::lexer::{Lexer, Token, TokenKind};

/// Follows one string of statements.
pub(crate) struct Classifier {
    /// Kind of the first statement.
    first: Option<Kind>,
    effects: Effects,
    here: Here,
}

/// The statement being read.
#[derive(Clone, Copy)]
struct Here {
    /// Open parentheses.
    depth: u32,
    head: Head,
}

/// How much of the statement's beginning is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    /// No word yet.
    Begin,
    /// `WITH`: the verb comes later, outside all parentheses.
    With,
    /// The verb, whose next word decides (`SET LOCAL`, `ROLLBACK TO`).
    Verb(Verb),
    /// `SELECT …`: `INTO TEMP` may follow.
    Select,
    /// `SELECT … INTO`.
    SelectInto,
    /// Nothing more to learn but from functions.
    Known,
}

/// Verbs that one word does not settle.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Set,
    Prepare,
    Rollback,
    Create,
    Declare,
    /// `DECLARE … WITH`.
    DeclareWith,
}

impl Classifier {
    pub(crate) fn new() -> Self {
        Self { first: None, effects: Effects::NONE, here: Here { depth: 0, head: Head::Begin } }
    }

    /// Kind of the first statement, and the effects of all.
    pub(crate) fn finish(self) -> (Kind, Effects) {
        (self.first.unwrap_or(Kind::Empty), self.effects)
    }

    /// A statement ended.
    pub(crate) fn separator(&mut self) {
        self.here = Here { depth: 0, head: Head::Begin };
    }

    /// A token that is not a word.
    pub(crate) fn other(&mut self, byte: u8) {
        match byte {
            b'(' => self.here.depth += 1,
            b')' => self.here.depth = self.here.depth.saturating_sub(1),
            _ if self.here.head == Head::Begin => self.begin(Kind::Other, Head::Known),
            _ => {}
        }
        // `SELECT … INTO "x"`, `SET "x" = 1`: no word that could decide otherwise.
        match self.here.head {
            Head::SelectInto => self.here.head = Head::Known,
            Head::Verb(Verb::Set) if byte == b'"' => self.leave(SessionEffect::Set),
            Head::Verb(Verb::Prepare) if byte == b'"' => self.leave(SessionEffect::Prepare),
            _ => {}
        }
    }

    /// A word in lower case, and the text behind it.
    pub(crate) fn word(&mut self, word: &[u8], behind: Lexer<'_>) {
        match self.here.head {
            Head::Begin => self.verb(word),
            Head::With => {
                if self.here.depth == 0
                    && matches!(word, b"select" | b"insert" | b"update" | b"delete" | b"merge")
                {
                    self.verb(word);
                }
            }
            Head::Verb(verb) => self.after_verb(verb, word),
            Head::Select => {
                if word == b"into" {
                    self.here.head = Head::SelectInto;
                }
            }
            Head::SelectInto => match word {
                b"temp" | b"temporary" | b"pg_temp" => self.leave(SessionEffect::TemporaryTable),
                b"local" | b"global" => {}
                _ => self.here.head = Head::Known,
            },
            Head::Known => {}
        }
        self.function(word, behind);
    }

    fn begin(&mut self, kind: Kind, head: Head) {
        self.first.get_or_insert(kind);
        self.here.head = head;
    }

    fn leave(&mut self, effect: SessionEffect) {
        self.effects = self.effects.with(effect);
        self.here.head = Head::Known;
    }

    fn verb(&mut self, word: &[u8]) {
        match word {
            b"with" => self.here.head = Head::With,
            b"set" => self.begin(Kind::Set, Head::Verb(Verb::Set)),
            b"prepare" => self.here.head = Head::Verb(Verb::Prepare),
            b"rollback" => self.here.head = Head::Verb(Verb::Rollback),
            b"create" => self.begin(Kind::Ddl, Head::Verb(Verb::Create)),
            b"declare" => self.begin(Kind::Cursor, Head::Verb(Verb::Declare)),
            b"do" => self.settle(Kind::Call, SessionEffect::Unknown),
            b"load" => self.settle(Kind::Other, SessionEffect::Unknown),
            b"listen" => self.settle(Kind::Notify, SessionEffect::Listen),
            b"unlisten" => self.settle(Kind::Notify, SessionEffect::Release),
            b"close" => self.settle(Kind::Cursor, SessionEffect::Release),
            b"drop" => self.settle(Kind::Ddl, SessionEffect::Release),
            b"reset" => self.settle(Kind::Reset, SessionEffect::Set),
            b"execute" => self.settle(Kind::Execute, SessionEffect::Execute),
            b"deallocate" => self.tidy(Kind::Deallocate),
            b"discard" => {
                self.tidy(Kind::Discard);
                self.leave(SessionEffect::Set);
            }
            b"select" => self.begin(Kind::Select, Head::Select),
            _ => self.begin(Kind::of_keyword(word), Head::Known),
        }
    }

    fn tidy(&mut self, kind: Kind) {
        self.settle(kind, SessionEffect::Deallocate);
        self.leave(SessionEffect::Release);
    }

    fn settle(&mut self, kind: Kind, effect: SessionEffect) {
        self.begin(kind, Head::Known);
        self.leave(effect);
    }

    fn after_verb(&mut self, verb: Verb, word: &[u8]) {
        match (verb, word) {
            // `SET SESSION CHARACTERISTICS AS TRANSACTION` does last, so SESSION is not like LOCAL.
            (Verb::Set, b"transaction" | b"constraints") => self.here.head = Head::Known,
            (Verb::Set, b"local") => self.leave(SessionEffect::SetLocal),
            (Verb::Set, _) => self.leave(SessionEffect::Set),
            (Verb::Prepare, b"transaction") => self.begin(Kind::Commit, Head::Known),
            (Verb::Prepare, _) => self.settle(Kind::Prepare, SessionEffect::Prepare),
            // `ROLLBACK [WORK | TRANSACTION] TO`.
            (Verb::Rollback, b"work" | b"transaction") => {}
            (Verb::Rollback, b"to") => self.begin(Kind::Savepoint, Head::Known),
            (Verb::Rollback, b"prepared") => self.begin(Kind::Other, Head::Known),
            (Verb::Rollback, _) => self.begin(Kind::Rollback, Head::Known),
            (Verb::Create, b"temp" | b"temporary" | b"pg_temp") => {
                self.leave(SessionEffect::TemporaryTable);
            }
            // `CREATE [OR REPLACE] [GLOBAL | LOCAL] TEMP`,
            // `CREATE TABLE [IF NOT EXISTS] pg_temp.x`.
            (
                Verb::Create,
                b"or" | b"replace" | b"local" | b"global" | b"table" | b"view" | b"sequence"
                | b"function" | b"procedure" | b"type" | b"domain" | b"if" | b"not" | b"exists"
                | b"recursive",
            ) => {}
            (Verb::Create, _) => self.here.head = Head::Known,
            // `WITH HOLD` stands before `FOR`; what follows is the query.
            (Verb::Declare, b"with") => self.here.head = Head::Verb(Verb::DeclareWith),
            (Verb::Declare, b"for") => self.here.head = Head::Known,
            (Verb::Declare, _) => {}
            (Verb::DeclareWith, b"hold") => self.leave(SessionEffect::CursorWithHold),
            (Verb::DeclareWith, _) => self.here.head = Head::Known,
        }
    }

    /// Functions with a session effect, wherever they are called.
    fn function(&mut self, word: &[u8], behind: Lexer<'_>) {
        if word.len() < 10 {
            return;
        }
        let effect = match word {
            b"pg_advisory_lock"
            | b"pg_advisory_lock_shared"
            | b"pg_try_advisory_lock"
            | b"pg_try_advisory_lock_shared" => SessionEffect::AdvisoryLock,
            b"pg_advisory_unlock" | b"pg_advisory_unlock_shared" | b"pg_advisory_unlock_all" => {
                SessionEffect::Release
            }
            b"set_config" if ends_in_true(behind) => SessionEffect::SetLocal,
            b"set_config" => SessionEffect::Set,
            _ => return,
        };
        if is_call(behind) {
            self.effects = self.effects.with(effect);
        }
    }

    /// The end of the text: a verb that still waits for its next word stands alone.
    pub(crate) fn end(&mut self) {
        match self.here.head {
            Head::Verb(Verb::Rollback) => self.begin(Kind::Rollback, Head::Known),
            Head::Verb(Verb::Prepare) => self.begin(Kind::Prepare, Head::Known),
            Head::With => self.begin(Kind::Other, Head::Known),
            _ => {}
        }
    }
}

pub(crate) fn is_call(mut behind: Lexer<'_>) -> bool {
    behind.next().is_some_and(|token| token.is_byte(b'('))
}

/// Whether the last argument of the call is `true`: of `set_config` that means "this transaction
/// only". A parameter may be either, so it counts as lasting.
pub(crate) fn ends_in_true(mut behind: Lexer<'_>) -> bool {
    let mut depth = 0_u32;
    let mut last: Option<Token> = None;
    for token in behind.by_ref() {
        if token.is_byte(b'(') {
            depth += 1;
        } else if token.is_byte(b')') {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                break;
            }
        }
        last = Some(token);
    }
    last.is_some_and(|token| match token.kind {
        TokenKind::Word => behind.is_word(token, "true"),
        TokenKind::String => ["'t'", "'true'"]
            .iter()
            .any(|text| behind.bytes(token).eq_ignore_ascii_case(text.as_bytes())),
        _ => false,
    })
}
