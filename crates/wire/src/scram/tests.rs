//! Both sides against each other, against postgres-protocol's client and PostgreSQL's own form.

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use proptest::prelude::*;

use super::client::{Binding, Hello, Password, Secret};
use super::*;

const NONCE: &str = "3rfcNHYJY1ZVvWVs7j";

fn verifier(password: &[u8]) -> Verifier {
    let salting = Salting::new(b"0123456789abcdef");
    Keys::derive(password, &salting).verifier(salting)
}

/// Runs the whole exchange with another's client; `Ok` if both sides are satisfied.
fn theirs(
    ours: &[u8],
    theirs: &[u8],
    binding: ChannelBinding,
    channel: Channel<'_>,
) -> Result<(), Refused> {
    let verifier = verifier(ours);
    let mut client = ScramSha256::new(theirs, binding);
    let (challenge, server_first) = verifier.challenge(client.message(), NONCE, &channel)?;
    client.update(&server_first).expect("the client takes our challenge");
    let accepted = challenge.finish(&verifier, client.message())?;
    client.finish(&accepted.last_word).expect("the client accepts our signature");
    Ok(())
}

/// The same with our client; gives the keys that the server's side has learnt.
fn ours(
    verifier: &Verifier,
    secret: Secret<'_>,
    binding: Binding<'_>,
    channel: Channel<'_>,
) -> Result<Keys, Refused> {
    let hello = Hello::new("clientnonce", &binding);
    let (challenge, first) = verifier.challenge(&hello.message(), NONCE, &channel)?;
    let (proven, last) = hello.prove(&first, secret)?;
    let accepted = challenge.finish(verifier, &last)?;
    proven.check(&accepted.last_word)?;
    Ok(accepted.keys)
}

fn password(text: &str) -> Secret<'_> {
    Secret::Password(Password(text.as_bytes()))
}

#[test]
fn the_right_password_is_let_in() {
    for text in ["secret", "", "pass,word=", "I\u{00ad}X", "пароль", "\u{7}bell"] {
        let bytes = text.as_bytes();
        for binding in [ChannelBinding::unsupported(), ChannelBinding::unrequested()] {
            assert_eq!(theirs(bytes, bytes, binding, Channel::Unbound), Ok(()), "{text:?}");
        }
        let stored = verifier(bytes);
        ours(&stored, password(text), Binding::None, Channel::Unbound).unwrap();
        // What PostgreSQL would have stored.
        let stored = postgres_protocol::password::scram_sha_256(bytes);
        assert!(Verifier::read(&stored).unwrap().is_of(bytes), "{text:?}");
    }
    // SASLprep maps the soft hyphen to nothing.
    let mapped =
        theirs(b"IX", "I\u{00ad}X".as_bytes(), ChannelBinding::unsupported(), Channel::Unbound);
    assert_eq!(mapped, Ok(()));
}

#[test]
fn a_wrong_password_is_refused() {
    let refused = theirs(b"secret", b"Secret", ChannelBinding::unsupported(), Channel::Unbound);
    assert_eq!(refused, Err(Refused::WrongPassword));
    let nobody = Verifier::of_nobody(Salting::new(b"salt"));
    let refused = ours(&nobody, password(""), Binding::None, Channel::Unbound);
    assert_eq!(refused.err(), Some(Refused::WrongPassword));
    assert!(!verifier(b"secret").is_of(b"Secret"));
}

#[test]
fn the_keys_that_a_server_learns_log_in_elsewhere() {
    let stored = verifier(b"secret");
    let learnt = ours(&stored, password("secret"), Binding::None, Channel::Unbound).unwrap();
    ours(&stored, Secret::Keys(&learnt), Binding::None, Channel::Unbound).unwrap();
    let salting = Salting::new(b"another salt");
    let elsewhere = Keys::derive(b"secret", &salting).verifier(salting);
    let refused = ours(&elsewhere, Secret::Keys(&learnt), Binding::None, Channel::Unbound);
    assert_eq!(refused.err(), Some(Refused::WrongPassword));
}

#[test]
fn a_channel_is_bound_or_the_client_turned_away() {
    let hash = b"hash of the certificate";
    let run =
        |binding, channel| ours(&verifier(b"secret"), password("secret"), binding, channel).err();
    assert_eq!(run(Binding::EndPoint(hash), Channel::Bound(hash)), None);
    assert_eq!(run(Binding::NotOffered, Channel::Unbound), None);
    assert_eq!(run(Binding::None, Channel::Offered), None);
    for (binding, channel) in [
        (Binding::EndPoint(hash), Channel::Bound(b"another certificate")),
        (Binding::EndPoint(hash), Channel::Unbound),
        (Binding::NotOffered, Channel::Offered),
        (Binding::None, Channel::Bound(hash)),
    ] {
        let refused = run(binding, channel);
        assert_eq!(refused, Some(Refused::ChannelBinding), "{binding:?}, {channel:?}");
    }
    let end_point = ChannelBinding::tls_server_end_point(hash.to_vec());
    assert_eq!(theirs(b"secret", b"secret", end_point, Channel::Bound(hash)), Ok(()));
}

