//! Where a client goes once it has said what it wants.

use std::sync::Arc;

use super::{Guest, Open, Worker};
use crate::answer::Answer;
use crate::authenticate::Applicant;
use crate::client::Client;
use crate::control::Control;
use crate::databases::Entry;
use crate::roster::Badge;
use crate::{Database, Mode, admin};

/// Where a client is to go.
pub(super) enum Way {
    Out(Answer),
    Admin(Box<Badge>),
    /// It is refused once it has logged in.
    Refused(Box<Badge>, Refusal),
    In(Guest),
}

/// What a client is told that may not stay, once it has proved to be a user of one of these
/// databases.
pub(super) struct Refusal {
    answer: Answer,
    databases: Vec<Database>,
}

impl Worker {
    /// Where a client is to go: to the admin database, or to the one it asked for.
    pub(super) fn way(&self, client: &Client, mut badge: Badge) -> Way {
        if admin::is_asked_for(client, &badge, &self.shared.config.read()) {
            return Way::Admin(Box::new(badge));
        }
        // What is told to clients that nobody has let in yet must not depend on the database.
        let roster = &self.shared.journal.roster;
        let most = self.shared.config.read().max_client_conn;
        if most.is_some_and(|most| roster.len() >= most.get() as usize) {
            return Way::Out(Answer::too_many_clients());
        }
        let Some((entry, refusal)) = self.entry(&badge.database) else {
            return Way::Out(Answer::no_database(badge.database.as_bytes()));
        };
        if entry.door.is_closed() {
            return Way::Out(Answer::shutting_down());
        }
        let refusal = match (refusal, self.shared.mode) {
            (Some(refusal), Mode::Regulate) => return Way::Refused(Box::new(badge), refusal),
            (refusal, _) => refusal.map(|refusal| refusal.answer),
        };
        badge.entry = entry.label.clone();
        let open = Open::new(&self.shared.journal, &badge);
        let seat = roster.enter(badge, self.kill.child_token());
        Way::In(Guest { entry, refusal, seat, _open: open })
    }

    /// Where a client goes that asks for this database, if only to be refused. In `observe` mode
    /// only a server can let it in: the first that is configured, if there is no such database.
    fn entry(&self, asked: &str) -> Option<(Arc<Entry>, Option<Refusal>)> {
        if let Some(entry) = self.shared.databases.find(asked.as_bytes()) {
            let refusal = entry.door.is_disabled().then(|| Refusal {
                answer: Answer::disabled(asked),
                databases: vec![Database::clone(&entry.database())],
            });
            return Some((entry, refusal));
        }
        let all = self.shared.config.read().databases.clone();
        let first = self.shared.databases.find(all.first()?.label().as_bytes())?;
        let answer = Answer::no_database(asked.as_bytes());
        Some((first, Some(Refusal { answer, databases: all })))
    }

    /// Says why it is not let in to a client that proves who it is.
    pub(super) async fn refuse(&self, client: Client, badge: &Badge, refusal: Refusal) {
        let Refusal { answer, databases } = refusal;
        let connect_timeout = self.shared.config.read().connect_timeout;
        // One place for all names that a stranger may think of.
        let remembered_as = "";
        let applicant = Applicant { badge, databases: &databases, connect_timeout, remembered_as };
        applicant.refuse(client, &Control::new(&self.shared), &self.kill, answer).await;
    }
}
