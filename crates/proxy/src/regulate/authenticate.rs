//! How a client of a database proves who it is.

use std::sync::Arc;

use super::Session;
use crate::access::{Access, Credential, Secret, Word};
use crate::authenticate::{Login, Stopped};
use crate::lookup::Lookup;

impl Session {
    /// Puts the client to the test; gives what its own login is worth towards the server.
    pub(super) async fn authenticate(
        &mut self,
        user: &[u8],
        database: &[u8],
    ) -> Result<Credential, Stopped> {
        let house = Arc::clone(&self.house);
        let access = house.doorman.access();
        let word = self.secret(&access, user, database).await?;
        let of_urls = access.users.are_of_urls() && access.query.is_none();
        let mut login = Login {
            client: &mut self.client,
            kill: &mut self.kill,
            card: Some(&self.talk.journal.card),
            doorman: &house.doorman,
            journal: &house.journal,
            is_url_bare: of_urls && house.own().is_none(),
        };
        login.run(&access, (user, database), &word).await
    }

    /// What proves this user, if there is such a user.
    async fn secret(&self, access: &Access, user: &[u8], database: &[u8]) -> Result<Word, Stopped> {
        if access.users.are_of_urls() && access.query.is_none() {
            let database = self.house.database();
            let is_own = database.upstream.user().map(str::as_bytes) == Some(user);
            let secret = || self.house.own().unwrap_or_else(|| Arc::new(Secret::None));
            return Ok(is_own.then(secret));
        }
        match (access.users.find(user), &access.query) {
            (Some(secret), _) => Ok(Some(Arc::clone(secret))),
            (None, Some(query)) => {
                let house = &self.house;
                let lookup = Lookup {
                    database: &house.database(),
                    name: database,
                    own: house.own(),
                    connect_timeout: house.connect_timeout(),
                    settings: &house.settings,
                    doorman: &house.doorman,
                    journal: &house.journal,
                    worker: self.worker,
                    session: self.talk.who().0,
                };
                lookup.ask(access, query, (user.into(), database.into())).await
            }
            (None, None) => Ok(None),
        }
    }
}
