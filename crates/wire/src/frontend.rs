//! Messages of the client (manual §55.7): readers that borrow, builders that append.

use crate::Error;
use crate::cursor::Cursor;
use crate::frame::{HEADER, put, put_text};

/// The kinds of message a client sends after its startup packet.
pub mod tag {
    /// Names for a statement or portal and its parameters.
    pub const BIND: u8 = b'B';
    /// Destroys a statement or portal.
    pub const CLOSE: u8 = b'C';
    /// A chunk of COPY data.
    pub const COPY_DATA: u8 = b'd';
    /// The end of COPY data.
    pub const COPY_DONE: u8 = b'c';
    /// COPY data will not be completed.
    pub const COPY_FAIL: u8 = b'f';
    /// Asks for a description of a statement or portal.
    pub const DESCRIBE: u8 = b'D';
    /// Runs a portal.
    pub const EXECUTE: u8 = b'E';
    /// Asks the server to send what it holds back.
    pub const FLUSH: u8 = b'H';
    /// Calls a function by its oid.
    pub const FUNCTION_CALL: u8 = b'F';
    /// Prepares a statement.
    pub const PARSE: u8 = b'P';
    /// A password, or a SASL message.
    pub const PASSWORD: u8 = b'p';
    /// A simple query.
    pub const QUERY: u8 = b'Q';
    /// Ends a batch of the extended protocol.
    pub const SYNC: u8 = b'S';
    /// Ends the session.
    pub const TERMINATE: u8 = b'X';
}

/// The largest length word of a message that is never long (`PQ_SMALL_MESSAGE_LIMIT`).
pub const SMALL_LENGTH_MAX: u32 = 10_000;

/// The largest length word of a message of authentication (`PG_MAX_AUTH_TOKEN_LENGTH`): a password
/// may have 65,530 bytes.
pub const PASSWORD_LENGTH_MAX: u32 = 65_535;

/// The largest length word of any other message (`PQ_LARGE_MESSAGE_LIMIT`).
const LARGE_LENGTH_MAX: u32 = 0x3fff_fffe;

/// The largest length word that PostgreSQL takes of a client's message of this kind.
#[must_use]
pub fn length_max(message: u8) -> u32 {
    match message {
        tag::CLOSE
        | tag::COPY_DONE
        | tag::COPY_FAIL
        | tag::DESCRIBE
        | tag::EXECUTE
        | tag::FLUSH
        | tag::SYNC
        | tag::TERMINATE => SMALL_LENGTH_MAX,
        tag::PASSWORD => PASSWORD_LENGTH_MAX,
        // And of a kind that there is not, which is refused for that.
        _ => LARGE_LENGTH_MAX,
    }
}

/// `Parse`: prepares a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name, empty for the unnamed one.
    pub name: &'a [u8],
    /// Its text.
    pub query: &'a [u8],
    /// Count and oids of its parameter types, as they were sent.
    pub types: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Reads the body of a `Parse` message.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn read(body: &'a [u8]) -> Result<Self, Error> {
        Self::try_read(body).ok_or(Error::Malformed("Parse"))
    }

    fn try_read(body: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let (name, query) = (cursor.text()?, cursor.text()?);
        let types = cursor.rest();
        // PostgreSQL takes a negative count for none.
        let count = usize::try_from(cursor.i16()?).unwrap_or(0);
        (cursor.rest().len() == count * 4).then_some(Self { name, query, types })
    }

    /// Appends the message.
    pub fn put(&self, out: &mut Vec<u8>) {
        put(out, tag::PARSE, |out| {
            put_text(out, self.name);
            put_text(out, self.query);
            out.extend_from_slice(self.types);
        });
    }
}

/// The head of a `Bind`: the names. The parameters that follow need not be in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindHead<'a> {
    /// The portal that is made, empty for the unnamed one.
    pub portal: &'a [u8],
    /// The statement it is made of, empty for the unnamed one.
    pub statement: &'a [u8],
    /// Bytes of the body that the two names and their ends take.
    pub len: usize,
}

impl<'a> BindHead<'a> {
    /// Reads the names from the first bytes of the body; `None` if they do not end within them.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let (portal, statement) = (cursor.text()?, cursor.text()?);
        Some(Self { portal, statement, len: portal.len() + statement.len() + 2 })
    }

    /// Appends the header and head of a `Bind` of `statement` instead, for a message of `total`
    /// bytes whose body from [`Self::len`] on the caller sends as it is.
    pub fn put_renamed(&self, out: &mut Vec<u8>, total: usize, statement: &[u8]) {
        let length = total.saturating_sub(1 + self.statement.len()) + statement.len();
        out.push(tag::BIND);
        out.extend_from_slice(&i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes());
        put_text(out, self.portal);
        put_text(out, statement);
    }
}

