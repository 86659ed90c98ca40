//! What a request is known by: its id, and its trace.

use hyper::header::HeaderValue;
use trace::TraceId;

/// 128 random bits as a UUID of version 4 (RFC 9562 §5.4).
pub(super) fn request_id(high: u64, low: u64) -> HeaderValue {
    let high = (high & 0xffff_ffff_ffff_0fff) | 0x4000;
    let low = (low & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
    header(format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    ))
}

/// A new trace, and the `traceparent` that begins it (W3C Trace Context §3.2.2). Its flag says that
/// it is recorded, which it is.
pub(super) fn trace([high, low, parent]: [u64; 3]) -> (TraceId, HeaderValue) {
    // All zero is no id; with random bits it does not come.
    let id = (u128::from(high) << 64 | u128::from(low)).max(1);
    let parent = parent.max(1);
    (TraceId(id.to_be_bytes()), header(format!("00-{id:032x}-{parent:016x}-01")))
}

fn header(text: String) -> HeaderValue {
    // Digits and dashes are always allowed.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::super::headers;
    use super::*;

    #[test]
    fn a_request_id_is_a_random_uuid() {
        assert_eq!(request_id(0, 0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(request_id(u64::MAX, u64::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let mut map = hyper::HeaderMap::new();
        map.insert(headers::REQUEST_ID, request_id(1, 2));
        assert!(headers::request_id(&map).is_some());
    }

    #[test]
    fn a_new_trace_is_well_formed() {
        for random in [[0; 3], [1, 2, 3], [u64::MAX; 3]] {
            let (id, made) = trace(random);
            assert_eq!(TraceId::of_traceparent(made.to_str().unwrap()), Some(id));
        }
    }
}
