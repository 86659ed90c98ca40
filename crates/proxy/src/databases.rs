//! The databases behind the proxy, by the names that clients use.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use tokio::sync::Notify;
use trace::{Event, PoolSampled};

use crate::access::Doorman;
use crate::cancel;
use crate::gate::Gate;
use crate::journal::Journal;
use crate::regulate::House;
use crate::{Config, Database, Mode};

/// One database: what is configured, and in `regulate` mode what its sessions share.
#[derive(Debug)]
pub(crate) struct Entry {
    /// How clients name it; `*` for all that have no entry.
    pub(crate) label: Box<str>,
    database: RwLock<Arc<Database>>,
    /// In `regulate` mode.
    pub(crate) house: Option<Arc<House>>,
    pub(crate) door: Door,
}

/// Whether new sessions are let in.
#[derive(Debug, Default)]
pub(crate) struct Door {
    paused: AtomicBool,
    /// Paused for good: the proxy ends.
    closed: AtomicBool,
    disabled: AtomicBool,
    resumed: Notify,
}

impl Door {
    pub(crate) fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    /// Lets nobody in any more; whoever waits is sent away.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.pause();
        self.resumed.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// `false` if it was open, or is closed.
    pub(crate) fn resume(&self) -> bool {
        if self.is_closed() {
            return false;
        }
        let was_paused = self.paused.swap(false, Ordering::SeqCst);
        self.resumed.notify_waiters();
        was_paused
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    pub(crate) fn disable(&self, disabled: bool) {
        self.disabled.store(disabled, Ordering::Relaxed);
    }

    pub(crate) fn is_disabled(&self) -> bool {
        self.disabled.load(Ordering::Relaxed)
    }

    /// Returns once it is not paused, or is closed: then `false`. Cancellation safe.
    pub(crate) async fn passed(&self) -> bool {
        loop {
            let resumed = self.resumed.notified();
            if self.is_closed() {
                return false;
            }
            if !self.is_paused() {
                return true;
            }
            resumed.await;
        }
    }
}

impl Entry {
    /// As it is configured now.
    pub(crate) fn database(&self) -> Arc<Database> {
        Arc::clone(&self.database.read())
    }

    /// Takes over another configuration.
    pub(crate) async fn reconfigure(&self, config: &Config, database: &Database) {
        *self.database.write() = Arc::new(database.clone());
        if let Some(house) = &self.house {
            house.reconfigure(config, database).await;
        }
    }
}

/// All databases.
#[derive(Debug)]
pub(crate) struct Databases {
    table: RwLock<Table>,
    doorman: Arc<Doorman>,
    journal: Arc<Journal>,
    cancels: Arc<cancel::Registry>,
}

#[derive(Clone, Debug, Default)]
struct Table {
    named: HashMap<Box<[u8]>, Arc<Entry>>,
    /// For every other name.
    any: Option<Arc<Entry>>,
}

impl Table {
    fn insert(&mut self, entry: Arc<Entry>) {
        match &entry.database().name {
            Some(name) => {
                self.named.insert(name.as_bytes().into(), entry);
            }
            None => self.any = Some(entry),
        }
    }
}

impl Databases {
    pub(crate) fn new(
        config: &Config,
        doorman: &Arc<Doorman>,
        journal: &Arc<Journal>,
        cancels: &Arc<cancel::Registry>,
    ) -> Self {
        let databases = Self {
            table: RwLock::default(),
            doorman: Arc::clone(doorman),
            journal: Arc::clone(journal),
            cancels: Arc::clone(cancels),
        };
        let entries = config.databases.iter().map(|database| databases.entry(config, database));
        databases.replace(entries.collect());
        databases
    }

    /// A new entry, which is not in the table yet.
    pub(crate) fn entry(&self, config: &Config, database: &Database) -> Arc<Entry> {
        let house = match config.mode {
            Mode::Observe => None,
            Mode::Regulate => {
                let (doorman, journal) = (&self.doorman, &self.journal);
                Some(Arc::new(House::new(config, database, doorman, journal, &self.cancels)))
            }
        };
        Arc::new(Entry {
            label: database.label().into(),
            database: RwLock::new(Arc::new(database.clone())),
            house,
            door: Door::default(),
        })
    }

    /// These are the entries from now on.
    pub(crate) fn replace(&self, entries: Vec<Arc<Entry>>) {
        let mut table = Table::default();
        for entry in entries {
            table.insert(entry);
        }
        *self.table.write() = table;
    }

    /// The database that a client asks for by this name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<Arc<Entry>> {
        let table = self.table.read();
        table.named.get(name).or(table.any.as_ref()).cloned()
    }

    /// All, sorted by name.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        let table = self.table.read();
        let mut entries: Vec<_> = table.named.values().chain(&table.any).cloned().collect();
        entries.sort_by(|a, b| a.label.cmp(&b.label));
        entries
    }

    pub(crate) fn houses(&self) -> impl Iterator<Item = Arc<House>> {
        self.entries().into_iter().filter_map(|entry| entry.house.clone())
    }

    /// In `regulate` mode: each database's name and what is in front of its server connections.
    pub(crate) fn gates(&self) -> impl Iterator<Item = (Box<str>, Arc<Gate>)> {
        self.entries().into_iter().filter_map(|entry| {
            Some((entry.label.clone(), Arc::clone(&entry.house.as_ref()?.gate)))
        })
    }

    /// Ten times a second, in `regulate` mode: tends the pools and records them as one.
    pub(crate) fn tick(&self, journal: &Journal) {
        let at = journal.now();
        let mut all = PoolSampled { at, limit: 0, open: 0, leased: 0, waiting: 0 };
        for house in self.houses() {
            let one = house.gate.tick(at);
            all.limit = all.limit.saturating_add(one.limit);
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
