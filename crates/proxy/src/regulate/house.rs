//! What all sessions of one database share in `regulate` mode, and how it changes at run time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use trace::Micros;

use super::catalogue::Reaches;
use super::confer::Voice;
use super::greeting_cache::GreetingCache;
use super::notify::Exchange;
use crate::access::{Credential, Doorman, Secret};
use crate::cancel;
use crate::gate::Gate;
use crate::journal::Journal;
use crate::settings;
use crate::statements::StatementRegistry;
use crate::{Config, Database};

/// What all sessions of one database share in `regulate` mode.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) gate: Arc<Gate>,
    pub(super) cancels: Arc<cancel::Registry>,
    pub(super) statements: StatementRegistry,
    pub(super) settings: settings::Registry,
    /// What statements reach beyond their texts.
    pub(super) reaches: Reaches,
    /// Whether any server connection knows custom settings.
    pub(super) custom_settings: AtomicBool,
    /// What clients are told of the server's settings.
    pub(super) greetings: Arc<GreetingCache>,
    pub(crate) exchange: Exchange,
    /// On whose behalf other proxies are spoken with.
    voice: Mutex<Option<Voice>>,
    /// The URL's own password, which then logs in to the server whoever the client is. Kept, for
    /// what is derived from it takes time.
    own: RwLock<Option<Arc<Secret>>>,
    pub(super) doorman: Arc<Doorman>,
    database: RwLock<Arc<Database>>,
    connect_timeout: AtomicU64,
    /// How long a request waits before its client is told; 0 is for ever.
    notice_after: AtomicU64,
    /// Rises when the server, or who we are to it, changes.
    generation: AtomicU64,
    pub(super) journal: Arc<Journal>,
}

impl House {
    pub(crate) fn new(
        config: &Config,
        database: &Database,
        doorman: &Arc<Doorman>,
        journal: &Arc<Journal>,
        cancels: &Arc<cancel::Registry>,
    ) -> Self {
        let terms = config.terms(database);
        let gate = Gate::new(database.label(), &terms, Arc::clone(journal));
        Self {
            gate: Arc::new(gate),
            cancels: Arc::clone(cancels),
            statements: StatementRegistry::default(),
            settings: settings::Registry::default(),
            reaches: Reaches::default(),
            custom_settings: AtomicBool::new(false),
            greetings: Arc::default(),
            exchange: Exchange::default(),
            voice: Mutex::default(),
            own: RwLock::new(own(database)),
            doorman: Arc::clone(doorman),
            database: RwLock::new(Arc::new(database.clone())),
            connect_timeout: AtomicU64::new(Micros::from_duration(config.connect_timeout).0),
            notice_after: AtomicU64::new(notice_after(config)),
            generation: AtomicU64::new(0),
            journal: Arc::clone(journal),
        }
    }

    /// How often the server, or who we are to it, has changed.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// How long opening a server connection may take.
    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_micros(self.connect_timeout.load(Ordering::Relaxed))
    }

    /// How long a request waits before its client is told, if it ever is.
    pub(super) fn notice_after(&self) -> Option<Micros> {
        Some(Micros(self.notice_after.load(Ordering::Relaxed))).filter(|after| after.0 > 0)
    }

    /// As it is configured now.
    pub(crate) fn database(&self) -> Arc<Database> {
        Arc::clone(&self.database.read())
    }

    /// The URL's own password.
    pub(super) fn own(&self) -> Option<Arc<Secret>> {
        self.own.read().clone()
    }

    /// Who logs in to the server whoever the client is, if the database's URL says so.
    pub(super) fn forced(&self) -> Option<Arc<Credential>> {
        let database = self.database();
        let user = database.upstream.user()?;
        let access = self.doorman.access();
        let own = self.own();
        let secret = own.as_ref().or_else(|| access.users.find(user.as_bytes()));
        Some(Arc::new(secret.map_or(Credential::None, |secret| Credential::of(secret))))
    }

    /// Takes over another configuration of the database. If the server is another, or we are
    /// somebody else to it, present server connections end with their transactions, and sessions
    /// that listen there end.
    pub(crate) async fn reconfigure(&self, config: &Config, database: &Database) {
        let old = std::mem::replace(&mut *self.database.write(), Arc::new(database.clone()));
        let connect_timeout = Micros::from_duration(config.connect_timeout);
        self.connect_timeout.store(connect_timeout.0, Ordering::Relaxed);
        self.gate.set_terms(&config.terms(database)).await;
        self.notice_after.store(notice_after(config), Ordering::Relaxed);
        if !old.leads_where(database) {
            *self.own.write() = own(database);
            self.greetings.clear();
            *self.voice.lock() = None;
            self.generation.fetch_add(1, Ordering::Release);
            self.exchange.renew();
            self.gate.renew(self.journal.roster.next_server()).await;
        }
    }

    /// On whose behalf other proxies are spoken with, once somebody was here.
    pub(super) fn voice(&self) -> Option<Voice> {
        self.voice.lock().clone()
    }

    /// Whoever has opened the latest connection is let in by the server.
    pub(super) fn keep_voice(&self, voice: Voice) {
        *self.voice.lock() = Some(voice);
    }
}

fn notice_after(config: &Config) -> u64 {
    config.queue_notice.map_or(0, |after| Micros::from_duration(after).0)
}

fn own(database: &Database) -> Option<Arc<Secret>> {
    database.upstream.secret().map(Arc::new)
}
