//! A statement's text without its data, for people and for PostgreSQL's `PREPARE`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::lexer::{Lexer, Token, TokenKind};
use crate::pieces::{Literal, Piece, Pieces, is_type_name};

/// The text with literals as `$n`, without comments, with white space folded.
///
/// New numbers follow the highest parameter that was there; where collapsing a list dropped
/// parameters, those kept are numbered anew without gaps, since `PREPARE` refuses gaps. `NULL`,
/// `TRUE` and `FALSE` stay, and so do numbers that PostgreSQL does not take as parameters: type
/// modifiers (`::numeric(10, 2)`) and positions (`ORDER BY 1`).
#[must_use]
pub fn normalise(text: &str) -> String {
    let numbers = renumber(text);
    let mut writer = Writer {
        out: String::with_capacity(text.len()),
        next_parameter: numbers.values().max().copied().unwrap_or(0),
        numbers,
        last: Last::Nothing,
    };
    let mut place = Place::default();
    let mut pieces = Pieces::new(text);
    while let Some(piece) = pieces.next() {
        let lexer = pieces.lexer();
        match piece {
            Piece::Literal(literal) if place.keeps(literal, lexer) => {
                writer.verbatim(literal.value, lexer);
            }
            Piece::Literal(literal) => writer.literal(literal, text),
            Piece::Separator => {
                writer.out.push_str("; ");
                writer.last = Last::Nothing;
            }
            Piece::Word(token) | Piece::Constant(token) | Piece::Other(token) => {
                writer.verbatim(token, lexer);
            }
        }
        place.follow(piece, lexer);
    }
    writer.out
}

/// New numbers for the parameters that stay: their own, unless a collapsed list took some away.
fn renumber(text: &str) -> BTreeMap<u32, u32> {
    let mut kept = BTreeMap::new();
    for piece in Pieces::new(text) {
        if let Piece::Literal(literal) = piece
            && let Some(number) = parameter_number(literal.value, text)
        {
            kept.insert(number, number);
        }
    }
    let lost = Lexer::new(text)
        .filter_map(|token| parameter_number(token, text))
        .any(|number| !kept.contains_key(&number));
    if lost {
        for (new, number) in (1_u32..).zip(kept.values_mut()) {
            *number = new;
        }
    }
    kept
}

fn parameter_number(token: Token, text: &str) -> Option<u32> {
    if token.kind != TokenKind::Parameter {
        return None;
    }
    let digits = text.get(token.start() + 1..token.end())?;
    // PostgreSQL allows 65 535 parameters. A larger number is an error there and stays one here:
    // were it changed, the new numbers behind it would be read differently the next time.
    Some(digits.parse().unwrap_or(u32::MAX))
}

/// What was written last, which decides whether the next token needs a space.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    /// Ends in a byte that a word or a `$n` would continue.
    WordLike,
    Other,
}

struct Writer {
    out: String,
    numbers: BTreeMap<u32, u32>,
    /// The highest number in use.
    next_parameter: u32,
    last: Last,
}

impl Writer {
    fn space(&mut self, gap: bool, next: Last) {
        let needed = self.last == Last::WordLike && next == Last::WordLike;
        if self.last != Last::Nothing && (gap || needed) {
            self.out.push(' ');
        }
        self.last = next;
    }

    fn verbatim(&mut self, token: Token, lexer: Lexer<'_>) {
        // A stray `$` would open a dollar quote with what follows, and the U of `U&"…"` would
        // continue what stands before.
        let word_like = matches!(token.kind, TokenKind::Word | TokenKind::Number)
            || token.is_byte(b'$')
            || (token.kind == TokenKind::Quoted && token.first != b'"');
        self.space(token.gap, if word_like { Last::WordLike } else { Last::Other });
        self.out.push_str(&String::from_utf8_lossy(lexer.bytes(token)));
    }

