//! The readers of the server's messages: what is read and written again is the same message.
//!
//! Input: a tag, then the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::backend::{Authentication, BackendKey, Report, offers, parameter, ready_status, rows};
use wire::backend::{put_parameter, put_ready, tag};
use wire::frame::put;

fuzz_target!(|data: &[u8]| {
    let Some((kind, body)) = data.split_first() else { return };
    let mut message = Vec::new();
    put(&mut message, *kind, |out| out.extend_from_slice(body));
    let same = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut again = Vec::new();
        write(&mut again);
        assert_eq!(again, message);
    };
    match *kind {
        tag::AUTHENTICATION => match Authentication::read(body) {
            // Their bodies may hold more than is kept.
            Ok(Authentication::Other(_))
            | Ok(Authentication::Ok)
            | Ok(Authentication::CleartextPassword)
            | Err(_) => {}
            Ok(read) => {
                same(&|out| read.put(out));
                if let Authentication::Sasl(mechanisms) = read {
                    let _ = offers(mechanisms, wire::scram::MECHANISM);
                }
            }
        },
        tag::BACKEND_KEY_DATA => {
            if let Ok(key) = BackendKey::read(body) {
                same(&|out| key.put(out));
            }
        }
        tag::READY_FOR_QUERY => {
            if let Ok(status) = ready_status(body) {
                same(&|out| put_ready(out, status));
            }
        }
        tag::PARAMETER_STATUS => {
            if let Ok((name, value)) = parameter(body) {
                same(&|out| put_parameter(out, name, value));
            }
        }
        tag::COMMAND_COMPLETE => assert!(rows(body) < 10_u64.pow(18)),
        tag::ERROR_RESPONSE | tag::NOTICE_RESPONSE => report(body),
        _ => {}
    }
});

/// Of a report only some fields are kept; those survive.
fn report(body: &[u8]) {
    let report = Report::read(body);
    let mut again = Vec::new();
    report.put_error(&mut again);
    assert_eq!(Report::read(wire::frame::body(&again)), report);
    assert_eq!(report.is_fatal(), Report::read(wire::frame::body(&again)).is_fatal());
}
