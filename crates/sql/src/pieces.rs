//! The tokens of a statement with its data recognised: what is a literal, which lists collapse.
//!
//! Fingerprint and normalised text are both made from these pieces, which is why they agree. The
//! rules follow what `pg_stat_statements` replaces by `$n`, so that its texts agree as well:
//! * a sign that makes a number negative belongs to the number (`-1`), one between operands does
//!   not;
//! * `NULL`, `TRUE`, `FALSE` are constants, except behind `IS`;
//! * `date '2026-01-01'` is a literal with a cast; it is told as `'2026-01-01'::date`, because
//!   `date $1` is no SQL;
//! * `IN (1, 2, 3)`, `ARRAY[1, 2, 3]` and `VALUES (1, 2), (3, 4)` stand for lists of any length.

use crate::lexer::{Lexer, Token, TokenKind};

/// A token and what it means for the fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A keyword or an unquoted identifier.
    Word(Token),
    /// A string, a number or a parameter.
    Literal(Literal),
    /// `NULL`, `TRUE` or `FALSE` as a value.
    Constant(Token),
    /// `;` between two statements; a trailing one is not told.
    Separator,
    /// Anything else.
    Other(Token),
}

/// A literal or parameter with all that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    /// Offset of its first sign, or of what follows if it has none.
    pub(crate) start: usize,
    /// The type in front of it (`date '…'`).
    pub(crate) type_name: Option<Token>,
    /// The string, number or parameter itself.
    pub(crate) value: Token,
    /// Whether white space or a comment stood before all of it.
    pub(crate) gap: bool,
}

/// Iterates over the pieces of a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pieces<'a> {
    lexer: Lexer<'a>,
    /// The last two tokens told.
    previous: [Option<Token>; 2],
    /// A collapsed list: where the lexer stands at `.0`, it goes on at `.1`.
    skip: (usize, usize),
    /// Signs before this position belong to no literal: it was looked for in vain.
    barren: usize,
}

/// No list is being collapsed.
const NO_SKIP: (usize, usize) = (usize::MAX, usize::MAX);