    fn literal(&mut self, literal: Literal, text: &str) {
        let own = parameter_number(literal.value, text).and_then(|own| self.numbers.get(&own));
        let number = own.copied().unwrap_or_else(|| {
            self.next_parameter = self.next_parameter.saturating_add(1);
            self.next_parameter
        });
        // The sign of a number was part of the data; any other is an operation on the value.
        let first = literal.type_name.unwrap_or(literal.value);
        if literal.value.kind != TokenKind::Number && literal.start < first.start() {
            self.space(literal.gap, Last::Other);
            for sign in text.get(literal.start..first.start()).unwrap_or_default().chars() {
                match sign {
                    '-' => self.out.push_str("- "),
                    '+' => self.out.push_str("+ "),
                    _ => {}
                }
            }
        } else {
            self.space(literal.gap, Last::WordLike);
        }
        let _infallible = write!(self.out, "${number}");
        if let Some(name) = literal.type_name.and_then(|name| text.get(name.start()..name.end())) {
            self.out.push_str("::");
            self.out.push_str(name);
        }
        self.last = Last::WordLike;
    }
}

/// Where numbers are not data.
#[derive(Default)]
struct Place {
    /// Depth of parentheses.
    depth: u32,
    type_name: TypeName,
    /// `ORDER BY` or `GROUP BY` at this depth, and whether an item of its list begins here.
    list: Option<(u32, bool)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum TypeName {
    #[default]
    No,
    /// Behind `::`.
    Begun,
    /// In the parentheses behind the name.
    Modifiers,
}

impl Place {
    fn keeps(&self, literal: Literal, mut lexer: Lexer<'_>) -> bool {
        let token = literal.value;
        if token.kind != TokenKind::Number || literal.start != token.start() {
            return false;
        }
        if self.type_name == TypeName::Modifiers {
            return true;
        }
        let short = lexer.bytes(token).len() <= 3;
        let begins_item = self.list == Some((self.depth, true));
        short
            && begins_item
            && lexer.bytes(token).iter().all(u8::is_ascii_digit)
            // `ORDER BY 1 + x` is no position.
            && lexer.next().is_none_or(|next| {
                (next.kind == TokenKind::Word && !is_type_name(lexer.bytes(next)))
                    || [b',', b')', b';'].iter().any(|&byte| next.is_byte(byte))
            })
    }

    fn follow(&mut self, piece: Piece, lexer: Lexer<'_>) {
        let is = |byte| matches!(piece, Piece::Other(token) if token.is_byte(byte));
        self.type_name = match (self.type_name, piece) {
            (_, Piece::Other(token)) if token.kind == TokenKind::Cast => TypeName::Begun,
            (_, Piece::Literal(literal)) if literal.type_name.is_some() => TypeName::Begun,
            (TypeName::Begun, Piece::Word(_)) => TypeName::Begun,
            (TypeName::Begun, _) if is(b'.') => TypeName::Begun,
            (TypeName::Begun, _) if is(b'(') => TypeName::Modifiers,
            (TypeName::Modifiers, _) if !is(b')') => TypeName::Modifiers,
            _ => TypeName::No,
        };
        let begins_item = match piece {
            Piece::Word(token) if lexer.is_word(token, "by") => {
                self.list = Some((self.depth, true));
                return;
            }
            _ => is(b','),
        };
        if is(b'(') {
            self.depth += 1;
        } else if is(b')') {
            self.depth = self.depth.saturating_sub(1);
        }
        match &mut self.list {
            // The list ends with its parenthesis, or with a keyword that cannot be part of it.
            Some((depth, _)) if self.depth < *depth => self.list = None,
            Some((depth, begins)) if *depth == self.depth => *begins = begins_item,
            _ => {}
        }
        let ends_list = matches!(piece, Piece::Separator)
            || matches!(piece, Piece::Word(token) if ["having", "limit", "offset", "window",
                "union", "values", "returning"].iter().any(|word| lexer.is_word(token, word)));
        if ends_list {
            self.list = None;
        }
    }
}

#[cfg(test)]
mod tests;
