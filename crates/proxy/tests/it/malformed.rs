//! Clients that do not keep to the protocol: each is told so at once, and none is let in as
//! another.

use proxy::{Config, Mode};
use wire::backend::Authentication;
use wire::frontend::SaslInitial;

use crate::harness::{Fixture, MODES};
use crate::raw::{Message, Raw};

fn begin(raw: &mut Raw, user: &str, database: &str) {
    raw.startup(0, &[(b"user", user.as_bytes()), (b"database", database.as_bytes())]);
}

/// The last message before the proxy hangs up.
async fn last(raw: &mut Raw) -> Message {
    let mut last = None;
    while let Some(message) = raw.try_receive().await {
        last = Some(message);
    }
    last.expect("a word before the end")
}

/// The first message of SCRAM.
fn begin_scram(raw: &mut Raw) {
    let data = b"n,,n=,r=bm9uY2Vub25jZW5vbmNl";
    SaslInitial { mechanism: wire::scram::MECHANISM, data }.put(&mut raw.out);
}

async fn fixture(mode: Mode) -> Fixture {
    let owner_is_admin = |config: &mut Config| {
        config.admin_users = vec![config.databases[0].upstream.user().expect("a user").to_owned()];
    };
    Fixture::start_with(mode, owner_is_admin).await
}

/// Else the second packet's user could be taken for the one that proves itself.
#[tokio::test]
async fn a_second_startup_packet_ends_the_login() {
    for mode in MODES {
        let fixture = fixture(mode).await;
        let (user, database) = (&fixture.database.owner.user, &fixture.database.name);
        let superuser = fixture.postgres.cluster().superuser().user.clone();
        for (name, rounds) in [(database.as_str(), 0), (database, 1), ("pgbouncer", 0)] {
            let mut raw = Raw::connect(fixture.addr).await;
            begin(&mut raw, user, name);
            raw.send().await;
            assert_eq!(raw.receive().await.tag, 'R');
            if rounds == 1 {
                begin_scram(&mut raw);
                raw.send().await;
                let message = raw.receive().await;
                let said = Authentication::read(&message.body).unwrap();
                assert!(matches!(said, Authentication::SaslContinue(_)), "{said:?}");
            }
            begin(&mut raw, &superuser, name);
            raw.send().await;
            let answer = last(&mut raw).await;
            assert_eq!((answer.tag, answer.code().as_str()), ('E', "08P01"), "{mode:?} {answer:?}");
            let text = answer.text();
            assert!(text.ends_with("response, got message type 0"), "{mode:?}: {text}");
        }
        // Nor is there another message in the middle of a login.
        for kind in [b'Q', b'P', b'X', b'S', b'!'] {
            let mut raw = Raw::connect(fixture.addr).await;
            begin(&mut raw, user, database);
            raw.send().await;
            assert_eq!(raw.receive().await.tag, 'R');
            // Its end is not awaited.
            raw.out.extend_from_slice(&[kind, 0, 0, 0x20, 0]);
            raw.send().await;
            let answer = last(&mut raw).await;
            assert_eq!(answer.code(), "08P01", "{mode:?} {answer:?}");
        }
        fixture.end().await;
    }
}

/// What PostgreSQL says to these options when it is asked directly.
#[tokio::test]
async fn options_of_any_form_get_the_servers_answer() {
    let options: [&[u8]; 17] = [
        b"-c",
        b"-c ",
        b"-c=",
        b"-c =x",
        b"--=",
        b"--",
        b"-",
        b"-c geqo",
        b"-c geqo=off",
        b"-cgeqo=off -c",
        b"\\",
        b"-c \\",
        b"-c geqo=\\",
        b"-c application_name=a\\ b\\\\",
        b"   \t\x0b  ",
        b"--geqo=off --",
        b"-c surgetank.dyno=web.1 -c geqo=off -c",
    ];
    for mode in MODES {
        let fixture = fixture(mode).await;
        let owner = &fixture.database.owner;
        let direct = fixture.database.address.tcp();
        for option in options {
            let mut heard = Vec::new();
            for addr in [direct, fixture.addr] {
                let mut raw = Raw::connect(addr).await;
                let (user, database) = (owner.user.as_bytes(), fixture.database.name.as_bytes());
                raw.startup(0, &[(b"user", user), (b"database", database), (b"options", option)]);
                heard.push(match raw.try_authenticate(&owner.password).await {
                    Ok(_) => raw.value("SHOW geqo").await,
                    Err(error) => format!("{} {}", error.code(), error.text()),
                });
            }
            let shown = String::from_utf8_lossy(option);
            assert_eq!(heard[1], heard[0], "{mode:?} {shown:?}");
        }
        fixture.end().await;
    }
}

#[tokio::test]
async fn lengths_that_cannot_be_end_the_connection_at_once() {
    const LENGTHS: [u32; 6] = [0, 3, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, u32::MAX];
    for mode in MODES {
        let fixture = fixture(mode).await;
        let owner = &fixture.database.owner;
        for length in LENGTHS.into_iter().chain([7, 10_001]) {
            let mut raw = Raw::connect(fixture.addr).await;
            raw.out.extend_from_slice(&length.to_be_bytes());
            raw.send().await;
            let answer = last(&mut raw).await;
            assert_eq!((answer.tag, answer.code().as_str()), ('E', "08P01"));
            let expected = format!("surgetank: invalid length of startup packet: {length}");
            assert_eq!(answer.text(), expected);
        }
        let databases = [fixture.database.name.as_str(), "pgbouncer"];
        for (database, length) in
            databases.into_iter().flat_map(|name| LENGTHS.map(|length| (name, length)))
        {
            let kinds = [(b'p', true), (b'Q', false), (b'd', false), (b'S', false)];
            for (kind, during_login) in kinds {
                let mut raw = Raw::connect(fixture.addr).await;
                begin(&mut raw, &owner.user, database);
                if during_login {
                    raw.send().await;
                    assert_eq!(raw.receive().await.tag, 'R');
                } else {
                    raw.authenticate(&owner.password).await;
                }
                raw.out.push(kind);
                raw.out.extend_from_slice(&length.to_be_bytes());
                raw.send().await;
                let answer = last(&mut raw).await;
                assert_eq!((answer.tag, answer.code().as_str()), ('E', "08P01"));
                let expected = format!("invalid message length {length} of message type");
                assert!(answer.text().contains(&expected), "{mode:?} {database}: {answer:?}");
            }
        }
        // What may be long for others may not be for these.
        for kind in [b'S', b'E', b'H', b'X', b'c'] {
            let mut raw = Raw::login(&fixture).await;
            raw.out.push(kind);
            raw.out.extend_from_slice(&10_001_u32.to_be_bytes());
            raw.send().await;
            assert_eq!(last(&mut raw).await.code(), "08P01", "{mode:?} {kind}");
        }
        // One that nobody knows is not awaited.
        let mut raw = Raw::login(&fixture).await;
        raw.out.extend_from_slice(&[b'!', 0, 0, 0x10, 0]);
        raw.send().await;
        assert_eq!(last(&mut raw).await.code(), "08P01", "{mode:?}");
        fixture.end().await;
    }
}