impl<'a> Pieces<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { lexer: Lexer::new(text), previous: [None; 2], skip: NO_SKIP, barren: 0 }
    }

    /// The lexer, for looking ahead and for the bytes of tokens.
    pub(crate) fn lexer(&self) -> Lexer<'a> {
        self.lexer
    }

    #[inline]
    fn next_token(&mut self) -> Option<Token> {
        if self.lexer.position() >= self.skip.0 {
            self.lexer.jump(self.skip.1);
            self.skip = NO_SKIP;
        }
        self.lexer.next()
    }

    #[inline]
    fn remember(&mut self, token: Token) {
        self.previous = [Some(token), self.previous[0]];
    }

    fn other(&mut self, token: Token) -> Option<Piece> {
        self.remember(token);
        Some(Piece::Other(token))
    }

    /// A `;` was just read: more of them may follow, and the end.
    fn separator(&mut self) -> Option<Piece> {
        let begun = self.previous[0].is_some();
        self.previous = [None; 2];
        let next = self.lexer.find(|token| !token.is_byte(b';'))?;
        // Looked at only: it is read again, now as the first of its statement.
        self.lexer.jump(next.start());
        if begun { Some(Piece::Separator) } else { self.next() }
    }

    /// Goes on behind a literal that begins with `first`; without one, nothing is consumed.
    fn literal(&mut self, first: Token) -> Option<Piece> {
        if first.is_sign() && first.start() < self.barren {
            return None;
        }
        let mut ahead = self.lexer;
        let Some(mut literal) = literal(first, &mut ahead) else {
            // The signs that follow would look at the same tokens again, each at all behind it.
            self.barren = self.barren.max(ahead.position());
            return None;
        };
        self.lexer = ahead;
        self.remember(literal.value);
        // The only item told of a collapsed list, whose items may have any types.
        if self.skip.0 == literal.value.end()
            && let Some(name) = literal.type_name.take()
            && name.start() == literal.start
        {
            literal.start = literal.value.start();
        }
        Some(Piece::Literal(literal))
    }

    /// Whether a word here is part of a name or of a type, whatever its text.
    fn previous_is_name_part(&self) -> bool {
        self.previous[0].is_some_and(|previous| {
            previous.kind == TokenKind::Cast
                || previous.is_byte(b'.')
                || (previous.kind == TokenKind::Word && is_type_name(self.lexer.bytes(previous)))
        })
    }

    /// Not `IS [NOT] NULL`, not a name (`t.true`, `AS true`).
    fn is_value_position(&self) -> bool {
        let is = |token: Option<Token>, word| token.is_some_and(|t| self.lexer.is_word(t, word));
        let [previous, before] = self.previous;
        let is_test = is(previous, "is") || (is(previous, "not") && is(before, "is"));
        !is_test && !is(previous, "as") && !self.previous_is_byte(b'.')
    }

    fn previous_is_byte(&self, byte: u8) -> bool {
        self.previous[0].is_some_and(|token| token.is_byte(byte))
    }

    /// Whether a `-` here would be a subtraction.
    fn previous_is_operand(&self) -> bool {
        let Some(token) = self.previous[0] else { return false };
        match token.kind {
            TokenKind::Word => !takes_operand(self.lexer.bytes(token)),
            TokenKind::Operator | TokenKind::Cast => false,
            TokenKind::Punctuation => token.is_byte(b')') || token.is_byte(b']'),
            TokenKind::Quoted | TokenKind::String | TokenKind::Number | TokenKind::Parameter => {
                true
            }
        }
    }

    /// `open` was just read: if it opens a list of literals only, the rest of the list is skipped.
    fn collapse(&mut self, open: Token) {
        let Some(previous) = self.previous[0] else { return };
        if self.skip != NO_SKIP || previous.kind != TokenKind::Word {
            return;
        }
        let round = open.is_byte(b'(');
        if (round && self.lexer.is_word(previous, "in"))
            || (!round && self.lexer.is_word(previous, "array"))
        {
            self.skip = row(self.lexer).map_or(NO_SKIP, |row| (row.first_end, row.close));
        } else if round && self.lexer.is_word(previous, "values") {
            self.skip = self.further_rows().unwrap_or(NO_SKIP);
        }
    }

    /// Behind `VALUES (`: the end of the first row, and the end of the last that is like it.
    fn further_rows(&self) -> Option<(usize, usize)> {
        let first = row(self.lexer)?;
        let mut end = first.end;
        loop {
            let mut ahead = self.lexer;
            ahead.jump(end);
            let next = ahead.next().filter(|token| token.is_byte(b','));
            let open = next.and(ahead.next()).filter(|token| token.is_byte(b'('));
            match open.and_then(|_| row(ahead)) {
                Some(further) => end = further.end,
                None => break,
            }
        }
        (end > first.end).then_some((first.end, end))
    }
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let token = self.next_token()?;
        match token.kind {
            TokenKind::Word => {
                if is_type_name(self.lexer.bytes(token))
                    && !self.previous_is_name_part()
                    && let Some(literal) = self.literal(token)
                {
                    return Some(literal);
                }
                let constant = is_constant(self.lexer, token) && self.is_value_position();
                self.remember(token);
                Some(if constant { Piece::Constant(token) } else { Piece::Word(token) })
            }
            TokenKind::String | TokenKind::Number | TokenKind::Parameter => self.literal(token),
            TokenKind::Operator if token.is_sign() && !self.previous_is_operand() => {
                self.literal(token).or_else(|| self.other(token))
            }
            TokenKind::Punctuation if token.first == b';' => self.separator(),
            TokenKind::Punctuation if matches!(token.first, b'(' | b'[') => {
                self.collapse(token);
                self.other(token)
            }
            TokenKind::Punctuation | TokenKind::Operator | TokenKind::Quoted | TokenKind::Cast => {
                self.other(token)
            }
        }
    }
}

/// Reads a literal whose first token is `first`: signs, a type's name, the value.
fn literal(first: Token, ahead: &mut Lexer<'_>) -> Option<Literal> {
    let mut token = first;
    while token.is_sign() {
        token = ahead.next()?;
    }
    let mut type_name = None;
    if token.kind == TokenKind::Word && is_type_name(ahead.bytes(token)) {
        type_name = Some(token);
        token = ahead.next()?;
    }
    matches!(token.kind, TokenKind::String | TokenKind::Number | TokenKind::Parameter)
        .then_some(Literal { start: first.start(), type_name, value: token, gap: first.gap })
}

