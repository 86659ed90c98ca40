//! Random names, keys and passwords, from the system.

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

/// A random UUID (RFC 9562, version 4).
///
/// # Errors
/// If the system has no `/dev/urandom`.
pub(crate) fn uuid() -> io::Result<String> {
    Ok(as_uuid(&hex(16)?))
}

/// 32 hexadecimal digits in the shape of a UUID of version 4.
pub(crate) fn as_uuid(hex: &str) -> String {
    let piece = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    format!(
        "{}-{}-4{}-a{}-{}",
        piece(0..8),
        piece(8..12),
        piece(13..16),
        piece(17..20),
        piece(20..32)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_its_shape_and_no_two_are_the_same() {
        let (one, two) = (uuid().unwrap(), uuid().unwrap());
        assert_ne!(one, two);
        let lengths: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(
            as_uuid("0123456789abcdef0123456789abcdef"),
            "01234567-89ab-4def-a123-456789abcdef"
        );
    }
}
