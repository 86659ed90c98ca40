//! SCRAM: nobody is let in without the password, and whoever has it always is.
//!
//! Input: a mode, then texts separated by zero bytes (messages of one side, or a password).

#![no_main]

use libfuzzer_sys::fuzz_target;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use wire::scram::client::{Binding, Hello, Password, Secret};
use wire::scram::{Channel, Keys, Refused, Salting, Verifier};

const NONCE: &str = "3rfcNHYJY1ZVvWVs7j";

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    let mut texts = rest.splitn(3, |byte| *byte == 0);
    let mut text = || texts.next().unwrap_or_default();
    match mode % 4 {
        0 => strangers(text(), text()),
        1 => stored(text()),
        2 => honest(text(), rest.len()),
        _ => server(text(), text()),
    }
});

/// Whatever a client says that does not know the password, it stays out.
fn strangers(first: &[u8], last: &[u8]) {
    let verifier = verifier(b"a password of which the input knows nothing");
    for channel in [Channel::Unbound, Channel::Offered, Channel::Bound(b"hash")] {
        for first in [first, b"n,,n=,r=abc", b"p=tls-server-end-point,,n=,r=abc"] {
            let Ok((challenge, server_first)) = verifier.challenge(first, NONCE, &channel) else {
                continue;
            };
            let server_first = String::from_utf8(server_first).expect("text");
            assert!(server_first.contains(NONCE) && server_first.ends_with(",i=1"));
            assert!(challenge.finish(&verifier, last).is_err());
        }
    }
}

/// A verifier from a file of users.
fn stored(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Some(verifier) = Verifier::read(text) {
        let channel = Channel::Unbound;
        let (challenge, _) =
            verifier.challenge(b"n,,n=,r=abc", NONCE, &channel).expect("a good message");
        let refused = challenge.finish(&verifier, b"c=biws,r=abc3rfcNHYJY1ZVvWVs7j,p=AAAA");
        assert_eq!(refused.map(|_| ()), Err(Refused::Malformed));
    }
}

/// The right password is let in, with our client and with another's; the keys that the server learns
/// are as good as the password; the same exchange with one bit changed is refused.
fn honest(password: &[u8], seed: usize) {
    let verifier = verifier(password);
    let hash: &[u8] = b"hash of a certificate";
    let (binding, channel) = match seed % 4 {
        0 => (Binding::None, Channel::Unbound),
        1 => (Binding::NotOffered, Channel::Unbound),
        2 => (Binding::None, Channel::Offered),
        _ => (Binding::EndPoint(hash), Channel::Bound(hash)),
    };
    let exchange = |secret: Secret<'_>| {
        let hello = Hello::new("clientnonce", &binding);
        let (challenge, first) = verifier.challenge(&hello.message(), NONCE, &channel)?;
        let (proven, last) = hello.prove(&first, secret)?;
        let accepted = challenge.finish(&verifier, &last)?;
        proven.check(&accepted.last_word)?;
        Ok::<_, Refused>((accepted.keys, last))
    };
    let (keys, last) = exchange(Secret::Password(Password(password))).expect("the password");
    exchange(Secret::Keys(&keys)).expect("its keys");

    let mut changed = last;
    let at = seed % changed.len();
    changed[at] ^= 1 << (seed % 7);
    let hello = Hello::new("clientnonce", &binding);
    let (challenge, _) =
        verifier.challenge(&hello.message(), NONCE, &channel).expect("a sound message");
    assert!(challenge.finish(&verifier, &changed).is_err(), "byte {at} does not matter");

    let mut theirs = ScramSha256::new(password, ChannelBinding::unsupported());
    let (challenge, first) =
        verifier.challenge(theirs.message(), NONCE, &Channel::Unbound).expect("a sound message");
    theirs.update(&first).expect("a sound challenge");
    // It has a SASLprep of its own, which need not agree on what is not ASCII.
    match challenge.finish(&verifier, theirs.message()) {
        Ok(accepted) => theirs.finish(&accepted.last_word).expect("a sound signature"),
        Err(refused) => assert!(!password.is_ascii(), "{refused}"),
    }
}

/// The client's side, towards a server that says anything but does not know the password.
fn server(first: &[u8], last: &[u8]) {
    // Each iteration is work that the server may ask for.
    let many = |field: &[u8]| field.starts_with(b"i=") && field.len() > 5;
    if first.split(|byte| *byte == b',').any(many) {
        return;
    }
    let hello = Hello::new("r", &Binding::None);
    if let Ok((proven, message)) = hello.prove(first, Secret::Password(Password(b"secret"))) {
        assert!(message.starts_with(b"c=biws,r=r"));
        assert!(proven.check(last).is_err(), "the server does not know the password");
    }
}

/// A verifier of one iteration, so that an exchange costs microseconds.
fn verifier(password: &[u8]) -> Verifier {
    const NO_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let cheap = format!("SCRAM-SHA-256$1:c2FsdHNhbHRzYWx0c2FsdA==${NO_KEY}:{NO_KEY}");
    let salting: Salting = Verifier::read(&cheap).expect("PostgreSQL's format").salting().clone();
    Keys::derive(password, &salting).verifier(salting)
}