fn is_constant(lexer: Lexer<'_>, token: Token) -> bool {
    matches!(token.first | 0x20, b'n' | b't' | b'f')
        && matches!(token.len(), 4 | 5)
        && ["null", "true", "false"].iter().any(|name| lexer.is_word(token, name))
}

/// A parenthesised list that holds literals only.
struct Row {
    /// Behind the first item, its casts left out.
    first_end: usize,
    /// At the closing bracket.
    close: usize,
    /// Behind the closing bracket.
    end: usize,
}

/// Reads a list from behind its opening bracket; `None` if it holds anything but literals.
fn row(mut ahead: Lexer<'_>) -> Option<Row> {
    let mut first_end = None;
    loop {
        let first = ahead.next()?;
        let (end, is_typed) = match literal(first, &mut { ahead }) {
            Some(literal) => (literal.value.end(), literal.type_name.is_some()),
            None if is_constant(ahead, first) || ahead.is_word(first, "default") => {
                (first.end(), false)
            }
            None => return None,
        };
        ahead.jump(end);
        let first_end = *first_end.get_or_insert(end);
        let next = skip_casts(&mut ahead, is_typed)?;
        if next.is_byte(b')') || next.is_byte(b']') {
            return Some(Row { first_end, close: next.start(), end: next.end() });
        }
        if !next.is_byte(b',') {
            return None;
        }
    }
}

/// Passes over `::numeric(10, 2)[]` and the like; the token behind. `in_type`: a literal's type was
/// just read, of which `day` in `interval '1' day` is a part: it is told as `'1'::interval day`.
fn skip_casts(ahead: &mut Lexer<'_>, mut in_type: bool) -> Option<Token> {
    let mut token = ahead.next()?;
    while in_type || token.kind == TokenKind::Cast {
        if !std::mem::take(&mut in_type) {
            token = ahead.next()?;
        }
        while matches!(token.kind, TokenKind::Word | TokenKind::Quoted) || token.is_byte(b'.') {
            token = ahead.next()?;
        }
        while token.is_byte(b'(') || token.is_byte(b'[') {
            token = ahead.next()?;
            while token.kind == TokenKind::Number || token.is_byte(b',') {
                token = ahead.next()?;
            }
            if !token.is_byte(b')') && !token.is_byte(b']') {
                return None;
            }
            token = ahead.next()?;
        }
    }
    Some(token)
}

fn is_any_of(word: &[u8], list: &[&str]) -> bool {
    list.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
}

/// Types that people write before a string (`interval '1 day'`).
pub(crate) fn is_type_name(word: &[u8]) -> bool {
    // Most words are none: by length and first letter they are out before a comparison.
    let candidates: &[&str] = match (word.len(), word.first().map(|first| first | 0x20)) {
        (4, Some(b'b' | b'c' | b'd' | b'i' | b'j' | b't' | b'u')) => {
            &["bool", "cidr", "date", "inet", "json", "text", "time", "uuid"]
        }
        (5, Some(b'b' | b'j')) => &["bytea", "jsonb"],
        (6, Some(b't')) => &["timetz"],
        (7, Some(b'n')) => &["numeric"],
        (8, Some(b'i')) => &["interval"],
        (9 | 11, Some(b't')) => &["timestamp", "timestamptz"],
        _ => return false,
    };
    is_any_of(word, candidates)
}

/// Keywords behind which a sign is a number's own.
fn takes_operand(word: &[u8]) -> bool {
    is_any_of(
        word,
        &[
            "all",
            "and",
            "any",
            "between",
            "by",
            "case",
            "default",
            "distinct",
            "else",
            "escape",
            "fetch",
            "for",
            "from",
            "having",
            "ilike",
            "in",
            "like",
            "limit",
            "next",
            "not",
            "offset",
            "on",
            "or",
            "return",
            "returning",
            "select",
            "set",
            "some",
            "symmetric",
            "then",
            "to",
            "using",
            "values",
            "when",
            "where",
        ],
    )
}
