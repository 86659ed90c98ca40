//! Whether two texts are the same statement but for plain numbers and strings, told without reading
//! either: a few instructions a byte, for those who have read one of them already.
//!
//! Two texts with the same skeleton have the same tokens but for the contents of literals, so
//! whatever of [`crate::read`] does not depend on those contents is the same.

/// Stands for a literal in the hash.
const LITERAL: u8 = 0xff;

/// One step through a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A byte that must be the same.
    Byte(u8),
    /// A literal, whatever it holds.
    Literal,
    /// Something whose end this walk cannot tell.
    Doubtful,
}

/// Walks a text by bytes and plain literals.
struct Walk<'a> {
    rest: &'a [u8],
    /// Whether a word, a number or a name with a dot could go on here.
    inside: bool,
}

impl Walk<'_> {
    #[inline]
    fn step(&mut self) -> Option<Step> {
        let (&byte, rest) = self.rest.split_first()?;
        let after_word = std::mem::replace(&mut self.inside, goes_on(byte));
        match byte {
            b'0'..=b'9' if !after_word => {
                let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
                // `1.5`, `0x1f`, `1e9`: rarer, and so compared byte by byte.
                if rest.get(end).copied().is_some_and(goes_on) {
                    self.rest = rest;
                    return Some(Step::Byte(byte));
                }
                self.rest = &rest[end..];
                Some(Step::Literal)
            }
            // A prefix (`E'…'`) may give the content another syntax, and between double quotes
            // digits are a name.
            b'\'' if after_word => Some(Step::Doubtful),
            b'"' => Some(Step::Doubtful),
            // A quote in a comment or between dollars is none.
            b'-' if rest.first() == Some(&b'-') => Some(Step::Doubtful),
            b'/' if rest.first() == Some(&b'*') => Some(Step::Doubtful),
            b'$' if !rest.first().is_some_and(u8::is_ascii_digit) => Some(Step::Doubtful),
            b'\'' => match rest.iter().position(|byte| *byte == b'\'') {
                Some(end) => {
                    self.rest = &rest[end + 1..];
                    Some(Step::Literal)
                }
                None => Some(Step::Doubtful),
            },
            _ => {
                self.rest = rest;
                Some(Step::Byte(byte))
            }
        }
    }
}

/// Whether a number behind this byte is part of something longer.
#[inline]
fn goes_on(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.' | 0x80..)
}

/// A hash that is equal for texts of the same skeleton; `None` where the skeleton is in doubt.
#[must_use]
pub fn skeleton(text: &[u8]) -> Option<u64> {
    let mut walk = Walk { rest: text, inside: false };
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    while let Some(step) = walk.step() {
        let byte = match step {
            Step::Byte(byte) => byte,
            Step::Literal => LITERAL,
            Step::Doubtful => return None,
        };
        // FNV-1a.
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    Some(hash)
}

/// Whether two texts have the same skeleton.
#[must_use]
pub fn same_skeleton(a: &[u8], b: &[u8]) -> bool {
    let (mut a, mut b) = (Walk { rest: a, inside: false }, Walk { rest: b, inside: false });
    loop {
        match (a.step(), b.step()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one == other && one != Step::Doubtful => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_plain_literals_may_differ() {
        let same = [
            ("select 1", "select 23"),
            ("select a1 from t where b = 'x' and c=5;", "select a1 from t where b = '' and c=77;"),
            ("in (1, 2)", "in (30, 4)"),
            ("select 'it''s'", "select 'was''s'"),
            ("select $1", "select $1"),
        ];
        for (a, b) in same {
            assert!(same_skeleton(a.as_bytes(), b.as_bytes()), "{a} {b}");
            assert_eq!(skeleton(a.as_bytes()), skeleton(b.as_bytes()), "{a} {b}");
        }
        let other = [
            ("select a1", "select a2"),
            ("select 1", "select -1"),
            ("select 1", "select 1.5"),
            ("select '1'", "select ' 1"),
            ("select \"1\"", "select \"1\""),
            ("select e'1'", "select e'1'"),
            ("select t.1", "select t.2"),
            ("select $1", "select $2"),
            ("select 1", "select 1 "),
            ("select 0x1", "select 0x2"),
            ("--'\na'", "--'\nb'"),
            ("$$'$$ a '", "$$'$$ b '"),
        ];
        for (a, b) in other {
            assert!(!same_skeleton(a.as_bytes(), b.as_bytes()), "{a} {b}");
        }
    }

    proptest! {
        /// What a reader may conclude from equal skeletons is true.
        #[test]
        fn the_same_skeleton_is_the_same_statement(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "select", " ", "a1", "t", ".", ",", "(", ")", "-", "--", "\n", "/*", "*/", "$",
                    "$1", "$$", "e", "w", "U&", "'", "\\", "\"", "::", ";", "in", "date", "1", "0x", "é",
                ]),
                0..24,
            ),
            literals in prop::collection::vec((0u32..300, 0u32..300), 24),
        ) {
            let fill = |second: bool| {
                let mut text = String::new();
                for (part, literal) in parts.iter().zip(&literals) {
                    match *part {
                        "1" => text += &(if second { literal.1 } else { literal.0 }).to_string(),
                        "w" => text += if second { "x" } else { "y" },
                        part => text += part,
                    }
                }
                text
            };
            let (a, b) = (fill(false), fill(true));
            if same_skeleton(a.as_bytes(), b.as_bytes()) {
                prop_assert_eq!(crate::fingerprint(&a), crate::fingerprint(&b), "{} | {}", a, b);
                prop_assert_eq!(crate::read(&a).kind, crate::read(&b).kind);
                prop_assert_eq!(skeleton(a.as_bytes()), skeleton(b.as_bytes()));
            }
        }
    }
}
