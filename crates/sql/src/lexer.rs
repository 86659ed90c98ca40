//! PostgreSQL's lexical rules (manual §4.1), as far as they decide where a token ends.
//!
//! Works on bytes: every byte ≥ 0x80 belongs to an identifier, as in PostgreSQL, so a token never
//! ends inside a UTF-8 character. `standard_conforming_strings` is taken to be on.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A keyword or an unquoted identifier.
    Word,
    /// `"…"` or `U&"…"`.
    Quoted,
    /// `'…'`, `E'…'`, `B'…'`, `X'…'`, `N'…'`, `U&'…'`, `$tag$…$tag$`.
    String,
    /// `1`, `1.5e-3`, `0x1F`, `1_000`.
    Number,
    /// `$1`.
    Parameter,
    /// One or more of PostgreSQL's operator characters.
    Operator,
    /// `(`, `)`, `[`, `]`, `,`, `;`, `.`, `:` and any byte that means nothing.
    Punctuation,
    /// `::`.
    Cast,
}

/// A token by its place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// What it is.
    pub(crate) kind: TokenKind,
    /// Its first byte.
    pub(crate) first: u8,
    /// Offset of its first byte.
    start: u32,
    /// Offset behind its last byte.
    end: u32,
    /// Whether white space or a comment stood before it.
    pub(crate) gap: bool,
}

impl Token {
    /// Offset of its first byte.
    #[inline]
    pub(crate) fn start(&self) -> usize {
        self.start as usize
    }

    /// Offset behind its last byte.
    #[inline]
    pub(crate) fn end(&self) -> usize {
        self.end as usize
    }

    /// How many bytes it has; never 0.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it is this punctuation or operator of one byte.
    #[inline]
    pub(crate) fn is_byte(&self, byte: u8) -> bool {
        self.first == byte
            && self.len() == 1
            && matches!(self.kind, TokenKind::Punctuation | TokenKind::Operator)
    }

    /// Whether it is a `-` or `+` alone.
    #[inline]
    pub(crate) fn is_sign(&self) -> bool {
        self.is_byte(b'-') || self.is_byte(b'+')
    }
}

