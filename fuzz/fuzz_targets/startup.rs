//! The first packet, and the command-line arguments in its `options`.
//!
//! Input: the packet as it comes from the network. The same bytes are split as `options`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::startup::{self, Startup};

fuzz_target!(|data: &[u8]| {
    options(data);
    let Ok(Some(length)) = startup::length(data) else { return };
    assert!((8..=startup::PACKET_MAX).contains(&length));
    let Some(packet) = data.get(..length) else { return };
    let mut again = Vec::new();
    match startup::read(packet) {
        Ok(Startup::Session(session)) => {
            startup::put_session(&mut again, session.minor, session.parameters());
            assert_eq!(again, packet);
            for (name, _) in session.parameters() {
                assert!(session.parameter(name).is_some());
            }
            let options = session.protocol_options().count();
            assert!(options <= session.parameters().count());
        }
        Ok(Startup::Cancel { pid, key }) => {
            startup::put_cancel(&mut again, pid, key);
            assert_eq!(again, packet);
        }
        Ok(Startup::Ssl | Startup::GssEnc) | Err(_) => {}
    }
});

fn options(data: &[u8]) {
    let arguments = startup::split_options(data);
    assert_eq!(arguments, split(data));
    assert_eq!(startup::split_options(&startup::join_options(&arguments)), arguments);
}

/// What the manual says of `options`, word for word: "Spaces within this string are considered to
/// separate command-line arguments, unless escaped with a backslash (\)".
fn split(data: &[u8]) -> Vec<Vec<u8>> {
    let is_space = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0b;
    let mut arguments = Vec::new();
    let mut at = 0;
    while at < data.len() {
        if is_space(data[at]) {
            at += 1;
            continue;
        }
        let mut argument = Vec::new();
        while at < data.len() && !is_space(data[at]) {
            at += usize::from(data[at] == b'\\');
            argument.extend(data.get(at));
            at += 1;
        }
        arguments.push(argument);
    }
    arguments
}
