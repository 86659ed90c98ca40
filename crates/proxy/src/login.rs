//! The first packet of a client: what it wants, and whose it is.

use std::net::SocketAddr;
use std::time::Duration;

use trace::SqlState;
use wire::backend;
use wire::startup::{self, Session, Startup};

use crate::answer::Answer;
use crate::client::Client;
use crate::stream::{Socket, Stream};
use crate::{Access, ClientTls, SslMode, tls};

/// How long a client may take until it is logged in (PostgreSQL's `authentication_timeout`).
pub(crate) const LOGIN_TIME: Duration = Duration::from_secs(60);

/// How often a client may ask for encryption: once for TLS, once for GSSAPI, and once more.
const REQUESTS_MAX: usize = 3;

/// The first byte of a TLS handshake; no packet of PostgreSQL's is so long that it began with it.
const HANDSHAKE: u8 = 0x16;

/// The newest protocol that is spoken with clients: 3.2, as by PostgreSQL 18.
pub(crate) const MINOR_MAX: u16 = 2;

/// From this one on a key for cancel requests may have more than four bytes: "a variable length,
/// up to 256 bytes" (3.2).
const MINOR_OF_LONG_KEYS: u16 = 2;

/// What begins with `surgetank.` is for us; the server never sees it.
const OURS: &[u8] = b"surgetank.";

/// The parameter with which a client says which dyno it is.
const DYNO: &[u8] = b"surgetank.dyno";

/// What a client wants.
#[derive(Debug)]
pub(crate) enum Wish {
    /// A session; this is its startup packet.
    Session(Vec<u8>),
    /// To cancel a request; this is the packet.
    Cancel(Vec<u8>),
}

/// Why a client's first packet leads nowhere.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It left.
    Gone,
    /// It is to be told this.
    With(Box<Client>, Answer),
}

fn malformed(client: Client, error: &wire::Error) -> Refused {
    let mut answer = Answer::protocol(error);
    if matches!(error, wire::Error::Version { .. }) {
        answer.code = SqlState::FEATURE_NOT_SUPPORTED;
    }
    Refused::With(Box::new(client), answer)
}

/// Reads the first packet; before it, encryption is agreed on or declined.
pub(crate) async fn read_wish(
    mut client: Client,
    access: &Access,
) -> Result<(Client, Wish), Refused> {
    let tls = match access.sslmode {
        SslMode::Disable => None,
        _ if client.address.is_none() => None,
        _ => access.tls.as_ref(),
    };
    if let Some(tls) = tls
        && begins_with_tls(&client.stream).await
    {
        client = encrypt(client, tls).await?;
        if !client.stream.tls().is_some_and(tls::is_postgres) {
            // As PostgreSQL: what does not name its protocol may be another's, misled to us.
            return Err(Refused::Gone);
        }
    }
    let mut requests = 0;
    loop {
        let packet = match read_packet(&mut client).await {
            Ok(Some(packet)) => packet,
            Ok(None) => return Err(Refused::Gone),
            Err(error) => return Err(malformed(client, &error)),
        };
        match startup::read(&packet) {
            Ok(Startup::Session(_)) => {
                return match lacks_tls(&client, access) {
                    None => Ok((client, Wish::Session(packet))),
                    Some(answer) => Err(Refused::With(Box::new(client), answer)),
                };
            }
            Ok(Startup::Cancel { .. }) => return Ok((client, Wish::Cancel(packet))),
            Ok(Startup::Ssl | Startup::GssEnc) if requests >= REQUESTS_MAX => {
                return Err(Refused::Gone);
            }
            Ok(Startup::Ssl) if client.stream.tls().is_none() && tls.is_some() => {
                let Some(tls) = tls else { return Err(Refused::Gone) };
                client.outbox.bytes().push(b'S');
                client.flush().await.map_err(|_| Refused::Gone)?;
                client = encrypt(client, tls).await?;
            }
            Ok(Startup::Ssl | Startup::GssEnc) => {
                client.outbox.bytes().push(b'N');
                client.flush().await.map_err(|_| Refused::Gone)?;
            }
            Err(error) => return Err(malformed(client, &error)),
        }
        requests += 1;
    }
}

/// Whether a client speaks TLS without asking first (PostgreSQL 17's direct negotiation).
async fn begins_with_tls(stream: &Stream) -> bool {
    let Stream::Plain(Socket::Tcp(stream)) = stream else { return false };
    let mut first = [0];
    matches!(stream.peek(&mut first).await, Ok(1) if first == [HANDSHAKE])
}