#[test]
fn a_server_that_does_not_know_the_password_is_found_out() {
    let stored = verifier(b"secret");
    let hello = Hello::new("abc", &Binding::None);
    let (_, first) = stored.challenge(&hello.message(), NONCE, &Channel::Unbound).unwrap();
    for last in ["v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "e=other-error", ""] {
        let hello = Hello::new("abc", &Binding::None);
        let (proven, _) = hello.prove(&first, password("secret")).unwrap();
        assert_eq!(proven.check(last.as_bytes()), Err(Refused::WrongServer), "{last}");
    }
    for first in ["r=abc,s=AAAA,i=1", "r=xyz1,s=AAAA,i=1", "r=abc1,s=AAAA,i=0", "r=abc1,s=AAAA", ""]
    {
        let hello = Hello::new("abc", &Binding::None);
        let refused = hello.prove(first.as_bytes(), password("secret"));
        assert_eq!(refused.err(), Some(Refused::Malformed), "{first}");
    }
}

#[test]
fn a_nonce_or_binding_that_is_not_ours_is_refused() {
    let verifier = verifier(b"secret");
    let finals = [
        ("c=biws,r=other,p=AAAA", Refused::Malformed),
        ("c=eSws,r=abcsrv,p=AAAA", Refused::ChannelBinding),
        ("c=biws,r=abcsrvx,p=AAAA", Refused::Malformed),
        ("", Refused::Malformed),
    ];
    for (client_final, why) in finals {
        let (challenge, first) =
            verifier.challenge(b"n,,n=,r=abc", "srv", &Channel::Unbound).unwrap();
        assert!(first.starts_with(b"r=abcsrv,s="));
        assert_eq!(challenge.finish(&verifier, client_final.as_bytes()).err(), Some(why));
    }
}

/// The example of RFC 7677 §3, from both sides.
#[test]
fn the_example_of_the_rfc() {
    let stored = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
        WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    let stored = Verifier::read(stored).unwrap();
    assert!(stored.is_of(b"pencil"));
    let client_first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let (challenge, server_first) =
        stored.challenge(client_first, nonce, &Channel::Unbound).unwrap();
    assert_eq!(
        std::str::from_utf8(&server_first).unwrap(),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let client_final = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let server_final = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    assert_eq!(challenge.finish(&stored, client_final).unwrap().last_word, server_final);

    // Our client sends no name ("n="), the example's does.
    let mut hello = Hello::new("rOprNGfwEbeRWgbNEkqO", &Binding::None);
    "n=user,r=rOprNGfwEbeRWgbNEkqO".clone_into(&mut hello.bare);
    let (proven, last) = hello.prove(&server_first, password("pencil")).unwrap();
    assert_eq!(last, client_final);
    assert_eq!(proven.check(server_final), Ok(()));
}

#[test]
fn secrets_are_not_shown() {
    let stored = verifier(b"secret");
    let keys = ours(&stored, password("secret"), Binding::None, Channel::Unbound).unwrap();
    let shown = format!("{stored:?} {keys:?} {:?}", password("hunter2"));
    assert_eq!(shown, "Verifier { iterations: 4096, .. } Keys Password(Password)");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        first in proptest::collection::vec(any::<u8>(), 0..60),
        last in "[cnrp=,biwsabcsrv]{0,40}",
    ) {
        let nobody = Verifier::of_nobody(Salting { salt: Vec::new(), iterations: 1 });
        let _ = nobody.challenge(&first, "srv", &Channel::Unbound);
        if let Ok((challenge, _)) = nobody.challenge(b"n,,n=,r=abc", "srv", &Channel::Unbound) {
            prop_assert!(challenge.finish(&nobody, last.as_bytes()).is_err());
        }
        let _ = Hello::new("a", &Binding::None).prove(&first, Secret::Password(Password(b"x")));
        let hello = Hello::new("a", &Binding::None);
        if let Ok((proven, _)) = hello.prove(b"r=ab,s=AAAA,i=1", Secret::Password(Password(b"x"))) {
            prop_assert!(proven.check(last.as_bytes()).is_err());
        }
    }
}
