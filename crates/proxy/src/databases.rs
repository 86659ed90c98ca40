//! The databases behind the proxy, by the names that clients use.

use std::collections::HashMap;
use std::sync::Arc;

use trace::{Event, PoolSampled};

use crate::access::Doorman;
use crate::cancel;
use crate::gate::Gate;
use crate::journal::Journal;
use crate::regulate::House;
use crate::{Access, Config, Database, Mode};

/// One database: what was configured, and in `regulate` mode what its sessions share.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) database: Database,
    /// In `regulate` mode.
    pub(crate) house: Option<Arc<House>>,
}

/// All databases.
#[derive(Debug)]
pub(crate) struct Databases {
    named: HashMap<Box<[u8]>, Arc<Entry>>,
    /// For every other name.
    any: Option<Arc<Entry>>,
}

impl Databases {
    pub(crate) fn new(
        config: &Config,
        doorman: &Arc<Doorman>,
        journal: &Arc<Journal>,
        cancels: &Arc<cancel::Registry>,
    ) -> Self {
        let mut databases = Self { named: HashMap::new(), any: None };
        for database in &config.databases {
            let house = match config.mode {
                Mode::Observe => None,
                Mode::Regulate => {
                    Some(Arc::new(House::new(config, database, doorman, journal, cancels)))
                }
            };
            let entry = Arc::new(Entry { database: database.clone(), house });
            match &database.name {
                Some(name) => {
                    databases.named.insert(name.as_bytes().into(), entry);
                }
                None => databases.any = Some(entry),
            }
        }
        databases
    }

    /// The database that a client asks for by this name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Arc<Entry>> {
        self.named.get(name).or(self.any.as_ref())
    }

    fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.named.values().chain(&self.any)
    }

    fn houses(&self) -> impl Iterator<Item = &Arc<House>> {
        self.entries().filter_map(|entry| entry.house.as_ref())
    }

    /// In `regulate` mode: each database's name and what is in front of its server connections.
    pub(crate) fn gates(&self) -> impl Iterator<Item = (&str, &Arc<Gate>)> {
        self.entries()
            .filter_map(|entry| Some((entry.database.label(), &entry.house.as_ref()?.gate)))
    }

    /// Whether nobody is trusted but by a rule that says so.
    pub(crate) fn ask_for_passwords(&self, access: &Access) -> bool {
        let ask = |entry: &Entry| match entry.house {
            // The server itself checks its clients, but it sees us, and may trust us.
            None => entry.database.upstream.has_password(),
            Some(_) => {
                !access.rules.is_empty()
                    || !access.users.are_of_urls()
                    || entry.database.upstream.has_password()
            }
        };
        self.entries().all(|entry| ask(entry))
    }

    /// Ten times a second, in `regulate` mode: tends the pools and records them as one.
    pub(crate) fn tick(&self, journal: &Journal) {
        let at = journal.now();
        let mut all = PoolSampled { at, limit: 0, open: 0, leased: 0, waiting: 0 };
        for house in self.houses() {
            let one = house.gate.tick(at);
            all.limit += one.limit;
            all.open += one.open;
            all.leased += one.leased;
            all.waiting += one.waiting;
        }
        journal.record(Event::PoolSampled(all));
    }

    /// No session comes any more: listeners end as soon as nobody listens.
    pub(crate) fn end_listeners(&self) {
        self.houses().for_each(|house| house.exchange.end());
    }

    /// Returns when all listeners have ended.
    pub(crate) async fn listeners_ended(&self) {
        for house in self.houses() {
            house.exchange.ended().await;
        }
    }

    /// Closes all idle server connections, at shutdown.
    pub(crate) fn close_idle(&self) {
        for house in self.houses() {
            house.gate.close_idle();
        }
    }
}
