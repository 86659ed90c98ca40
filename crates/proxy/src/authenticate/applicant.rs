//! A client that has no entry of a database: an admin, or one that asks for a database that is not
//! configured or disabled, and is told so only once it has proved who it is.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Login, Stopped};
use crate::access::{AuthQuery, Secret, Word};
use crate::answer::Answer;
use crate::client::Client;
use crate::control::Control;
use crate::kill::Kill;
use crate::login::LOGIN_TIME;
use crate::lookup::Lookup;
use crate::roster::Badge;
use crate::timer::timeout;
use crate::{Database, settings};

/// Who comes, and where it is looked up.
pub(crate) struct Applicant<'a> {
    pub(crate) badge: &'a Badge,
    /// Without a list of users, the users of their URLs are those that there are.
    pub(crate) databases: &'a [Database],
    pub(crate) connect_timeout: Duration,
    /// The database under which the server's word about the user is kept.
    pub(crate) remembered_as: &'a str,
}

impl Applicant<'_> {
    /// Puts the client to the test, as any user of a database is.
    pub(crate) async fn prove(
        &self,
        client: &mut Client,
        control: &Control,
        kill: &CancellationToken,
    ) -> Result<(), Stopped> {
        let (user, database) = (self.badge.user.as_bytes(), self.badge.database.as_bytes());
        let (doorman, journal) = control.login();
        let access = doorman.access();
        let of_urls = access.users.are_of_urls();
        let own = self.own();
        let is_url_bare = of_urls && access.query.is_none() && self.is_bare(own.as_deref());
        let word = if of_urls { own } else { access.users.find(user).cloned() };
        let word = match (word, &access.query) {
            (None, Some(query)) => self.ask(control, query).await?,
            (word, _) => word,
        };
        let mut login =
            Login { client, kill: &mut Kill::new(kill), card: None, doorman, journal, is_url_bare };
        let proved = login.run(&access, (user, database), &word).await;
        if let Err(Stopped::With(..)) = proved {
            doorman.doubt(&(user.into(), self.remembered_as.as_bytes().into()));
        }
        proved.map(drop)
    }

    /// Says `answer` to a client that proves who it is. To any other one it looks as if there was
    /// such a database.
    pub(crate) async fn refuse(
        &self,
        mut client: Client,
        control: &Control,
        kill: &CancellationToken,
        answer: Answer,
    ) {
        let proved = tokio::select! {
            proved = timeout(LOGIN_TIME, self.prove(&mut client, control, kill)) => proved,
            () = kill.cancelled() => return,
        };
        match proved {
            Ok(Ok(())) => client.dismiss(&answer).await,
            Ok(Err(Stopped::With(answer, _))) => client.dismiss(&answer).await,
            Ok(Err(Stopped::Gone)) | Err(_) => {}
        }
    }

    /// Asks in the database that `auth_query` names, or else in the first one.
    async fn ask(&self, control: &Control, query: &AuthQuery) -> Result<Word, Stopped> {
        let (doorman, journal) = control.login();
        let is_it = |database: &&Database| database.name.as_deref() == query.database.as_deref();
        let named = self.databases.iter().find(is_it).filter(|_| query.database.is_some());
        let Some(database) = named.or(self.databases.first()) else { return Ok(None) };
        let upstream = &database.upstream;
        let name = database.name.as_deref().or(upstream.database()).unwrap_or("postgres");
        let lookup = Lookup {
            database,
            name: name.as_bytes(),
            own: upstream.secret().map(Arc::new),
            connect_timeout: self.connect_timeout,
            settings: &settings::Registry::default(),
            doorman,
            journal,
            // A connection for one question belongs to no worker.
            worker: 0,
            session: self.badge.session,
        };
        let person = (self.badge.user.as_bytes().into(), self.remembered_as.as_bytes().into());
        lookup.ask(&doorman.access(), query, person).await
    }

    /// What proves the user of a database URL; nothing if there is no such user.
    fn own(&self) -> Word {
        let mut upstreams = self.databases.iter().map(|database| &database.upstream);
        let found = upstreams.find(|upstream| upstream.user() == Some(&*self.badge.user))?;
        Some(Arc::new(found.secret().unwrap_or(Secret::None)))
    }

    /// Whether a user of URLs is asked for no password; one that there is not, if nobody is.
    fn is_bare(&self, own: Option<&Secret>) -> bool {
        let is_bare = |database: &Database| !database.upstream.has_password();
        own.map_or_else(
            || self.databases.iter().all(is_bare),
            |secret| matches!(secret, Secret::None),
        )
    }
}
