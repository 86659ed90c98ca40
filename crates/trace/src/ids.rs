//! Identities. A newtype each, so that a session is never taken for a backend.

use std::fmt;

/// One dyno (an app process, `web.1`) within a recording; its name comes as
/// [`Event::DynoNamed`](crate::Event::DynoNamed), before its first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DynoId(pub u16);

/// One client connection to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub u32);

/// The process id of a PostgreSQL backend, as `pg_stat_activity.pid` has it. 0 is "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BackendPid(pub i32);

impl BackendPid {
    /// No backend took part.
    pub const NONE: Self = Self(0);
}

/// Identifies a statement apart from its literals. 0 is "none" (a connect, a bare Sync).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// No statement took part.
    pub const NONE: Self = Self(0);
}

/// The trace of W3C Trace Context that a request belongs to: 16 bytes, all zero is "none" (the
/// standard has no such trace either).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TraceId(pub [u8; 16]);

impl TraceId {
    /// No trace.
    pub const NONE: Self = Self([0; 16]);

    /// The trace id of a `traceparent` (W3C Trace Context §3.2.2):
    /// `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`. `None` if it is not well-formed.
    #[must_use]
    pub fn of_traceparent(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let hex = |from: usize, to: usize| {
            let part = bytes.get(from..to)?;
            part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).then_some(part)
        };
        let dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
        let (version, trace) = (hex(0, 2)?, hex(3, 35)?);
        let (parent, _flags) = (hex(36, 52)?, hex(53, 55)?);
        // Later versions may say more behind another dash; `ff` is forbidden.
        let ends = bytes.len() == 55 || (version != b"00" && bytes.get(55) == Some(&b'-'));
        let is_zero = |part: &[u8]| part.iter().all(|b| *b == b'0');
        if !dashes || !ends || version == b"ff" || is_zero(trace) || is_zero(parent) {
            return None;
        }
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(trace.chunks_exact(2)) {
            *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(id))
    }
}

/// 32 hexadecimal digits, as in a `traceparent`.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_only_if_it_is_well_formed() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let id = TraceId::of_traceparent(good).unwrap();
        assert_eq!(id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        let later = "42-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        assert_eq!(TraceId::of_traceparent(later), Some(id));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceId::of_traceparent(bad), None, "{bad}");
        }
    }
}
