//! Our server against postgres-protocol's client.

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use proptest::prelude::*;

use super::*;

/// Runs the whole exchange; `Ok` if both sides are satisfied.
fn exchange(ours: &[u8], theirs: &[u8], binding: ChannelBinding) -> Result<(), Refused> {
    let verifier = Verifier::of_password(ours);
    let mut client = ScramSha256::new(theirs, binding);
    let (challenge, server_first) = verifier.challenge(client.message(), "3rfcNHYJY1ZVvWVs7j")?;
    client.update(&server_first).expect("the client takes our challenge");
    let server_final = challenge.finish(client.message())?;
    client.finish(&server_final).expect("the client accepts our signature");
    Ok(())
}

#[test]
fn the_right_password_is_let_in() {
    for password in ["secret", "", "pass,word=", "I\u{00ad}X", "пароль"] {
        let password = password.as_bytes();
        assert_eq!(exchange(password, password, ChannelBinding::unsupported()), Ok(()));
        assert_eq!(exchange(password, password, ChannelBinding::unrequested()), Ok(()));
    }
    // SASLprep maps the soft hyphen to nothing.
    assert_eq!(exchange(b"IX", "I\u{00ad}X".as_bytes(), ChannelBinding::unsupported()), Ok(()));
}

#[test]
fn a_wrong_password_is_refused() {
    let refused = exchange(b"secret", b"Secret", ChannelBinding::unsupported());
    assert_eq!(refused, Err(Refused::WrongPassword));
}

#[test]
fn channel_binding_is_refused() {
    let binding = ChannelBinding::tls_server_end_point(vec![1, 2, 3]);
    assert_eq!(exchange(b"secret", b"secret", binding), Err(Refused::ChannelBinding));
}

#[test]
fn a_nonce_or_binding_that_is_not_ours_is_refused() {
    let verifier = Verifier::of_password(b"secret");
    let finals = ["c=biws,r=other,p=AAAA", "c=eSws,r=abcsrv,p=AAAA", "c=biws,r=abcsrvx,p=AAAA", ""];
    for client_final in finals {
        let (challenge, first) = verifier.challenge(b"n,,n=,r=abc", "srv").unwrap();
        assert!(first.starts_with(b"r=abcsrv,s="));
        assert_eq!(challenge.finish(client_final.as_bytes()), Err(Refused::Malformed));
    }
}

/// The example of RFC 7677 §3.
#[test]
fn the_example_of_the_rfc() {
    let salted = Verifier {
        salt: "W22ZaJ0SNY7soEsUEjb6gQ==".to_owned(),
        iterations: 4096,
        stored_key: key("WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="),
        server_key: key("wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="),
    };
    let client_first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let (challenge, server_first) = salted.challenge(client_first, nonce).unwrap();
    assert_eq!(
        String::from_utf8(server_first).unwrap(),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let client_final = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let server_final = challenge.finish(client_final).unwrap();
    assert_eq!(server_final, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

fn key(text: &str) -> [u8; 32] {
    STANDARD.decode(text).unwrap().try_into().unwrap()
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        first in proptest::collection::vec(any::<u8>(), 0..60),
        last in "[cnrp=,biwsabcsrv]{0,40}",
    ) {
        let verifier = Verifier {
            salt: String::new(), iterations: 1, stored_key: [0; 32], server_key: [0; 32],
        };
        let _ = verifier.challenge(&first, "srv");
        if let Ok((challenge, _)) = verifier.challenge(b"n,,n=,r=abc", "srv") {
            prop_assert!(challenge.finish(last.as_bytes()).is_err());
        }
    }
}
