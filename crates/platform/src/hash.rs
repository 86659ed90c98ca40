//! A short hash that is the same in every build, unlike the standard library's.

/// Fowler, Noll, Vo. Nothing that an enemy must not guess may stand on it.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
