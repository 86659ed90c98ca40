//! The first packet of a connection: it has no tag, and says what the connection is for.

use crate::Error;
use crate::cursor::Cursor;
use crate::frame::{put_sized, put_text};

/// PostgreSQL's own limit (`MAX_STARTUP_PACKET_LENGTH`).
pub const PACKET_MAX: usize = 10_000;

const CANCEL: (u16, u16) = (1234, 5678);
const SSL: (u16, u16) = (1234, 5679);
const GSS_ENC: (u16, u16) = (1234, 5680);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Startup<'a> {
    /// Asks for TLS; answered by one byte.
    Ssl,
    /// Asks for GSSAPI encryption; answered by one byte.
    GssEnc,
    /// Asks to cancel what another session runs; never answered.
    Cancel {
        /// That session's process id.
        pid: i32,
        /// Its secret.
        key: &'a [u8],
    },
    /// Begins a session.
    Session(Session<'a>),
}

/// The startup packet of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session<'a> {
    /// The protocol's minor version: 3.`minor`.
    pub minor: u16,
    parameters: &'a [u8],
}

impl<'a> Session<'a> {
    /// All parameters in the order they were sent.
    pub fn parameters(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        let mut cursor = Cursor::new(self.parameters);
        std::iter::from_fn(move || Some((cursor.text()?, cursor.text()?)))
    }

    /// The last value of one parameter.
    #[must_use]
    pub fn parameter(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.parameters().filter(|(key, _)| *key == name).last().map(|(_, value)| value)
    }

    /// Who comes.
    pub fn user(&self) -> &'a [u8] {
        self.parameter(b"user").unwrap_or_default()
    }

    /// The database that is asked for: "defaults to the user name" (manual §55.7).
    pub fn database(&self) -> &'a [u8] {
        self.parameter(b"database").filter(|name| !name.is_empty()).unwrap_or(self.user())
    }

    /// The protocol options, which a server that does not know them must refuse by name
    /// (`NegotiateProtocolVersion`) without ending the session.
    pub fn protocol_options(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        self.parameters().map(|(name, _)| name).filter(|name| name.starts_with(b"_pq_."))
    }
}

/// How long the packet at the beginning of `input` is; `None` if that is not known yet.
///
/// # Errors
/// [`Error::StartupLength`] if it is too short to be one or too long to be accepted.
pub fn length(input: &[u8]) -> Result<Option<usize>, Error> {
    let Some(length) = Cursor::new(input).i32() else { return Ok(None) };
    match usize::try_from(length) {
        Ok(length) if (8..=PACKET_MAX).contains(&length) => Ok(Some(length)),
        _ => Err(Error::StartupLength(length.cast_unsigned())),
    }
}

/// Reads one whole packet.
///
/// # Errors
/// [`Error::Malformed`], [`Error::Version`].
pub fn read(packet: &[u8]) -> Result<Startup<'_>, Error> {
    let malformed = || Error::Malformed("startup packet");
    let mut cursor = Cursor::new(packet);
    let _length = cursor.i32().ok_or_else(malformed)?;
    let [high_1, high_2, low_1, low_2] = cursor.i32().ok_or_else(malformed)?.to_be_bytes();
    let version = (u16::from_be_bytes([high_1, high_2]), u16::from_be_bytes([low_1, low_2]));
    match version {
        SSL => Ok(Startup::Ssl),
        GSS_ENC => Ok(Startup::GssEnc),
        CANCEL => {
            let pid = cursor.i32().ok_or_else(malformed)?;
            if !(4..=256).contains(&cursor.rest().len()) {
                return Err(malformed());
            }
            Ok(Startup::Cancel { pid, key: cursor.rest() })
        }
        (3, minor) => {
            // "A zero byte is required as a terminator after the last name/value pair."
            let parameters = cursor.rest().strip_suffix(&[0]).ok_or_else(malformed)?;
            check_pairs(parameters)?;
            Ok(Startup::Session(Session { minor, parameters }))
        }
        (major, minor) => Err(Error::Version { major, minor }),
    }
}

fn check_pairs(parameters: &[u8]) -> Result<(), Error> {
    let mut cursor = Cursor::new(parameters);
    while !cursor.is_empty() {
        match (cursor.text(), cursor.text()) {
            (Some(name), Some(_)) if !name.is_empty() => {}
            _ => return Err(Error::Malformed("startup packet")),
        }
    }
    Ok(())
}

/// Appends the startup packet of a session with protocol 3.`minor`.
pub fn put_session<'a>(
    out: &mut Vec<u8>,
    minor: u16,
    parameters: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) {
    put_sized(out, |out| {
        put_version(out, (3, minor));
        for (name, value) in parameters {
            put_text(out, name);
            put_text(out, value);
        }
        out.push(0);
    });
}

/// Appends a cancel request.
pub fn put_cancel(out: &mut Vec<u8>, pid: i32, key: &[u8]) {
    put_sized(out, |out| {
        put_version(out, CANCEL);
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(key);
    });
}

/// Appends an SSLRequest.
pub fn put_ssl_request(out: &mut Vec<u8>) {
    put_sized(out, |out| put_version(out, SSL));
}

/// Appends a GSSENCRequest.
pub fn put_gss_enc_request(out: &mut Vec<u8>) {
    put_sized(out, |out| put_version(out, GSS_ENC));
}

fn put_version(out: &mut Vec<u8>, (major, minor): (u16, u16)) {
    out.extend_from_slice(&major.to_be_bytes());
    out.extend_from_slice(&minor.to_be_bytes());
}

/// Splits the value of the `options` parameter into command-line arguments, as the server does
/// (`pg_split_opts`): at white space, with backslash escaping the next byte.
#[must_use]
pub fn split_options(options: &[u8]) -> Vec<Vec<u8>> {
    let mut arguments = Vec::new();
    let mut argument: Option<Vec<u8>> = None;
    let mut bytes = options.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => arguments.extend(argument.take()),
            b'\\' => argument.get_or_insert_default().extend(bytes.next()),
            other => argument.get_or_insert_default().push(*other),
        }
    }
    arguments.extend(argument);
    arguments
}

/// The inverse of [`split_options`].
#[must_use]
pub fn join_options(arguments: &[Vec<u8>]) -> Vec<u8> {
    let mut options = Vec::new();
    for argument in arguments {
        if !options.is_empty() {
            options.push(b' ');
        }
        if argument.is_empty() {
            // Only the last one can be: it was a backslash with nothing behind it.
            options.push(b'\\');
        }
        for byte in argument {
            if byte.is_ascii_whitespace() || matches!(byte, b'\\' | 0x0b) {
                options.push(b'\\');
            }
            options.push(*byte);
        }
    }
    options
}

#[cfg(test)]
mod tests;
