//! Statements that only throw away: answered without the server where they concern only the
//! session's own names.

use crate::statements::OUR_PREFIX;

/// A statement that does nothing but throw prepared statements away, or all that a session left.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tidying {
    /// `DEALLOCATE name`.
    One(String),
    /// `DEALLOCATE ALL`.
    AllStatements,
    /// `DISCARD ALL`.
    Everything,
}

impl Tidying {
    /// Reads a statement; nothing if it is another, or more than one, or oddly written.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        // Few statements begin so; the others are not looked at.
        if !matches!(text.trim_ascii_start().first(), Some(b'd' | b'D')) {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?.trim_ascii().trim_end_matches(';');
        let is = |word: &str, keyword: &str| word.eq_ignore_ascii_case(keyword);
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        match words.as_slice() {
            [discard, all] if is(discard, "discard") && is(all, "all") => Some(Self::Everything),
            [deallocate, name] if is(deallocate, "deallocate") => Self::of_name(name),
            [deallocate, prepare, name]
                if is(deallocate, "deallocate") && is(prepare, "prepare") =>
            {
                Self::of_name(name)
            }
            _ => None,
        }
    }

    fn of_name(identifier: &str) -> Option<Self> {
        if identifier.eq_ignore_ascii_case("all") {
            return Some(Self::AllStatements);
        }
        let name = match identifier.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => identifier.to_ascii_lowercase(),
        };
        let is_one = !identifier.contains(';') && !name.starts_with(OUR_PREFIX);
        is_one.then_some(Self::One(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_only_tidy_up() {
        let one = |name: &str| Some(Tidying::One(name.to_owned()));
        let cases = [
            ("DEALLOCATE x", one("x")),
            (" deallocate PREPARE Xy ; ", one("xy")),
            ("DEALLOCATE \"X\"\"y\"", one("X\"y")),
            ("DEALLOCATE ALL;", Some(Tidying::AllStatements)),
            ("deallocate prepare all", Some(Tidying::AllStatements)),
            ("DISCARD ALL", Some(Tidying::Everything)),
            ("DISCARD PLANS", None),
            ("DELETE FROM t", None),
            ("DEALLOCATE a; DEALLOCATE ALL", None),
            ("DEALLOCATE a;b", None),
            ("DEALLOCATE surgetank_1", None),
            ("SELECT 1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Tidying::read(text.as_bytes()), expected, "{text}");
        }
    }
}
