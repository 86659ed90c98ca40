//! How an admin gets in: as any user does, by the rules in force. The server is asked
//! (`auth_query`) only about users that are not in the list, for it may be away. Without a list of
//! users these are the users of the database URLs, and one without a password is trusted, since the
//! proxy listens on loopback addresses only then.
//!
//! The operating system's user that the proxy runs as needs no password either, as with
//! `PgBouncer`: over a Unix socket, as the user `pgbouncer`.

use tokio_util::sync::CancellationToken;
use trace::SqlState;
use wire::backend::{self, Authentication, BackendKey};

use super::Rank;
use super::session::Session;
use crate::answer::Answer;
use crate::authenticate::{Applicant, Stopped};
use crate::client::Client;
use crate::control::Control;
use crate::login::LOGIN_TIME;
use crate::roster::Badge;
use crate::timer::timeout;

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
        entered = timeout(LOGIN_TIME, enter(&mut client, badge, &control, kill)) => entered,
        () = kill.cancelled() => return,
    };
    match entered {
        Ok(Ok(rank)) => {
            greet(client.outbox.bytes(), badge);
            Session::new(client, control, rank).run(kill).await;
        }
        Ok(Err(Stopped::With(answer, _))) => client.dismiss(&answer).await,
        Ok(Err(Stopped::Gone)) | Err(_) => {}
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

/// What a user may do, once he has proved who he is.
async fn enter(
    client: &mut Client,
    badge: &Badge,
    control: &Control,
    kill: &CancellationToken,
) -> Result<Rank, Stopped> {
    let config = control.config();
    let user = &*badge.user;
    if super::is_vouched_for(client, badge) {
        return Ok(Rank::Admin);
    }
    let applicant = Applicant {
        badge,
        databases: &config.databases,
        connect_timeout: config.connect_timeout,
        remembered_as: &badge.database,
    };
    applicant.prove(client, control, kill).await?;
    Rank::of(user, &config).ok_or_else(|| {
        let text = format!("surgetank: user \"{user}\" is neither in admin_users nor stats_users");
        Stopped::refused(Answer::new(SqlState(*b"42501"), text))
    })
}