async fn encrypt(client: Client, tls: &ClientTls) -> Result<Client, Refused> {
    let Client { stream, address, inbox, outbox } = client;
    let Stream::Plain(socket) = stream else { return Err(Refused::Gone) };
    if !inbox.unjudged().is_empty() {
        // Somebody in the middle has put it in, to have it taken for the client's
        // (CVE-2021-23214).
        let text = "surgetank: received unencrypted data after SSL request";
        let answer = Answer::new(SqlState::PROTOCOL_VIOLATION, text);
        let client = Client { stream: Stream::Plain(socket), address, inbox, outbox };
        return Err(Refused::With(Box::new(client), answer));
    }
    match Box::pin(tls.accept(socket)).await {
        Ok(stream) => Ok(Client { stream, address, inbox, outbox }),
        Err(error) => {
            tracing::debug!(?address, %error, "no TLS with a client");
            Err(Refused::Gone)
        }
    }
}

/// What a client is told whose connection is not encrypted as it must be.
fn lacks_tls(client: &Client, access: &Access) -> Option<Answer> {
    if client.address.is_none() || access.sslmode < SslMode::Require {
        return None;
    }
    let text = match client.stream.tls() {
        None => "surgetank: the connection must be encrypted",
        Some(state) if access.sslmode >= SslMode::VerifyCa && tls::peer_name(state).is_none() => {
            "surgetank: the connection requires a valid client certificate"
        }
        Some(_) => return None,
    };
    let mut answer = Answer::new(SqlState(*b"28000"), text);
    "connect with sslmode=require or stronger, and sslcert if asked for a certificate"
        .clone_into(&mut answer.hint);
    Some(answer)
}

async fn read_packet(client: &mut Client) -> Result<Option<Vec<u8>>, wire::Error> {
    loop {
        let held = client.inbox.unjudged();
        if let Some(length) = startup::length(held)?
            && let Some(packet) = held.get(..length)
        {
            let packet = packet.to_vec();
            client.inbox.discard(length);
            return Ok(Some(packet));
        }
        if !client.listen().await {
            return Ok(None);
        }
    }
}

/// Tells a client what it asked for and is not spoken here: "the newest minor protocol version
/// supported by the server for the major protocol version requested by the client", and protocol
/// options. For sessions that are not passed on to a server, which would tell it.
pub(crate) fn negotiate(session: &Session<'_>, out: &mut Vec<u8>) {
    let options = session.protocol_options();
    if session.minor > MINOR_MAX || options.clone().next().is_some() {
        backend::put_negotiate(out, session.minor.min(MINOR_MAX), options);
    }
}

/// How many bytes the key for cancel requests has that the client of this startup packet is given:
/// as many as PostgreSQL's (`MAX_CANCEL_KEY_LENGTH`).
pub(crate) fn key_length(packet: &[u8]) -> usize {
    match startup::read(packet) {
        Ok(Startup::Session(session)) if session.minor >= MINOR_OF_LONG_KEYS => 32,
        _ => 4,
    }
}

/// Whose connection it is: the listener's dyno; else what the client says by `surgetank.dyno`, as a
/// parameter or in `options`; else its `application_name`; else its address, `[local]` over a Unix
/// socket.
pub(crate) fn dyno(
    listener: Option<&str>,
    session: &Session<'_>,
    peer: Option<SocketAddr>,
) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    listener
        .map(str::to_owned)
        .or_else(|| parameter(session, DYNO).map(|value| text(&value)))
        .or_else(|| session.parameter(b"application_name").map(text))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| peer.map_or("[local]".to_owned(), |peer| peer.ip().to_string()))
}

/// A parameter of the session: given as such, or in `options`.
pub(crate) fn parameter(session: &Session<'_>, wanted: &[u8]) -> Option<Vec<u8>> {
    if let Some(value) = session.parameter(wanted) {
        return Some(value.to_vec());
    }
    let options = startup::split_options(session.parameter(b"options")?);
    let last = settings(&options).filter(|(_, name, _)| is_name(name, wanted)).last();
    last.map(|(_, _, value)| value.to_vec())
}

/// Whether a setting in `options` is the one of this name: "-" stands for "_" there.
fn is_name(given: &[u8], name: &[u8]) -> bool {
    let spelt = given.iter().map(|byte| if *byte == b'-' { b'_' } else { *byte });
    spelt.map(|byte| byte.to_ascii_lowercase()).eq(name.iter().copied())
}

/// The settings among command-line arguments (`-c name=value`, `-cname=value`, `--name=value`),
/// each with the indexes of the arguments it takes up.
fn settings(
    arguments: &[Vec<u8>],
) -> impl Iterator<Item = (std::ops::RangeInclusive<usize>, &[u8], &[u8])> {
    arguments.iter().enumerate().filter_map(|(index, argument)| {
        let (first, setting) = match argument.as_slice() {
            b"-c" => return None,
            [b'-', b'c', rest @ ..] | [b'-', b'-', rest @ ..] => (index, rest),
            rest => {
                let before = index.checked_sub(1)?;
                (arguments[before] == b"-c").then_some((before, rest))?
            }
        };
        let equals = setting.iter().position(|byte| *byte == b'=')?;
        Some((first..=index, &setting[..equals], &setting[equals + 1..]))
    })
}