/// A position in a text. Copying it is how others look ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexer<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        // Offsets have 32 bits, as tokens are moved about a lot; PostgreSQL takes no text beyond
        // 1 GiB.
        let bytes = text.as_bytes();
        Self { bytes: bytes.get(..u32::MAX as usize).unwrap_or(bytes), position: 0 }
    }

    /// The bytes of a token of this text.
    pub(crate) fn bytes(&self, token: Token) -> &'a [u8] {
        self.bytes.get(token.start()..token.end()).unwrap_or_default()
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Goes on from another place, which must be the start or the end of a token.
    pub(crate) fn jump(&mut self, position: usize) {
        self.position = position;
    }

    /// What follows the last token: white space, comments and semicolons. The last of its comments.
    pub(crate) fn trailing_comment(mut self, token_end: usize) -> Option<&'a [u8]> {
        self.position = token_end;
        let mut comment = None;
        while self.position < self.bytes.len() {
            let start = self.position;
            if self.skip_comment() {
                comment = self.bytes.get(start..self.position);
            } else {
                self.position += 1;
            }
        }
        comment
    }

    /// Whether `token` is this word, given in lower case.
    pub(crate) fn is_word(&self, token: Token, lower: &str) -> bool {
        token.kind == TokenKind::Word
            && token.len() == lower.len()
            && self.bytes(token).eq_ignore_ascii_case(lower.as_bytes())
    }

    /// The byte at `position`; 0, which begins no token, behind the end.
    #[inline]
    fn at(&self, position: usize) -> u8 {
        self.bytes.get(position).copied().unwrap_or(0)
    }

    /// The first position from `from` on whose byte is not in the class.
    #[inline]
    fn run(&self, from: usize, belongs: impl Fn(u8) -> bool) -> usize {
        let rest = self.bytes.get(from..).unwrap_or_default();
        from + rest.iter().position(|&byte| !belongs(byte)).unwrap_or(rest.len())
    }

    #[inline]
    fn skip_space_and_comments(&mut self) {
        loop {
            match self.at(self.position) {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => self.position += 1,
                b'-' | b'/' if self.skip_comment() => {}
                _ => return,
            }
        }
    }

    /// Passes over a comment; `false` if none begins here.
    fn skip_comment(&mut self) -> bool {
        let start = self.position;
        self.position = match (self.at(start), self.at(start + 1)) {
            (b'-', b'-') => self.run(start, |byte| byte != b'\n' && byte != b'\r'),
            (b'/', b'*') => self.block_comment_end(start),
            _ => return false,
        };
        true
    }

    /// Block comments nest (manual §4.1.5).
    fn block_comment_end(&self, start: usize) -> usize {
        let mut depth = 0_usize;
        let mut position = start;
        while position < self.bytes.len() {
            match (self.at(position), self.at(position + 1)) {
                (b'/', b'*') => {
                    depth += 1;
                    position += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    position += 2;
                    if depth == 0 {
                        return position;
                    }
                }
                _ => position += 1,
            }
        }
        self.bytes.len()
    }

    /// The end of a string whose opening quote stands at `open`, with the strings that continue it:
    /// two constants separated by white space *with a newline* are one (manual §4.1.2.1).
    fn string_end(&self, open: usize, escapes: Escapes) -> usize {
        let mut end = self.quoted_end(open, b'\'', escapes);
        loop {
            let next = self.run(end, |byte| byte.is_ascii_whitespace() || byte == 0x0b);
            let between = self.bytes.get(end..next).unwrap_or_default();
            let has_newline = between.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
            if !has_newline || self.at(next) != b'\'' {
                return end;
            }
            end = self.quoted_end(next, b'\'', escapes);
        }
    }

    /// The position behind the closing quote; a doubled quote is part of the content.
    fn quoted_end(&self, open: usize, quote: u8, escapes: Escapes) -> usize {
        let mut position = open + 1;
        while position < self.bytes.len() {
            let byte = self.at(position);
            if byte == quote {
                if self.at(position + 1) != quote {
                    return position + 1;
                }
                position += 2;
            } else if byte == b'\\' && escapes == Escapes::Backslash {
                position += 2;
            } else {
                position += 1;
            }
        }
        self.bytes.len()
    }

    /// A token that begins with `$`: a parameter, a dollar-quoted string, or a stray byte.
    fn dollar(&self, start: usize) -> (TokenKind, usize) {
        let after = start + 1;
        if self.at(after).is_ascii_digit() {
            return (TokenKind::Parameter, self.run(after, |byte| byte.is_ascii_digit()));
        }
        // The tag of a dollar quote is an identifier without `$` (manual §4.1.2.4).
        let tag_end = self.run(after, |byte| is_word_byte(byte) && byte != b'$');
        if self.at(tag_end) != b'$' {
            return (TokenKind::Punctuation, after);
        }
        let content = tag_end + 1;
        let tag = self.bytes.get(start..content).unwrap_or_default();
        let mut position = content;
        while let Some(rest) = self.bytes.get(position..).filter(|rest| !rest.is_empty()) {
            if rest.starts_with(tag) {
                return (TokenKind::String, position + tag.len());
            }
            // To the next `$`: a tag cannot begin elsewhere.
            position = self.run(position + 1, |byte| byte != b'$');
        }
        (TokenKind::String, self.bytes.len())
    }

    fn number_end(&self, start: usize) -> usize {
        let digit = |byte: u8| byte.is_ascii_digit() || byte == b'_';
        if self.at(start) == b'0' && matches!(self.at(start + 1) | 0x20, b'x' | b'o' | b'b') {
            let end = self.run(start + 2, |byte| byte.is_ascii_hexdigit() || byte == b'_');
            if end > start + 2 {
                return end;
            }
        }
        let mut end = self.run(start, digit);
        // `1..2` is two numbers around `..`.
        if self.at(end) == b'.' && self.at(end + 1) != b'.' {
            end = self.run(end + 1, digit);
        }
        if self.at(end) | 0x20 == b'e' {
            let signed = usize::from(matches!(self.at(end + 1), b'+' | b'-'));
            if self.at(end + 1 + signed).is_ascii_digit() {
                end = self.run(end + 1 + signed, digit);
            }
        }
        end
    }

    /// Manual §4.1.3: `--` and `/*` end an operator, and one of several characters cannot end in
    /// `+` or `-` unless it also holds one of `~ ! @ # % ^ & | ` ?`.
    fn operator_end(&self, start: usize) -> usize {
        let is_sign = |position: usize| matches!(self.at(position), b'+' | b'-');
        // What an operator gave back is signs to the end of the run: each stands alone, and the
        // run is not looked through again for each of them.
        if start > 0 && is_sign(start - 1) && is_sign(start) {
            return start + 1;
        }
        let mut end = start;
        while is_operator_byte(self.at(end)) {
            if matches!((self.at(end), self.at(end + 1)), (b'-', b'-') | (b'/', b'*')) {
                break;
            }
            end += 1;
        }
        let may_end_in_sign = self.bytes.get(start..end).unwrap_or_default().iter().any(|byte| {
            matches!(byte, b'~' | b'!' | b'@' | b'#' | b'%' | b'^' | b'&' | b'|' | b'`' | b'?')
        });
        while end > start + 1 && is_sign(end - 1) && !may_end_in_sign {
            end -= 1;
        }
        end
    }

    #[inline]
    fn word_or_prefixed(&self, start: usize) -> (TokenKind, usize) {
        let end = self.run(start + 1, is_word_byte);
        // Only `e'`, `b'`, `x'`, `n'` and `u&` begin something else.
        if end == start + 1 && matches!(self.at(end), b'\'' | b'&') {
            return self.prefixed(start);
        }
        (TokenKind::Word, end)
    }

    fn prefixed(&self, start: usize) -> (TokenKind, usize) {
        let next = start + 1;
        match (self.at(start) | 0x20, self.at(next), self.at(next + 1)) {
            (b'e', b'\'', _) => (TokenKind::String, self.string_end(next, Escapes::Backslash)),
            (b'b' | b'x' | b'n', b'\'', _) => {
                (TokenKind::String, self.string_end(next, Escapes::None))
            }
            (b'u', b'&', b'\'') => (TokenKind::String, self.string_end(next + 1, Escapes::None)),
            (b'u', b'&', b'"') => {
                (TokenKind::Quoted, self.quoted_end(next + 1, b'"', Escapes::None))
            }
            _ => (TokenKind::Word, next),
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    #[inline]
    fn next(&mut self) -> Option<Token> {
        let before = self.position;
        self.skip_space_and_comments();
        let start = self.position;
        let &first = self.bytes.get(start)?;
        let (kind, end) = match first {
            _ if is_word_start(first) => self.word_or_prefixed(start),
            b'0'..=b'9' => (TokenKind::Number, self.number_end(start)),
            b'.' if self.at(start + 1).is_ascii_digit() => {
                (TokenKind::Number, self.number_end(start))
            }
            b'\'' => (TokenKind::String, self.string_end(start, Escapes::None)),
            b'"' => (TokenKind::Quoted, self.quoted_end(start, b'"', Escapes::None)),
            b'$' => self.dollar(start),
            b':' if self.at(start + 1) == b':' => (TokenKind::Cast, start + 2),
            _ if is_operator_byte(first) => (TokenKind::Operator, self.operator_end(start)),
            _ => (TokenKind::Punctuation, start + 1),
        };
        // A backslash at the very end may have skipped beyond it.
        let end = end.min(self.bytes.len());
        self.position = end;
        let offset = |position: usize| u32::try_from(position).unwrap_or(u32::MAX);
        Some(Token { kind, first, start: offset(start), end: offset(end), gap: start > before })
    }
}

/// Whether a backslash in a string takes the next byte with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    None,
    Backslash,
}

const WORD_START: u8 = 1;
const WORD: u8 = 2;
const OPERATOR: u8 = 4;

/// The classes of each byte: one look instead of a chain of comparisons, on the hottest loops.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte {
            0x41..=0x5a | 0x61..=0x7a | 0x5f | 0x80.. => WORD_START | WORD,
            0x30..=0x39 | 0x24 => WORD,
            _ => 0,
        };
        byte += 1;
    }
    let operators = b"~!@#^&|`?+-*/%<>=";
    let mut index = 0;
    while index < operators.len() {
        classes[operators[index] as usize] = OPERATOR;
        index += 1;
    }
    classes
};

const fn is_word_start(byte: u8) -> bool {
    CLASSES[byte as usize] & WORD_START != 0
}

const fn is_word_byte(byte: u8) -> bool {
    CLASSES[byte as usize] & WORD != 0
}

const fn is_operator_byte(byte: u8) -> bool {
    CLASSES[byte as usize] & OPERATOR != 0
}

#[cfg(test)]
mod tests;
