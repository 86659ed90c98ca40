//! Tags that an app's framework wrote into a trailing comment (sqlcommenter's format:
//! `/*action='checkout',traceparent='00-…'*/`, keys and values URL-encoded).

use crate::lexer::Lexer;

/// The tags of the trailing comment, in their order; empty if it is none of sqlcommenter's.
#[must_use]
pub fn comment_tags(text: &str) -> Vec<(String, String)> {
    let mut lexer = Lexer::new(text);
    let mut token_end = 0;
    for token in lexer.by_ref() {
        // Frameworks put the comment on either side of the semicolon.
        if !token.is_byte(b';') {
            token_end = token.end();
        }
    }
    let comment = lexer.trailing_comment(token_end);
    let body = comment
        .and_then(|comment| comment.strip_prefix(b"/*"))
        .and_then(|rest| rest.strip_suffix(b"*/"));
    match body {
        Some(body) => tags(body).unwrap_or_default(),
        None => Vec::new(),
    }
}

/// `key='value'` separated by commas; `None` at the first thing that is not.
fn tags(mut rest: &[u8]) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        let equals = rest.iter().position(|&byte| byte == b'=')?;
        let key = rest.get(..equals)?.trim_ascii();
        rest = rest.get(equals + 1..)?.trim_ascii_start().strip_prefix(b"'")?;
        let close = closing_quote(rest)?;
        found.push((decode(key), decode(rest.get(..close)?)));
        rest = rest.get(close + 1..)?.trim_ascii_start();
        match rest.split_first() {
            None => return Some(found),
            Some((b',', behind)) => rest = behind,
            Some(_) => return None,
        }
    }
}

/// A quote inside a value is written `\'`.
fn closing_quote(rest: &[u8]) -> Option<usize> {
    let mut escaped = false;
    rest.iter().position(|&byte| {
        let closes = byte == b'\'' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

/// Takes away `\` before a quote and `%XX`; what is not well encoded stays as it is.
fn decode(raw: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        match (first, behind) {
            (b'\\', [b'\'', ..]) => {}
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(first),
            },
            _ => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::comment_tags;

    fn tags(text: &str) -> Vec<(String, String)> {
        comment_tags(text)
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn reads_and_decodes_the_trailing_comment() {
        let text = "SELECT 1 /*action='%2Fpolls%201',route='it\\'s',traceparent='00-5b-9c-01'*/;";
        assert_eq!(
            tags(text),
            [pair("action", "/polls 1"), pair("route", "it's"), pair("traceparent", "00-5b-9c-01")]
        );
        assert_eq!(tags("SELECT 1; /*a='b'*/ "), [pair("a", "b")]);
    }

    #[test]
    fn other_comments_have_no_tags() {
        for text in [
            "SELECT 1",
            "/*a='b'*/ SELECT 1",
            "SELECT /*a='b'*/ 1",
            "SELECT 1 /* nothing here */",
            "SELECT 1 -- a='b'",
            "SELECT 1 /*a='b",
            "SELECT 1 /*a='b' c*/",
            "SELECT '/*a=''b''*/'",
            "",
        ] {
            assert_eq!(tags(text), [], "{text}");
        }
    }
}