/// The session's parameters as the server gets them: without ours.
pub(crate) fn parameters_for_server(session: &Session<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut parameters = Vec::new();
    for (name, value) in session.parameters().filter(|(name, _)| !name.starts_with(OURS)) {
        let value = if name == b"options" { options_for_server(value) } else { value.to_vec() };
        if name != b"options" || !value.is_empty() {
            parameters.push((name.to_vec(), value));
        }
    }
    parameters
}

fn options_for_server(options: &[u8]) -> Vec<u8> {
    let arguments = startup::split_options(options);
    let ours: Vec<_> = settings(&arguments)
        .filter(|(_, name, _)| name.get(..OURS.len()).is_some_and(|head| is_name(head, OURS)))
        .map(|(place, ..)| place)
        .collect();
    if ours.is_empty() {
        return options.to_vec();
    }
    let kept: Vec<Vec<u8>> = arguments
        .iter()
        .enumerate()
        .filter(|(index, _)| !ours.iter().any(|place| place.contains(index)))
        .map(|(_, argument)| argument.clone())
        .collect();
    startup::join_options(&kept)
}

/// The startup packet as the server gets it: as it came, but for our own parameters, and with the
/// database's name on the server if that is another.
pub(crate) fn packet_for_server(
    packet: Vec<u8>,
    session: &Session<'_>,
    database: Option<&str>,
) -> Vec<u8> {
    let mut parameters = parameters_for_server(session);
    if let Some(database) = database {
        parameters.retain(|(name, _)| name != b"database");
        parameters.push((b"database".to_vec(), database.as_bytes().to_vec()));
    }
    let pairs = || parameters.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
    if pairs().eq(session.parameters()) {
        return packet;
    }
    let mut rewritten = Vec::new();
    startup::put_session(&mut rewritten, session.minor, pairs());
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(parameters: &[(&str, &str)]) -> Vec<u8> {
        let mut packet = Vec::new();
        let pairs = parameters.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        startup::put_session(&mut packet, 0, pairs);
        packet
    }

    fn session(packet: &[u8]) -> Session<'_> {
        match startup::read(packet).unwrap() {
            Startup::Session(session) => session,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn whose_connection_it_is() {
        let peer: SocketAddr = "127.0.0.7:5000".parse().unwrap();
        type Case<'a> = (Option<&'a str>, &'a [(&'a str, &'a str)], &'a str);
        let cases: [Case<'_>; 8] = [
            (Some("web.1"), &[("surgetank.dyno", "web.2")], "web.1"),
            (None, &[("surgetank.dyno", "web.2"), ("application_name", "x")], "web.2"),
            (None, &[("options", "-c a=b -c surgetank.dyno=web.3")], "web.3"),
            (None, &[("options", "--surgetank.dyno=web.4")], "web.4"),
            (None, &[("options", "-csurgetank.dyno=web.5"), ("application_name", "x")], "web.5"),
            (None, &[("options", "--surgetank.dyno=a --Surgetank.dyno=web.6")], "web.6"),
            (None, &[("application_name", "psql")], "psql"),
            (None, &[], "127.0.0.7"),
        ];
        for (listener, parameters, expected) in cases {
            let packet = packet(parameters);
            assert_eq!(dyno(listener, &session(&packet), Some(peer)), expected, "{parameters:?}");
        }
        assert_eq!(dyno(None, &session(&packet(&[])), None), "[local]");
    }

    #[test]
    fn the_server_never_sees_our_parameters() {
        let sent = packet(&[
            ("user", "ann"),
            ("surgetank.dyno", "web.1"),
            ("options", "-c surgetank.dyno=web.1 -c geqo=off"),
        ]);
        let seen = packet_for_server(sent.clone(), &session(&sent), None);
        assert_eq!(seen, packet(&[("user", "ann"), ("options", "-c geqo=off")]));

        let plain = packet(&[("user", "ann"), ("options", "  -c geqo=off")]);
        let seen = packet_for_server(plain.clone(), &session(&plain), None);
        assert_eq!(seen, plain, "byte for byte");

        let seen = packet_for_server(plain.clone(), &session(&plain), Some("shop"));
        let renamed = [("user", "ann"), ("options", "  -c geqo=off"), ("database", "shop")];
        assert_eq!(seen, packet(&renamed));
    }
}
