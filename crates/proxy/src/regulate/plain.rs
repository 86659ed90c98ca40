//! Statements that can be answered without a server, read exactly.
//!
//! What is recognised is written plainly: keywords, a name, comments, a `;` at its end. All else,
//! and all that PostgreSQL might refuse, is not for us to read.

use super::notify::Channel;

/// A statement that needs no server connection of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// White space and comments.
    Empty,
    /// `BEGIN`, `START TRANSACTION`.
    Begin(Begin),
    /// `COMMIT`, `END`.
    Commit,
    /// `ROLLBACK`, `ABORT`.
    Rollback,
    /// `LISTEN`.
    Listen(Channel),
    /// `UNLISTEN`; of all channels, if it names none.
    Unlisten(Option<Channel>),
}

/// Longest name that PostgreSQL keeps, in bytes (`NAMEDATALEN` - 1); it cuts longer ones.
const NAME_MAX: usize = 63;

/// How a transaction block begins. Only with modes that can be refused on no server: a standby
/// refuses `SERIALIZABLE` and `READ WRITE` as soon as it hears them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Begin {
    /// Said as `START TRANSACTION`.
    pub(super) start: bool,
    isolation: Option<&'static str>,
    read_only: bool,
    deferrable: Option<&'static str>,
}

impl Begin {
    /// What it is answered with.
    pub(super) fn command(self) -> &'static [u8] {
        if self.start { b"START TRANSACTION" } else { b"BEGIN" }
    }

    /// The statement with these modes.
    pub(super) fn text(self) -> String {
        let modes = [self.isolation, self.read_only.then_some("READ ONLY"), self.deferrable];
        let modes: Vec<&str> = modes.into_iter().flatten().collect();
        ["BEGIN ", &modes.join(", ")].concat().trim_end().to_owned()
    }

    /// Reads modes (`transaction_mode_list`) up to the end.
    fn with_modes(mut self, words: &mut Words<'_>) -> Option<Self> {
        let mut token = words.next();
        while !token.is_end() {
            match token {
                Token::Word(word) if is(word, "isolation") => {
                    words.expect("level")?;
                    self.isolation = Some(isolation(words)?);
                }
                Token::Word(word) if is(word, "read") => {
                    words.expect("only")?;
                    self.read_only = true;
                }
                Token::Word(word) if is(word, "deferrable") => {
                    self.deferrable = Some("DEFERRABLE");
                }
                Token::Word(word) if is(word, "not") => {
                    words.expect("deferrable")?;
                    self.deferrable = Some("NOT DEFERRABLE");
                }
                _ => return None,
            }
            token = words.next();
            if token == Token::Sign(b',') {
                token = words.next();
                if token.is_end() {
                    return None;
                }
            }
        }
        words.ends(token).then_some(self)
    }
}

fn isolation(words: &mut Words<'_>) -> Option<&'static str> {
    match (words.word()?, words.word()?) {
        (first, second) if is(first, "read") && is(second, "committed") => {
            Some("ISOLATION LEVEL READ COMMITTED")
        }
        (first, second) if is(first, "read") && is(second, "uncommitted") => {
            Some("ISOLATION LEVEL READ UNCOMMITTED")
        }
        (first, second) if is(first, "repeatable") && is(second, "read") => {
            Some("ISOLATION LEVEL REPEATABLE READ")
        }
        _ => None,
    }
}

/// Whether a statement may be one of these, by its first two letters: nearly all others end here.
fn may_be(text: &[u8]) -> bool {
    let Some([first, second]) = text.first_chunk() else { return true };
    match (first.to_ascii_lowercase(), second.to_ascii_lowercase()) {
        (b'a'..=b'z', _) if text.len() < 3 => false,
        (b'b' | b'd', b'e') | (b'd' | b'l', b'i') | (b'c' | b'r', b'o') => true,
        (b's', b't') | (b'e' | b'u', b'n') | (b'a', b'b') => true,
        (first, _) => !first.is_ascii_lowercase(),
    }
}

impl Plain {
    /// Reads a string of statements; nothing if it is another, or more than one.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        if !may_be(text.trim_ascii_start()) {
            return None;
        }
        let mut words = Words { rest: text };
        let first = match words.next() {
            Token::Word(word) => word,
            end if end.is_end() => return words.ends(end).then_some(Self::Empty),
            _ => return None,
        };
        // Few statements begin so; the others are looked at no further.
        if is(first, "begin") {
            words.pass_work();
            Begin::default().with_modes(&mut words).map(Self::Begin)
        } else if is(first, "start") {
            words.expect("transaction")?;
            Begin { start: true, ..Begin::default() }.with_modes(&mut words).map(Self::Begin)
        } else if is(first, "commit") || is(first, "end") {
            words.pass_work();
            words.end().then_some(Self::Commit)
        } else if is(first, "rollback") || is(first, "abort") {
            words.pass_work();
            words.end().then_some(Self::Rollback)
        } else if is(first, "listen") {
            let channel = words.name()?;
            words.end().then_some(Self::Listen(channel))
        } else if is(first, "unlisten") {
            let rest = words.rest;
            let channel = if words.next() == Token::Sign(b'*') {
                None
            } else {
                words.rest = rest;
                Some(words.name()?)
            };
            words.end().then_some(Self::Unlisten(channel))
        } else {
            None
        }
    }
}

