//! What all logins share: the rules in force, what was learnt about users, who has failed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use trace::Micros;
use wire::scram::Salting;

use super::strikes::Strikes;
use super::users::Secret;
use crate::Access;

/// How long the server's word about a user counts.
const KNOWN_FOR: Micros = Micros(60 * 1_000_000);

/// How many users the server's word is kept of.
const KNOWN_MAX: usize = 10_000;

/// How many users the server is asked about at the same time.
const QUESTIONS_MAX: usize = 2;

/// A user in a database.
pub(crate) type Person = (Box<[u8]>, Box<[u8]>);

/// What the server said about a user: its secret, if there is such a user.
pub(crate) type Word = Option<Arc<Secret>>;

/// What all logins share.
#[derive(Debug)]
pub(crate) struct Doorman {
    access: RwLock<Arc<Access>>,
    /// Makes up salts: the same for the same name, as a real user's is.
    salt: [u8; 32],
    strikes: Mutex<Strikes>,
    known: Mutex<HashMap<Person, (Word, Micros)>>,
    /// Who wants to ask the server takes one.
    pub(crate) questions: Semaphore,
}

impl Doorman {
    pub(crate) fn new(access: Access) -> Self {
        Self {
            access: RwLock::new(Arc::new(access)),
            salt: rand::random(),
            strikes: Mutex::default(),
            known: Mutex::default(),
            questions: Semaphore::new(QUESTIONS_MAX),
        }
    }

    /// The rules in force.
    pub(crate) fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.read())
    }

    /// Others are in force from now on.
    pub(crate) fn set_access(&self, access: Access) {
        *self.access.write() = Arc::new(access);
        self.known.lock().clear();
    }

    /// How the password of a user is salted that is kept as it is, or of one that does not exist:
    /// nobody can tell which.
    pub(crate) fn salting(&self, user: &[u8]) -> Salting {
        let hash = Sha256::new().chain_update(self.salt).chain_update(user).finalize();
        Salting::new(&hash[..16])
    }

    /// Counts a failed login; gives how long its answer must take.
    pub(crate) fn fail(&self, address: IpAddr, now: Micros) -> Duration {
        self.strikes.lock().fail(address, now)
    }

    /// What the server said about a user not long ago.
    pub(crate) fn known(&self, person: &Person, now: Micros) -> Option<Word> {
        let known = self.known.lock();
        let (word, when) = known.get(person)?;
        (now - *when < KNOWN_FOR).then(|| word.clone())
    }

    pub(crate) fn learn(&self, person: Person, word: Word, now: Micros) {
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, (_, when)| now - *when < KNOWN_FOR);
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
        }
        known.insert(person, (word, now));
    }

    /// A login failed: the user's password may have changed.
    pub(crate) fn doubt(&self, person: &Person) {
        self.known.lock().remove(person);
    }
}
