//! Whether two texts are the same statement but for plain numbers and strings, told without reading
//! either: a few instructions a byte, for those who have read one of them already.
//!
//! Two texts with the same skeleton have the same tokens but for the contents of literals, so
//! whatever of [`crate::read`] does not depend on those contents is the same.

/// Stand for a literal. No text that is UTF-8 has these bytes. They are two, for strings that
/// follow each other are one (`'a''b'`, and over a line's end), which string and number are not.
const NUMBER: u8 = 0xfe;
const STRING: u8 = 0xff;

/// What a byte may begin, or be part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Nothing that matters here.
    Plain,
    /// A number, unless it goes on from what stands before it.
    Digit,
    /// A string.
    Quote,
    /// Perhaps something in which quotes and digits mean something else.
    Doubt,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut digit = b'0';
    while digit <= b'9' {
        classes[digit as usize] = Class::Digit;
        digit += 1;
    }
    classes[b'\'' as usize] = Class::Quote;
    let doubts = b"\"-/$";
    let mut index = 0;
    while index < doubts.len() {
        classes[doubts[index] as usize] = Class::Doubt;
        index += 1;
    }
    classes[NUMBER as usize] = Class::Doubt;
    classes[STRING as usize] = Class::Doubt;
    classes
};

/// Whether eight bytes hold nothing that matters, as far as can be told of all at once: no byte
/// from `"` to `9`, where all of ASCII that matters is, and none beyond ASCII.
fn are_plain(bytes: [u8; 8]) -> bool {
    const EACH: u64 = u64::MAX / 0xff;
    const TOP: u64 = EACH * 0x80;
    let bytes = u64::from_ne_bytes(bytes);
    let ascii = bytes & !TOP;
    // Sums stay within their bytes; the top bit tells whether the byte is as large as that.
    let from_first = ascii + EACH * (0x80 - b'"' as u64);
    let beyond_last = ascii + EACH * (0x80 - (b'9' as u64 + 1));
    ((from_first & !beyond_last) | bytes) & TOP == 0
}

/// Writes a text's skeleton: the text with each plain number and string replaced by one byte.
/// `false`, and nothing of use written, where that cannot be told.
#[must_use]
pub fn skeleton(text: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let (mut written, mut at) = (0, 0);
    while let Some(&byte) = text.get(at) {
        let (end, literal) = match CLASSES[usize::from(byte)] {
            Class::Plain => {
                at += 1;
                while let Some(bytes) = text.get(at..).and_then(|rest| rest.first_chunk())
                    && are_plain(*bytes)
                {
                    at += bytes.len();
                }
                continue;
            }
            Class::Digit => (number_end(text, at), NUMBER),
            // A prefix (`E'…'`) may give the content another syntax.
            Class::Quote if goes_on(text, at.wrapping_sub(1)) => return false,
            Class::Quote => match memchr::memchr(b'\'', &text[at + 1..]) {
                Some(length) => (at + length + 2, STRING),
                None => return false,
            },
            Class::Doubt if !is_harmless(text, at) => return false,
            Class::Doubt => {
                at += 1;
                continue;
            }
        };
        if end == at {
            at += 1;
            continue;
        }
        out.extend_from_slice(&text[written..at]);
        out.push(literal);
        (written, at) = (end, end);
    }
    out.extend_from_slice(&text[written..]);
    true
}

/// The end of the whole number that begins here; here, if it is part of something longer (`a1`,
/// `1.5`, `0x1f`, `1e9`), which is rarer and so compared byte by byte.
fn number_end(text: &[u8], at: usize) -> usize {
    if goes_on(text, at.wrapping_sub(1)) {
        return at;
    }
    let digits = text[at..].iter().position(|byte| !byte.is_ascii_digit());
    let end = digits.map_or(text.len(), |count| at + count);
    if goes_on(text, end) { at } else { end }
}

/// Whether the byte there may be part of a word, a number or a name with dots.
#[inline]
fn goes_on(text: &[u8], at: usize) -> bool {
    text.get(at).is_some_and(|&byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.' | 0x80..)
    })
}

/// Whether this is no comment, no dollar quote and no quoted name, in which quotes and digits would
/// mean something else.
fn is_harmless(text: &[u8], at: usize) -> bool {
    match (text[at], text.get(at + 1)) {
        (b'-', next) => next != Some(&b'-'),
        (b'/', next) => next != Some(&b'*'),
        (b'$', next) => next.is_some_and(u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same_skeleton(a: &str, b: &str) -> bool {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        skeleton(a.as_bytes(), &mut one) && skeleton(b.as_bytes(), &mut other) && one == other
    }

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
            assert!(same_skeleton(a, b), "{a} {b}");
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
            ("select 'a'1", "select 'a''b'"),
            ("select 'a'\n1", "select 'a'\n'b'"),
            ("select 1", "select 'a'"),
        ];
        for (a, b) in other {
            assert!(!same_skeleton(a, b), "{a} {b}");
        }
    }

    #[test]
    fn eight_bytes_are_plain_only_if_each_is() {
        let matters = |byte: u8| CLASSES[usize::from(byte)] != Class::Plain;
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                for others in [b'a', b' ', b'!', b':', 0x7f] {
                    let mut bytes = [others; 8];
                    bytes[place] = byte;
                    assert!(!(are_plain(bytes) && matters(byte)), "{byte} at {place}");
                }
            }
        }
        assert!(are_plain(*b"SELECT a") && are_plain(*b"_ = from"));
    }

    proptest! {
        /// What a reader may conclude from equal skeletons is true.
        #[test]
        fn the_same_skeleton_is_the_same_statement(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "select", " ", "a1", "t", ".", ",", "(", ")", "-", "--", "\n", "/*", "*/", "$",
                    "$1", "$$", "e", "w", "U&", "'", "\\", "\"", "::", ";", "in", "date", "1", "0x",
                    "é",
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
            if same_skeleton(&a, &b) {
                prop_assert_eq!(crate::fingerprint(&a), crate::fingerprint(&b), "{} | {}", a, b);
                prop_assert_eq!(crate::read(&a).kind, crate::read(&b).kind);
            }
        }
    }
}
