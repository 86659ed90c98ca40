//! How an admin gets in: by the password of the database URL with his name. Without one he is
//! trusted, since the proxy listens on loopback addresses only then.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use trace::SqlState;
use wire::backend::{self, Authentication, BackendKey};
use wire::frame::body;
use wire::frontend::{SaslInitial, tag};
use wire::scram::{self, Channel, Keys, Salting};

use super::Rank;
use super::session::Session;
use crate::answer::Answer;
use crate::client::Client;
use crate::control::Control;
use crate::login::LOGIN_TIME;
use crate::roster::Badge;

/// Longest message of authentication.
const AUTHENTICATION_MAX: usize = 8192;

/// What drivers want to know of a server.
const PARAMETERS: [(&[u8], &[u8]); 8] = [
    (b"server_version", b"1.25.0/surgetank"),
    (b"server_encoding", b"UTF8"),
    (b"client_encoding", b"UTF8"),
    (b"DateStyle", b"ISO"),
    (b"TimeZone", b"GMT"),
    (b"integer_datetimes", b"on"),
    (b"standard_conforming_strings", b"on"),
    (b"is_superuser", b"on"),
];

/// Carries an admin's connection to its end.
pub(crate) async fn serve(
    mut client: Client,
    badge: &Badge,
    control: Control,
    kill: &CancellationToken,
) {
    let entered = tokio::select! {
        entered = timeout(LOGIN_TIME, enter(&mut client, &badge.user, &control)) => entered,
        () = kill.cancelled() => return,
    };
    match entered {
        Ok(Ok(rank)) => {
            greet(client.outbox.bytes(), badge);
            Session::new(client, control, rank).run(kill).await;
        }
        Ok(Err(Some(answer))) => client.dismiss(&answer).await,
        Ok(Err(None)) | Err(_) => {}
    }
}

fn greet(out: &mut Vec<u8>, badge: &Badge) {
    Authentication::Ok.put(out);
    for (name, value) in PARAMETERS {
        backend::put_parameter(out, name, value);
    }
    // Nothing here can be cancelled.
    let pid = i32::try_from(badge.session.0).unwrap_or_default();
    BackendKey { pid, key: &[0; 4] }.put(out);
    backend::put_ready(out, b'I');
}

/// What a user may do, once he has proved who he is; else what he is told, if he still listens.
async fn enter(client: &mut Client, user: &str, control: &Control) -> Result<Rank, Option<Answer>> {
    let failed = || {
        let text = format!("surgetank: password authentication failed for user \"{user}\"");
        Some(Answer::new(SqlState::INVALID_PASSWORD, text))
    };
    let config = control.config();
    let rank = Rank::of(user, &config);
    let mut upstreams = config.databases.iter().map(|database| &database.upstream);
    let known = upstreams.find(|upstream| upstream.user() == Some(user));
    if let Some(upstream) = known
        && upstream.password().is_none()
    {
        return rank.ok_or_else(failed);
    }
    let password = known.and_then(|upstream| upstream.password());
    // An unknown user is put to the test too, so that names cannot be found out.
    let secret = password.map_or_else(
        || rand::random::<[u8; 16]>().to_vec(),
        |secret| secret.reveal().as_bytes().to_vec(),
    );
    let is_right = prove(client, &secret).await?;
    if password.is_none() || !is_right {
        return Err(failed());
    }
    rank.ok_or_else(failed)
}

/// Whether the client knows the password.
async fn prove(client: &mut Client, password: &[u8]) -> Result<bool, Option<Answer>> {
    let salting = Salting::new(&rand::random::<[u8; 16]>());
    let verifier = Keys::derive(password, &salting).verifier(salting);
    let offer = [scram::MECHANISM, b"\0\0"].concat();
    Authentication::Sasl(&offer).put(client.outbox.bytes());
    let first = hear(client).await?;
    let broken = |error: wire::Error| Some(Answer::protocol(&error));
    let initial = SaslInitial::read(body(&first)).map_err(broken)?;
    if initial.mechanism != scram::MECHANISM {
        return Ok(false);
    }
    let nonce = STANDARD.encode(rand::random::<[u8; 18]>());
    let challenged = verifier.challenge(initial.data, &nonce, &Channel::Unbound);
    let Ok((challenge, question)) = challenged else { return Ok(false) };
    Authentication::SaslContinue(&question).put(client.outbox.bytes());
    let last = hear(client).await?;
    let Ok(accepted) = challenge.finish(&verifier, body(&last)) else { return Ok(false) };
    Authentication::SaslFinal(&accepted.last_word).put(client.outbox.bytes());
    Ok(true)
}

/// The client's next message of authentication.
async fn hear(client: &mut Client) -> Result<Vec<u8>, Option<Answer>> {
    loop {
        let step = client.inbox.step(|_, total| total.min(AUTHENTICATION_MAX));
        if let Some(piece) = step.map_err(|error| Some(Answer::protocol(&error)))? {
            if piece.tag != tag::PASSWORD || piece.len < piece.total {
                let error = wire::Error::Malformed("password message");
                return Err(Some(Answer::protocol(&error)));
            }
            let message = client.inbox.peek(piece.len).to_vec();
            client.inbox.discard(piece.len);
            return Ok(message);
        }
        if !client.listen().await {
            return Err(None);
        }
    }
}
