//! The names that a text names anything by: relations, columns, functions, types, operators.

use crate::lexer::{Lexer, TokenKind};

/// Longest name that PostgreSQL keeps, in bytes (`NAMEDATALEN` - 1); it cuts longer ones.
const NAME_BYTES_MAX: usize = 63;

/// A name in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identifier<'a> {
    /// A name as PostgreSQL keeps it; keywords are among them.
    Name(&'a str),
    /// An operator.
    Operator(&'a str),
    /// One that only PostgreSQL can read: `U&"…"`, or bytes that are no text.
    Unreadable,
}

/// Tells each name in a text, some of them several times.
pub fn identifiers(text: &str, mut tell: impl FnMut(Identifier<'_>)) {
    let mut lexer = Lexer::new(text);
    while let Some(token) = lexer.next() {
        let bytes = lexer.bytes(token);
        let Ok(part) = std::str::from_utf8(bytes) else {
            tell(Identifier::Unreadable);
            continue;
        };
        match token.kind {
            TokenKind::Word => tell(Identifier::Name(kept(&part.to_ascii_lowercase()))),
            TokenKind::Quoted => {
                match part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
                    Some(name) => tell(Identifier::Name(kept(&name.replace("\"\"", "\"")))),
                    None => tell(Identifier::Unreadable),
                }
            }
            TokenKind::Operator => tell(Identifier::Operator(part)),
            TokenKind::String
            | TokenKind::Number
            | TokenKind::Parameter
            | TokenKind::Punctuation
            | TokenKind::Cast => {}
        }
    }
}

fn kept(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        identifiers(text, |identifier| {
            found.push(match identifier {
                Identifier::Name(name) => name.to_owned(),
                Identifier::Operator(operator) => format!("[{operator}]"),
                Identifier::Unreadable => "?".to_owned(),
            });
        });
        found
    }

    #[test]
    fn names_are_told_as_postgresql_keeps_them() {
        let cases = [
            ("SELECT Fn(a) FROM S.\"T\"", "select fn a from s T"),
            ("select \"a\"\"b\"", "select a\"b"),
            ("select a <-> b, 'x', $1, 5 -- c", "select a [<->] b"),
            ("select U&\"\\0061\"", "select ?"),
            ("select é", "select é"),
        ];
        for (text, expected) in cases {
            assert_eq!(all(text).join(" "), expected, "{text}");
        }
        let long = "x".repeat(70);
        assert_eq!(all(&long)[0].len(), 63);
    }
}