/// What `Describe` and `Close` name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A prepared statement.
    Statement(&'a [u8]),
    /// A portal.
    Portal(&'a [u8]),
}

impl<'a> Target<'a> {
    /// Reads the body of a `Describe` or `Close` message.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn read(body: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(body);
        let target = match (cursor.u8(), cursor.text()) {
            (Some(b'S'), Some(name)) => Self::Statement(name),
            (Some(b'P'), Some(name)) => Self::Portal(name),
            _ => return Err(Error::Malformed("Describe or Close")),
        };
        if cursor.is_empty() { Ok(target) } else { Err(Error::Malformed("Describe or Close")) }
    }

    fn put(self, out: &mut Vec<u8>, tag: u8) {
        put(out, tag, |out| match self {
            Self::Statement(name) => {
                out.push(b'S');
                put_text(out, name);
            }
            Self::Portal(name) => {
                out.push(b'P');
                put_text(out, name);
            }
        });
    }

    /// Appends a `Describe` message.
    pub fn put_describe(self, out: &mut Vec<u8>) {
        self.put(out, tag::DESCRIBE);
    }

    /// Appends a `Close` message.
    pub fn put_close(self, out: &mut Vec<u8>) {
        self.put(out, tag::CLOSE);
    }
}

/// `Execute`: runs a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execute<'a> {
    /// The portal, empty for the unnamed one.
    pub portal: &'a [u8],
    /// At most so many rows; 0 for all.
    pub max_rows: i32,
}

impl<'a> Execute<'a> {
    /// Reads the body of an `Execute` message.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn read(body: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(body);
        match (cursor.text(), cursor.i32(), cursor.is_empty()) {
            (Some(portal), Some(max_rows), true) => Ok(Self { portal, max_rows }),
            _ => Err(Error::Malformed("Execute")),
        }
    }

    /// Appends the message.
    pub fn put(&self, out: &mut Vec<u8>) {
        put(out, tag::EXECUTE, |out| {
            put_text(out, self.portal);
            out.extend_from_slice(&self.max_rows.to_be_bytes());
        });
    }
}

/// The text of a `Query`, of `CopyFail`, or the answer in a `PasswordMessage`: one string.
///
/// # Errors
/// [`Error::Malformed`].
pub fn text(body: &[u8]) -> Result<&[u8], Error> {
    let mut cursor = Cursor::new(body);
    cursor.text().filter(|_| cursor.is_empty()).ok_or(Error::Malformed("string message"))
}

/// The text of a `Query` of which perhaps only the beginning is in hand.
#[must_use]
pub fn text_head(body: &[u8]) -> &[u8] {
    Cursor::new(body).text().unwrap_or(body)
}

/// The oid of the function that a `FunctionCall` calls.
///
/// # Errors
/// [`Error::Malformed`].
pub fn function(body: &[u8]) -> Result<i32, Error> {
    Cursor::new(body).i32().ok_or(Error::Malformed("FunctionCall"))
}

/// `SASLInitialResponse`: the mechanism chosen and the client's first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaslInitial<'a> {
    /// `SCRAM-SHA-256`.
    pub mechanism: &'a [u8],
    /// What the mechanism says first.
    pub data: &'a [u8],
}

impl<'a> SaslInitial<'a> {
    /// Reads the body of the message.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn read(body: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(body);
        let (Some(mechanism), Some(length)) = (cursor.text(), cursor.i32()) else {
            return Err(Error::Malformed("SASLInitialResponse"));
        };
        // A length of −1 says that there is no first message.
        let length = usize::try_from(length).unwrap_or(0);
        match cursor.bytes(length) {
            Some(data) if cursor.is_empty() => Ok(Self { mechanism, data }),
            _ => Err(Error::Malformed("SASLInitialResponse")),
        }
    }

    /// Appends the message.
    pub fn put(&self, out: &mut Vec<u8>) {
        put(out, tag::PASSWORD, |out| {
            put_text(out, self.mechanism);
            let length = i32::try_from(self.data.len()).unwrap_or(i32::MAX);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(self.data);
        });
    }
}

/// Appends a simple `Query`.
pub fn put_query(out: &mut Vec<u8>, text: &[u8]) {
    put(out, tag::QUERY, |out| put_text(out, text));
}

/// Appends a `Bind` of the unnamed portal to a statement that has no parameters; its results come
/// as text.
pub fn put_bind(out: &mut Vec<u8>, statement: &[u8]) {
    put(out, tag::BIND, |out| {
        put_text(out, b"");
        put_text(out, statement);
        out.extend_from_slice(&[0; 6]);
    });
}

/// Appends a `PasswordMessage` (clear text or MD5).
pub fn put_password(out: &mut Vec<u8>, password: &[u8]) {
    put(out, tag::PASSWORD, |out| put_text(out, password));
}

/// Appends a `SASLResponse`.
pub fn put_sasl_response(out: &mut Vec<u8>, data: &[u8]) {
    put(out, tag::PASSWORD, |out| out.extend_from_slice(data));
}

/// Appends a message that has no body: `Sync`, `Flush`, `CopyDone`, `Terminate`.
pub fn put_bare(out: &mut Vec<u8>, tag: u8) {
    put(out, tag, |_| {});
}

/// The shortest prefix in which the names of a `Bind` are sure to lie, if they are names that
/// PostgreSQL itself would keep (63 bytes each) or a driver would make.
pub const BIND_HEAD: usize = HEADER + 2 * 256;

#[cfg(test)]
mod tests;
