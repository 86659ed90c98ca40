//! Round trips, and that no bytes make a reader panic.

use proptest::prelude::*;

use super::*;
use crate::frame::body;

#[test]
fn the_rows_of_a_command_tag() {
    let cases: [(&[u8], u64); 9] = [
        (b"SELECT 5\0", 5),
        (b"INSERT 0 1200\0", 1200),
        (b"COPY 7\0", 7),
        (b"UPDATE 0\0", 0),
        (b"BEGIN\0", 0),
        (b"CREATE TABLE\0", 0),
        (b"\0", 0),
        (b"", 0),
        (b"SELECT 99999999999999999999999\0", 0),
    ];
    for (tag, expected) in cases {
        assert_eq!(rows(tag), expected, "{:?}", String::from_utf8_lossy(tag));
    }
}

#[test]
fn authentication_round_trip() {
    let messages = [
        Authentication::Ok,
        Authentication::CleartextPassword,
        Authentication::Md5Password([1, 2, 3, 4]),
        Authentication::Sasl(b"SCRAM-SHA-256\0\0"),
        Authentication::SaslContinue(b"r=x"),
        Authentication::SaslFinal(b"v=y"),
        Authentication::Other(7),
    ];
    for message in messages {
        let mut out = Vec::new();
        message.put(&mut out);
        assert_eq!(Authentication::read(body(&out)), Ok(message));
    }
    assert!(offers(b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0", b"SCRAM-SHA-256"));
    assert!(!offers(b"SCRAM-SHA-256-PLUS\0\0", b"SCRAM-SHA-256"));
}

#[test]
fn the_other_messages_round_trip() {
    let mut out = Vec::new();
    let report = Report {
        severity: b"FATAL",
        code: b"53300",
        message: b"full",
        hint: b"wait",
        routine: b"InitProcess",
    };
    report.put_error(&mut out);
    assert_eq!(Report::read(body(&out)), report);
    assert!(report.is_fatal());

    out.clear();
    put_ready(&mut out, b'T');
    assert_eq!(ready_status(body(&out)), Ok(b'T'));

    out.clear();
    put_parameter(&mut out, b"TimeZone", b"UTC");
    assert_eq!(parameter(body(&out)), Ok((b"TimeZone".as_slice(), b"UTC".as_slice())));

    out.clear();
    let key = BackendKey { pid: 42, key: &[1, 2, 3, 4] };
    key.put(&mut out);
    assert_eq!(BackendKey::read(body(&out)), Ok(key));
}

/// Byte for byte as the manual lays it out, so that reader and builder cannot err together.
#[test]
fn negotiate_protocol_version_on_the_wire() {
    let mut out = Vec::new();
    put_negotiate(&mut out, 0, [b"_pq_.x".as_slice()].into_iter());
    assert_eq!(out, b"v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.x\0");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = Authentication::read(&bytes);
        let _ = BackendKey::read(&bytes);
        let _ = ready_status(&bytes);
        let _ = rows(&bytes);
        let _ = parameter(&bytes);
        let _ = Report::read(&bytes);
    }
}
