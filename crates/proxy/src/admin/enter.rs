//! How an admin gets in: as any user does, by the rules in force. The server is asked
//! (`auth_query`) only about users that are not in the list, for it may be away. Without a list of
//! users these are the users of the database URLs, and one without a password is trusted, since the
//! proxy listens on loopback addresses only then.
//!
//! The operating system's user that the proxy runs as needs no password either, as with
//! `PgBouncer`: over a Unix socket, as the user `pgbouncer`.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use trace::SqlState;
use wire::backend::{self, Authentication, BackendKey};

use super::Rank;
use super::session::Session;
use crate::access::{AuthQuery, Secret, Word};
use crate::answer::Answer;
use crate::authenticate::{Login, Stopped};
use crate::client::Client;
use crate::control::Control;
use crate::kill::Kill;
use crate::login::LOGIN_TIME;
use crate::lookup::Lookup;
use crate::roster::Badge;
use crate::timer::timeout;
use crate::{Config, Database, settings};

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
    let (doorman, journal) = control.login();
    let access = doorman.access();
    let own = own(user, &config);
    let of_urls = access.users.are_of_urls();
    let may_trust = of_urls && access.query.is_none();
    let is_url_bare = may_trust && matches!(own.as_deref(), Some(Secret::None));
    let word = if of_urls { own } else { access.users.find(user.as_bytes()).cloned() };
    let word = match (word, &access.query) {
        (None, Some(query)) => ask(control, badge, &config, query).await?,
        (word, _) => word,
    };
    let mut login =
        Login { client, kill: &mut Kill::new(kill), card: None, doorman, journal, is_url_bare };
    login.run(&access, (user.as_bytes(), badge.database.as_bytes()), &word).await?;
    Rank::of(user, &config).ok_or_else(|| {
        let text = format!("surgetank: user \"{user}\" is neither in admin_users nor stats_users");
        Stopped::refused(Answer::new(SqlState(*b"42501"), text))
    })
}

/// Asks in the database that `auth_query` names, or else in the first one.
async fn ask(
    control: &Control,
    badge: &Badge,
    config: &Config,
    query: &AuthQuery,
) -> Result<Word, Stopped> {
    let (doorman, journal) = control.login();
    let is_it = |database: &&Database| database.name.as_deref() == query.database.as_deref();
    let named = config.databases.iter().find(is_it).filter(|_| query.database.is_some());
    let Some(database) = named.or(config.databases.first()) else { return Ok(None) };
    let upstream = &database.upstream;
    let name = database.name.as_deref().or(upstream.database()).unwrap_or("postgres");
    let lookup = Lookup {
        database,
        name: name.as_bytes(),
        own: upstream.secret().map(Arc::new),
        connect_timeout: config.connect_timeout,
        settings: &settings::Registry::default(),
        doorman,
        journal,
        // A connection for one question belongs to no worker.
        worker: 0,
        session: badge.session,
    };
    let person = (badge.user.as_bytes().into(), badge.database.as_bytes().into());
    lookup.ask(&doorman.access(), query, person).await
}

/// What proves the user of a database URL; nothing if there is no such user.
fn own(user: &str, config: &Config) -> Word {
    let mut upstreams = config.databases.iter().map(|database| &database.upstream);
    let found = upstreams.find(|upstream| upstream.user() == Some(user))?;
    Some(Arc::new(found.secret().unwrap_or(Secret::None)))
}
