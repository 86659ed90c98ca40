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
    let mut halves = [[0_u8; 8]; 2];
    File::open("/dev/urandom")?.read_exact(halves.as_flattened_mut())?;
    let [high, low] = halves.map(u64::from_ne_bytes);
    Ok(uuid_of(high, low))
}

/// 128 bits in the shape of a UUID of version 4 (RFC 9562 §5.4), which keeps 122 of them.
pub(crate) fn uuid_of(high: u64, low: u64) -> String {
    let high = (high & 0xffff_ffff_ffff_0fff) | 0x4000;
    let low = (low & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
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
        assert_eq!(uuid_of(0, 0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid_of(u64::MAX, u64::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(
            uuid_of(0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef),
            "01234567-89ab-4def-8123-456789abcdef"
        );
    }
}