fn is(word: &[u8], keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword.as_bytes())
}

/// A token, as far as they matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A keyword or an unquoted name, in ASCII.
    Word(&'a [u8]),
    /// A name in quotes, which are left out.
    Quoted(&'a [u8]),
    /// `,`, `;` or `*`.
    Sign(u8),
    /// The end of the text.
    End,
    /// Anything else.
    Odd,
}

impl Token<'_> {
    /// Whether it ends a statement.
    fn is_end(self) -> bool {
        matches!(self, Self::End | Self::Sign(b';'))
    }
}

/// The tokens of a text.
struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Token<'a> {
        if self.skip_space().is_none() {
            return Token::Odd;
        }
        let Some(first) = self.rest.first().copied() else { return Token::End };
        let belongs = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
        let length = match first {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                self.rest.iter().position(|byte| !belongs(byte)).unwrap_or(self.rest.len())
            }
            b',' | b';' | b'*' => 1,
            b'"' => return self.quoted(),
            _ => return Token::Odd,
        };
        let (token, rest) = self.rest.split_at(length);
        // A letter beyond ASCII goes on with the word.
        if rest.first().is_some_and(|byte| !byte.is_ascii()) {
            return Token::Odd;
        }
        self.rest = rest;
        if matches!(first, b',' | b';' | b'*') { Token::Sign(first) } else { Token::Word(token) }
    }

    fn quoted(&mut self) -> Token<'a> {
        let mut position = 1;
        loop {
            match self.rest.get(position..).unwrap_or_default() {
                [b'"', b'"', ..] => position += 2,
                [b'"', rest @ ..] => {
                    let name = &self.rest[1..position];
                    self.rest = rest;
                    return Token::Quoted(name);
                }
                [] | [0, ..] => return Token::Odd,
                _ => position += 1,
            }
        }
    }

    /// A name as PostgreSQL keeps it.
    fn name(&mut self) -> Option<Channel> {
        let mut name = match self.next() {
            Token::Word(word) => word.to_ascii_lowercase(),
            Token::Quoted(quoted) => {
                let text = std::str::from_utf8(quoted).ok()?;
                text.replace("\"\"", "\"").into_bytes()
            }
            Token::Sign(_) | Token::End | Token::Odd => return None,
        };
        // Beyond ASCII a cut depends on the database's encoding.
        if name.is_empty() || (name.len() > NAME_MAX && !name.is_ascii()) {
            return None;
        }
        name.truncate(NAME_MAX);
        Some(name.into())
    }

    /// Passes over white space and comments; `None` if a comment has no end, or is not in ASCII,
    /// where PostgreSQL would look at its encoding.
    fn skip_space(&mut self) -> Option<()> {
        loop {
            self.rest = match self.rest {
                [b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, rest @ ..] => rest,
                [b'-', b'-', ..] => {
                    let end = self.rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                    self.comment(end.unwrap_or(self.rest.len()))?
                }
                [b'/', b'*', ..] => self.comment(block_comment_end(self.rest)?)?,
                _ => return Some(()),
            };
        }
    }

    fn comment(&self, end: usize) -> Option<&'a [u8]> {
        let (comment, rest) = self.rest.split_at(end);
        comment.is_ascii().then_some(rest)
    }

    fn word(&mut self) -> Option<&'a [u8]> {
        match self.next() {
            Token::Word(word) => Some(word),
            Token::Quoted(_) | Token::Sign(_) | Token::End | Token::Odd => None,
        }
    }

    fn expect(&mut self, keyword: &str) -> Option<()> {
        self.word().filter(|word| is(word, keyword)).map(|_| ())
    }

    /// Passes over `WORK` or `TRANSACTION`.
    fn pass_work(&mut self) {
        let rest = self.rest;
        if !self.word().is_some_and(|word| is(word, "work") || is(word, "transaction")) {
            self.rest = rest;
        }
    }

    /// Whether nothing follows but semicolons.
    fn end(&mut self) -> bool {
        let token = self.next();
        self.ends(token)
    }

    /// Whether this token and all that follow end the statement.
    fn ends(&mut self, mut token: Token<'a>) -> bool {
        while token == Token::Sign(b';') {
            token = self.next();
        }
        token == Token::End
    }
}

