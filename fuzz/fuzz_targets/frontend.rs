//! The readers of the client's messages: what is read and written again is the same message.
//!
//! Input: a tag, then the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::frame::put;
use wire::frontend::{BindHead, Execute, Parse, SaslInitial, Target, function, text, text_head};
use wire::frontend::{put_password, put_query, tag};

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
        tag::PARSE => {
            if let Ok(parse) = Parse::read(body) {
                same(&|out| parse.put(out));
            }
        }
        tag::BIND => bind(body),
        tag::DESCRIBE => {
            if let Ok(target) = Target::read(body) {
                same(&|out| target.put_describe(out));
            }
        }
        tag::CLOSE => {
            if let Ok(target) = Target::read(body) {
                same(&|out| target.put_close(out));
            }
        }
        tag::EXECUTE => {
            if let Ok(execute) = Execute::read(body) {
                same(&|out| execute.put(out));
            }
        }
        tag::QUERY => {
            let head = text_head(body);
            assert!(body.starts_with(head));
            if let Ok(query) = text(body) {
                assert_eq!(query, head);
                same(&|out| put_query(out, query));
            }
        }
        tag::PASSWORD => {
            if let Ok(password) = text(body) {
                same(&|out| put_password(out, password));
            }
            if let Ok(initial) = SaslInitial::read(body) {
                // "No first message" is read as an empty one, so the length word may differ.
                let mut again = Vec::new();
                initial.put(&mut again);
                assert_eq!(again.len(), message.len());
                assert_eq!(SaslInitial::read(wire::frame::body(&again)), Ok(initial));
            }
        }
        tag::FUNCTION_CALL => assert_eq!(function(body).is_ok(), body.len() >= 4),
        _ => {}
    }
});

/// A `Bind` is sent on under another statement's name, and its parameters behind it as they are.
fn bind(body: &[u8]) {
    let Some(head) = BindHead::read(body) else { return };
    let total = 5 + body.len();
    let mut renamed = Vec::new();
    head.put_renamed(&mut renamed, total, b"st_0123");
    renamed.extend_from_slice(&body[head.len..]);
    let length = u32::from_be_bytes(renamed[1..5].try_into().expect("four bytes"));
    assert_eq!(length as usize + 1, renamed.len());
    let again = BindHead::read(wire::frame::body(&renamed)).expect("still a Bind");
    assert_eq!((again.portal, again.statement), (head.portal, &b"st_0123"[..]));
    assert_eq!(wire::frame::body(&renamed)[again.len..], body[head.len..]);
}
