//! Random names and passwords, from the system.

use std::fs::File;
use std::io::{self, Read};

/// `bytes` random bytes as lower-case hexadecimal digits.
///
/// # Errors
/// If the system has no `/dev/urandom`.
pub(crate) fn hex(bytes: usize) -> io::Result<String> {
    let mut buffer = vec![0_u8; bytes];
    File::open("/dev/urandom")?.read_exact(&mut buffer)?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}
