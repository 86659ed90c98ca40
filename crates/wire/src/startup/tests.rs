//! Round trips, and that no bytes make the reader panic.

use proptest::prelude::*;

use super::*;

#[test]
fn a_session_packet_round_trips() {
    let mut out = Vec::new();
    let sent: [(&[u8], &[u8]); 3] = [(b"user", b"ann"), (b"_pq_.x", b"1"), (b"user", b"bob")];
    put_session(&mut out, 2, sent.into_iter());
    assert_eq!(length(&out), Ok(Some(out.len())));
    let Ok(Startup::Session(session)) = read(&out) else { panic!("a session") };
    assert_eq!(session.minor, 2);
    assert_eq!(session.parameters().collect::<Vec<_>>(), sent);
    assert_eq!(session.parameter(b"user"), Some(b"bob".as_slice()), "the last one counts");
    assert_eq!(session.protocol_options().collect::<Vec<_>>(), [b"_pq_.x"]);
}

#[test]
fn the_special_requests_round_trip() {
    let mut out = Vec::new();
    put_ssl_request(&mut out);
    assert_eq!(out, [0, 0, 0, 8, 4, 210, 22, 47]);
    assert_eq!(read(&out), Ok(Startup::Ssl));
    out.clear();
    put_gss_enc_request(&mut out);
    assert_eq!(out, [0, 0, 0, 8, 4, 210, 22, 48]);
    assert_eq!(read(&out), Ok(Startup::GssEnc));
    out.clear();
    put_cancel(&mut out, 7, &[1, 2, 3, 4]);
    assert_eq!(read(&out), Ok(Startup::Cancel { pid: 7, key: &[1, 2, 3, 4] }));
}

#[test]
fn what_is_not_a_startup_packet_is_refused() {
    assert_eq!(length(b"GET "), Err(Error::StartupLength(0x4745_5420)));
    assert_eq!(length(&[0, 0, 0, 7]), Err(Error::StartupLength(7)));
    for above in [0x8000_0000, 0xffff_ffff, 10_001_u32] {
        assert_eq!(length(&above.to_be_bytes()), Err(Error::StartupLength(above)));
    }
    assert_eq!(length(&[0, 0]), Ok(None));
    let version_2 = [0, 0, 0, 9, 0, 2, 0, 0, 0];
    assert_eq!(read(&version_2), Err(Error::Version { major: 2, minor: 0 }));
    let unended = [0, 0, 0, 10, 0, 3, 0, 0, b'a', b'b'];
    assert_eq!(read(&unended), Err(Error::Malformed("startup packet")));
    let no_value = [0, 0, 0, 11, 0, 3, 0, 0, b'a', 0, 0];
    assert_eq!(read(&no_value), Err(Error::Malformed("startup packet")));
}

#[test]
fn options_are_split_as_the_server_does() {
    let split = split_options(br"  -c a=b\ c  --x=y\\ -c");
    assert_eq!(split, [b"-c".to_vec(), b"a=b c".to_vec(), br"--x=y\".to_vec(), b"-c".to_vec()]);
    assert_eq!(split_options(&join_options(&split)), split);
    // A backslash at the end is an argument without a byte.
    let split = split_options(br"-c \");
    assert_eq!(split, [b"-c".to_vec(), Vec::new()]);
    assert_eq!(split_options(&join_options(&split)), split);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = length(&bytes);
        let _ = read(&bytes);
        let mut version_3 = vec![0, 0, 0, 0, 0, 3, 0, 0];
        version_3.extend(&bytes);
        if let Ok(Startup::Session(session)) = read(&version_3) {
            let _ = session.parameters().count();
        }
        let split = split_options(&bytes);
        prop_assert!(split.len() <= bytes.len());
        prop_assert_eq!(split_options(&join_options(&split)), split);
    }
}
