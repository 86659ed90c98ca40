//! Messages of the server (manual §55.7): readers that borrow, builders that append.

use crate::Error;
use crate::cursor::Cursor;
use crate::frame::{put, put_text};

/// The kinds of message a server sends.
pub mod tag {
    /// Any message of authentication.
    pub const AUTHENTICATION: u8 = b'R';
    /// The key with which requests of this session can be cancelled.
    pub const BACKEND_KEY_DATA: u8 = b'K';
    /// Answers `Bind`.
    pub const BIND_COMPLETE: u8 = b'2';
    /// Answers `Close`.
    pub const CLOSE_COMPLETE: u8 = b'3';
    /// A command ended well.
    pub const COMMAND_COMPLETE: u8 = b'C';
    /// Begins COPY in both directions (replication).
    pub const COPY_BOTH_RESPONSE: u8 = b'W';
    /// A chunk of COPY data.
    pub const COPY_DATA: u8 = b'd';
    /// The end of COPY data.
    pub const COPY_DONE: u8 = b'c';
    /// Begins COPY from the client.
    pub const COPY_IN_RESPONSE: u8 = b'G';
    /// Begins COPY to the client.
    pub const COPY_OUT_RESPONSE: u8 = b'H';
    /// One row.
    pub const DATA_ROW: u8 = b'D';
    /// Answers an empty query.
    pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
    /// An error.
    pub const ERROR_RESPONSE: u8 = b'E';
    /// The result of a `FunctionCall`.
    pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
    /// The server knows only an older minor version, or not all protocol options.
    pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
    /// Answers `Describe` of what returns no rows.
    pub const NO_DATA: u8 = b'n';
    /// A warning or notice; may come at any time.
    pub const NOTICE_RESPONSE: u8 = b'N';
    /// A NOTIFY; may come at any time.
    pub const NOTIFICATION_RESPONSE: u8 = b'A';
    /// The types of a statement's parameters.
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    /// The value of a reported setting; may come at any time.
    pub const PARAMETER_STATUS: u8 = b'S';
    /// Answers `Parse`.
    pub const PARSE_COMPLETE: u8 = b'1';
    /// `Execute` reached its row limit.
    pub const PORTAL_SUSPENDED: u8 = b's';
    /// The server is ready for a new request.
    pub const READY_FOR_QUERY: u8 = b'Z';
    /// The columns of the rows that follow.
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// A message of authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// The client is who it says.
    Ok,
    /// Wants the password as it is.
    CleartextPassword,
    /// Wants the password hashed with this salt.
    Md5Password([u8; 4]),
    /// Offers these SASL mechanisms, zero-terminated one after the other.
    Sasl(&'a [u8]),
    /// Goes on with SASL.
    SaslContinue(&'a [u8]),
    /// Ends SASL.
    SaslFinal(&'a [u8]),
    /// A method not spoken here (Kerberos, GSSAPI, SSPI, …), by its number.
    Other(i32),
}

impl<'a> Authentication<'a> {
    /// Reads the body of the message.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn read(body: &'a [u8]) -> Result<Self, Error> {
        let malformed = Error::Malformed("Authentication");
        let mut cursor = Cursor::new(body);
        Ok(match cursor.i32().ok_or(malformed.clone())? {
            0 => Self::Ok,
            3 => Self::CleartextPassword,
            5 => Self::Md5Password(cursor.rest().try_into().map_err(|_| malformed)?),
            10 => Self::Sasl(cursor.rest()),
            11 => Self::SaslContinue(cursor.rest()),
            12 => Self::SaslFinal(cursor.rest()),
            other => Self::Other(other),
        })
    }

    /// Appends the message.
    pub fn put(&self, out: &mut Vec<u8>) {
        let (number, data): (i32, &[u8]) = match self {
            Self::Ok => (0, &[]),
            Self::CleartextPassword => (3, &[]),
            Self::Md5Password(salt) => (5, salt),
            Self::Sasl(mechanisms) => (10, mechanisms),
            Self::SaslContinue(data) => (11, data),
            Self::SaslFinal(data) => (12, data),
            Self::Other(number) => (*number, &[]),
        };
        put(out, tag::AUTHENTICATION, |out| {
            out.extend_from_slice(&number.to_be_bytes());
            out.extend_from_slice(data);
        });
    }
}

/// Whether a list of SASL mechanisms, as [`Authentication::Sasl`] has it, contains `mechanism`.
#[must_use]
pub fn offers(mechanisms: &[u8], mechanism: &[u8]) -> bool {
    mechanisms.split(|byte| *byte == 0).any(|offered| offered == mechanism)
}

/// `BackendKeyData`: names a session to those who want to cancel its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendKey<'a> {
    /// The backend's process id.
    pub pid: i32,
    /// The secret: 4 bytes in protocol 3.0, up to 256 in 3.2.
    pub key: &'a [u8],
}

impl<'a> BackendKey<'a> {
    /// Reads the body of the message.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn read(body: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(body);
        match cursor.i32() {
            Some(pid) if (4..=256).contains(&cursor.rest().len()) => {
                Ok(Self { pid, key: cursor.rest() })
            }
            _ => Err(Error::Malformed("BackendKeyData")),
        }
    }

