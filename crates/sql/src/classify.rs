//! Kind and session effect of each statement in a string, from its words as they pass.

use crate::functions;
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
    /// Another statement may stand in it: `EXPLAIN …`, `CREATE TABLE … AS …`.
    is_made_of_others: bool,
}

/// The beginning of a statement.
const HERE: Here = Here { depth: 0, head: Head::Begin, is_made_of_others: false };

/// How much of the statement's beginning is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    /// No word yet.
    Begin,
    /// `WITH`: the verb comes later, outside all parentheses.
    With,
    /// The verb, whose next word decides (`SET LOCAL`, `ROLLBACK TO`).
    Verb(Verb),
    /// `SELECT …`: `INTO` may follow, which makes a table.
    Select,
    /// Nothing more to learn but from functions.
    Known,
}

/// Verbs that one word does not settle.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Set,
    Prepare,
    Rollback,
    Declare,
    /// `DECLARE … WITH`.
    DeclareWith,
}

impl Classifier {
    pub(crate) fn new() -> Self {
        Self { first: None, effects: Effects::NONE, here: HERE }
    }

    /// Kind of the first statement, and the effects of all.
    pub(crate) fn finish(self) -> (Kind, Effects) {
        (self.first.unwrap_or(Kind::Empty), self.effects)
    }

    /// A statement ended.
    pub(crate) fn separator(&mut self) {
        self.here = HERE;
    }

    /// An identifier in quotes, with them.
    pub(crate) fn quoted(&mut self, identifier: &[u8], behind: Lexer<'_>) {
        self.other(b'"');
        match identifier {
            [b'"', name @ .., b'"'] => self.function(name, behind),
            // `U&"…"` may spell any name.
            _ => self.effects = self.effects.with(SessionEffect::Anything),
        }
    }

    /// A token that is not a word.
    pub(crate) fn other(&mut self, byte: u8) {
        match byte {
            b'(' => self.here.depth += 1,
            b')' => self.here.depth = self.here.depth.saturating_sub(1),
            _ if self.here.head == Head::Begin => self.begin(Kind::Other, Head::Known),
            _ => {}
        }
        // `SET "x" = 1`: no word that could decide otherwise.
        match self.here.head {
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
                if self.here.depth > 0 && matches!(word, b"insert" | b"merge") {
                    self.effects = self.effects.with(SessionEffect::SequenceUse);
                }
                if self.here.depth == 0
                    && matches!(word, b"select" | b"insert" | b"update" | b"delete" | b"merge")
                {
                    self.verb(word);
                }
            }
            Head::Verb(verb) => self.after_verb(verb, word),
            Head::Select => {
                if word == b"into" {
                    self.leave(SessionEffect::Anything);
                }
            }
            Head::Known => {}
        }
        if word == b"execute" && self.here.is_made_of_others {
            self.effects = self.effects.with(SessionEffect::Execute);
        }
        self.function(word, behind);
    }

    fn begin(&mut self, kind: Kind, head: Head) {
        self.first.get_or_insert(kind);
        self.here.head = head;
        self.here.is_made_of_others = matches!(kind, Kind::Explain | Kind::Ddl);
        if !kind.is_plain() {
            self.effects = self.effects.with(SessionEffect::Anything);
        }
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
            b"declare" => self.begin(Kind::Cursor, Head::Verb(Verb::Declare)),
            // Its body may set anything, by whatever names.
            b"do" => self.settle(Kind::Call, SessionEffect::Set),
            b"load" => self.settle(Kind::Other, SessionEffect::Unknown),
            b"listen" => self.settle(Kind::Notify, SessionEffect::Listen),
            b"unlisten" => self.settle(Kind::Notify, SessionEffect::Release),
            b"close" => self.settle(Kind::Cursor, SessionEffect::Release),
            b"drop" => self.settle(Kind::Ddl, SessionEffect::Release),
            b"show" => self.settle(Kind::Show, SessionEffect::ReadsSettings),
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
            // `WITH HOLD` stands before `FOR`; what follows is the query.
            (Verb::Declare, b"with") => self.here.head = Head::Verb(Verb::DeclareWith),
            (Verb::Declare, b"for") => self.here.head = Head::Known,
            (Verb::Declare, _) => {}
            (Verb::DeclareWith, b"hold") => self.leave(SessionEffect::CursorWithHold),
            (Verb::DeclareWith, _) => self.here.head = Head::Known,
        }
    }

    /// Built-in functions and views with a session effect, wherever they are named.
    fn function(&mut self, word: &[u8], behind: Lexer<'_>) {
        let Some(effect) = functions::effect(word) else { return };
        let is_named = effect == SessionEffect::ReadsStatementNames || is_call(behind);
        if is_named {
            let is_local = effect == SessionEffect::Set && ends_in_true(behind);
            let effect = if is_local { SessionEffect::SetLocal } else { effect };
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
/// only". A parameter or an expression may be either, so it counts as lasting.
pub(crate) fn ends_in_true(mut behind: Lexer<'_>) -> bool {
    let mut depth = 0_u32;
    let mut last: [Option<Token>; 2] = [None; 2];
    for token in behind.by_ref() {
        if token.is_byte(b'(') {
            depth += 1;
        } else if token.is_byte(b')') {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                break;
            }
        }
        last = [Some(token), last[0]];
    }
    let [Some(token), Some(before)] = last else { return false };
    before.is_byte(b',')
        && match token.kind {
            TokenKind::Word => behind.is_word(token, "true"),
            TokenKind::String => ["'t'", "'true'"]
                .iter()
                .any(|text| behind.bytes(token).eq_ignore_ascii_case(text.as_bytes())),
            _ => false,
        }
}
