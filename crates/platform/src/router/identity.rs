//! What a request is known by: its id, and its trace.

use hyper::header::HeaderValue;
use trace::TraceId;

use crate::random::uuid_of;

/// Random bits as a UUID.
pub(super) fn request_id(high: u64, low: u64) -> HeaderValue {
    header(uuid_of(high, low))
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
    fn our_own_request_ids_are_such_as_we_accept() {
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