    /// Appends the message.
    pub fn put(&self, out: &mut Vec<u8>) {
        put(out, tag::BACKEND_KEY_DATA, |out| {
            out.extend_from_slice(&self.pid.to_be_bytes());
            out.extend_from_slice(self.key);
        });
    }
}

/// The transaction status byte of a `ReadyForQuery`: `I`, `T` or `E`.
///
/// # Errors
/// [`Error::Malformed`].
pub fn ready_status(body: &[u8]) -> Result<u8, Error> {
    match body {
        [status @ (b'I' | b'T' | b'E')] => Ok(*status),
        _ => Err(Error::Malformed("ReadyForQuery")),
    }
}

/// Appends `ReadyForQuery` with a transaction status byte.
pub fn put_ready(out: &mut Vec<u8>, status: u8) {
    put(out, tag::READY_FOR_QUERY, |out| out.push(status));
}

/// The rows that the tag of a `CommandComplete` counts (`SELECT 5`, `INSERT 0 5`); 0 if none.
#[must_use]
pub fn rows(body: &[u8]) -> u64 {
    let tag = body.strip_suffix(&[0]).unwrap_or(body);
    let last = tag.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    if last.is_empty() || last.len() > 18 {
        return 0;
    }
    last.iter()
        .try_fold(0, |sum: u64, byte| {
            byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0'))
        })
        .unwrap_or(0)
}

/// Appends `CommandComplete`.
pub fn put_command_complete(out: &mut Vec<u8>, command: &[u8]) {
    put(out, tag::COMMAND_COMPLETE, |out| put_text(out, command));
}

/// A name and its value, as `ParameterStatus` has them.
///
/// # Errors
/// [`Error::Malformed`].
pub fn parameter(body: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let mut cursor = Cursor::new(body);
    match (cursor.text(), cursor.text(), cursor.is_empty()) {
        (Some(name), Some(value), true) => Ok((name, value)),
        _ => Err(Error::Malformed("ParameterStatus")),
    }
}

/// Appends `ParameterStatus`.
pub fn put_parameter(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    put(out, tag::PARAMETER_STATUS, |out| {
        put_text(out, name);
        put_text(out, value);
    });
}

/// What an `ErrorResponse` or `NoticeResponse` says; absent fields are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report<'a> {
    /// `ERROR`, `FATAL`, `PANIC`, … never translated (field `V`, else `S`).
    pub severity: &'a [u8],
    /// The SQLSTATE.
    pub code: &'a [u8],
    /// The message.
    pub message: &'a [u8],
    /// What the user might do.
    pub hint: &'a [u8],
    /// The function of the server's source that raised it, by which drivers tell some errors apart.
    pub routine: &'a [u8],
}

/// The fields of an `ErrorResponse` or `NoticeResponse`, each with its text; of a message that
/// breaks off, those that came before.
pub fn fields(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut cursor = Cursor::new(body);
    std::iter::from_fn(move || {
        let field = cursor.u8().filter(|field| *field != 0)?;
        Some((field, cursor.text()?))
    })
}

impl<'a> Report<'a> {
    /// Reads the body of the message. Fields not known here are passed over; a message that breaks
    /// off yields what came before.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Self {
        let mut report = Self::default();
        for (field, text) in fields(body) {
            match field {
                b'S' if report.severity.is_empty() => report.severity = text,
                b'V' => report.severity = text,
                b'C' => report.code = text,
                b'M' => report.message = text,
                b'H' => report.hint = text,
                b'R' => report.routine = text,
                _ => {}
            }
        }
        report
    }

    /// Whether the session ends with it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity, b"FATAL" | b"PANIC")
    }

    /// Appends an `ErrorResponse`.
    pub fn put_error(&self, out: &mut Vec<u8>) {
        self.put(out, tag::ERROR_RESPONSE);
    }

    /// Appends a `NoticeResponse`.
    pub fn put_notice(&self, out: &mut Vec<u8>) {
        self.put(out, tag::NOTICE_RESPONSE);
    }

    fn put(&self, out: &mut Vec<u8>, tag: u8) {
        put(out, tag, |out| {
            let fields = [
                (b'S', self.severity),
                (b'V', self.severity),
                (b'C', self.code),
                (b'M', self.message),
                (b'H', self.hint),
                (b'R', self.routine),
            ];
            for (field, text) in fields {
                if !text.is_empty() {
                    out.push(field);
                    put_text(out, text);
                }
            }
            out.push(0);
        });
    }
}

/// Appends a message that has no body: `ParseComplete`, `BindComplete`, `CloseComplete`, `NoData`.
pub fn put_bare(out: &mut Vec<u8>, tag: u8) {
    put(out, tag, |_| {});
}

/// Appends `NegotiateProtocolVersion`: the newest minor version known here, and the protocol
/// options of the client that are not.
pub fn put_negotiate<'a>(
    out: &mut Vec<u8>,
    newest_minor: u16,
    unknown: impl Iterator<Item = &'a [u8]> + Clone,
) {
    put(out, tag::NEGOTIATE_PROTOCOL_VERSION, |out| {
        let version = (3 << 16) | i32::from(newest_minor);
        out.extend_from_slice(&version.to_be_bytes());
        let count = i32::try_from(unknown.clone().count()).unwrap_or(i32::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        unknown.for_each(|option| put_text(out, option));
    });
}

#[cfg(test)]
mod tests;