/// Block comments nest (manual §4.1.5).
fn block_comment_end(text: &[u8]) -> Option<usize> {
    let mut depth = 0_u32;
    let mut position = 0;
    loop {
        match text.get(position..)? {
            [b'/', b'*', ..] => {
                depth += 1;
                position += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                position += 2;
                if depth == 0 {
                    return Some(position);
                }
            }
            [] => return None,
            _ => position += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(text: &str) -> Option<String> {
        match Plain::read(text.as_bytes())? {
            Plain::Begin(begin) => Some(begin.text()),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn transactions_that_begin() {
        let cases = [
            ("BEGIN", "BEGIN"),
            (" begin work ;; ", "BEGIN"),
            ("Begin Transaction; -- now", "BEGIN"),
            ("/* a /* b */ c */ start transaction", "BEGIN"),
            (
                "begin isolation level repeatable read read only, not deferrable",
                "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY, NOT DEFERRABLE",
            ),
            (
                "START TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;",
                "BEGIN ISOLATION LEVEL READ UNCOMMITTED",
            ),
            ("BEGIN DEFERRABLE", "BEGIN DEFERRABLE"),
        ];
        for (text, expected) in cases {
            assert_eq!(begin(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(Plain::read(b"start transaction").map(|_| ()), Some(()));
    }

    #[test]
    fn what_ends_a_transaction_or_is_nothing() {
        let cases = [
            ("COMMIT", Plain::Commit),
            ("end work;", Plain::Commit),
            ("rollback transaction", Plain::Rollback),
            ("ABORT", Plain::Rollback),
            ("", Plain::Empty),
            (" ; ;", Plain::Empty),
            ("-- ping", Plain::Empty),
            ("/* keep alive */ ;", Plain::Empty),
        ];
        for (text, expected) in cases {
            assert_eq!(Plain::read(text.as_bytes()), Some(expected), "{text}");
        }
    }

    #[test]
    fn channels_are_named_as_postgresql_names_them() {
        let long = "x".repeat(70);
        let cases = [
            ("LISTEN a", "a"),
            ("listen Orders_1$;", "orders_1$"),
            ("LISTEN \"Or\"\"ders\" -- all", "Or\"ders"),
            ("LISTEN \"é\"", "é"),
            (&format!("LISTEN {long}"), &long[..63]),
        ];
        for (text, expected) in cases {
            let expected = Channel::from(expected.as_bytes());
            assert_eq!(Plain::read(text.as_bytes()), Some(Plain::Listen(expected)), "{text}");
        }
        let channel = Channel::from(&b"a"[..]);
        assert_eq!(Plain::read(b"UNLISTEN \"a\""), Some(Plain::Unlisten(Some(channel))));
        assert_eq!(Plain::read(b"unlisten *;"), Some(Plain::Unlisten(None)));
        for text in ["LISTEN", "LISTEN a b", "LISTEN é", "LISTEN \"\"", "LISTEN \"a", "LISTEN 'a'"]
        {
            assert_eq!(Plain::read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_only_postgresql_can_read() {
        let cases = [
            "BEGIN READ WRITE",
            "BEGIN ISOLATION LEVEL SERIALIZABLE",
            "BEGIN ISOLATION LEVEL READ",
            "BEGIN READ ONLY,",
            "BEGIN, READ ONLY",
            "BEGIN WORK TRANSACTION",
            "BEGIN; SELECT 1",
            "BEGIN; BEGIN",
            "BEGINé",
            "START",
            "START TRANSACTION WORK",
            "COMMIT AND CHAIN",
            "COMMIT PREPARED 'x'",
            "ROLLBACK TO a",
            "ROLLBACK; SELECT 1",
            "SELECT 1",
            "/* no end",
            "-- é",
            "*/",
            "\"BEGIN\"",
        ];
        for text in cases {
            assert_eq!(Plain::read(text.as_bytes()), None, "{text}");
        }
    }
}
