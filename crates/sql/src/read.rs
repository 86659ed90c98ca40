//! One pass over a statement's text: the hot path of the proxy.

use crate::canon::Canon;
use crate::classify::Classifier;
use crate::kind::{Effects, Kind};
use crate::lexer::TokenKind;
use crate::pieces::{Literal, Piece, Pieces};

/// What can be told of a statement from its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its identity apart from data; never 0.
    pub fingerprint: u64,
    /// What it is; of several statements, the first.
    pub kind: Kind,
    /// What it may do to its session; of several statements, all together.
    pub effects: Effects,
}

/// Reads a statement (or several, separated by `;`). Does not allocate; never fails.
#[must_use]
pub fn read(text: &str) -> Statement {
    let mut canon = Canon::new();
    let mut classifier = Classifier::new();
    let mut pieces = Pieces::new(text);
    while let Some(piece) = pieces.next() {
        let lexer = pieces.lexer();
        match piece {
            Piece::Word(token) => {
                let word = canon.word(lexer.bytes(token));
                classifier.word(word, lexer);
            }
            Piece::Literal(Literal { type_name, .. }) => {
                canon.token(LITERAL);
                if let Some(word) = type_name {
                    canon.token(b"::");
                    canon.word(lexer.bytes(word));
                }
                classifier.other(LITERAL[0]);
            }
            Piece::Constant(_) => {
                canon.token(LITERAL);
                classifier.other(LITERAL[0]);
            }
            Piece::Separator => {
                canon.token(b";");
                classifier.end();
                classifier.separator();
            }
            Piece::Other(token) => {
                let bytes = lexer.bytes(token);
                canon.token(bytes);
                match token.kind {
                    TokenKind::Quoted => classifier.quoted(bytes, lexer),
                    _ => classifier.other(bytes.first().copied().unwrap_or_default()),
                }
            }
        }
    }
    classifier.end();
    let (kind, effects) = classifier.finish();
    Statement { fingerprint: canon.finish(), kind, effects }
}

/// The identity of a statement: equal for texts that differ only in literals, parameters, comments,
/// white space, the case of keywords and unquoted names, and the length of lists of literals.
///
/// xxh3-64 over the canonical tokens; never 0.
#[must_use]
pub fn fingerprint(text: &str) -> u64 {
    read(text).fingerprint
}

/// Stands for every literal and parameter. No token of a text looks like it: `$` alone is one byte
/// of punctuation, and a parameter never reaches the canonical form.
const LITERAL: &[u8] = b"$?";

#[cfg(test)]
mod tests;
