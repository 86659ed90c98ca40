//! What an operator may do to a running proxy, and what he sees of it.
//!
//! `PgBouncer`'s verbs with `PgBouncer`'s meanings. What is done to all databases is done to each;
//! the admin database is never paused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use trace::{Micros, PinCause, SessionId, SqlState};

use crate::access::Doorman;
use crate::databases::Entry;
use crate::gate::Holding;
use crate::journal::Journal;
use crate::roster::{Client, Ended, Periods, Server, Totals};
use crate::worker::Shared;
use crate::{Config, Database, Mode, process};

mod limit;
mod reload;

use limit::limit_state;
pub use limit::{AllianceState, Knee, LimitState, Rank};

/// How often [`Control::wait_close`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no database of this name.
    #[error("no such database: {0}")]
    NoDatabase(String),
    /// There is no client of this number.
    #[error("no such client: {0}")]
    NoClient(u32),
    /// `RESUME` of what is not paused.
    #[error("{0} is not paused")]
    NotPaused(String),
    /// A configuration that cannot be taken over.
    #[error("{0}")]
    Config(String),
    /// Nobody is there who could do it.
    #[error("nobody takes this order")]
    Nobody,
}

/// How a proxy is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// At once.
    Now,
    /// When no server connection is in use; requests that need one are refused meanwhile, new
    /// clients are not let in.
    WaitForServers,
    /// When all clients have left; new ones are not let in.
    WaitForClients,
}

/// What only the owner of the proxy can do, ordered by an admin.
#[derive(Debug)]
pub enum Order {
    /// Read the configuration again; answer what came of it.
    Reload(oneshot::Sender<Result<(), String>>),
    /// End the proxy.
    Shutdown(Ending),
}

/// The operator's hand on a [`Proxy`](crate::Proxy).
#[derive(Clone, Debug)]
pub struct Control {
    shared: Arc<Shared>,
}

/// A database at one moment.
#[derive(Clone, Debug)]
pub struct DatabaseState {
    /// As configured.
    pub database: Arc<Database>,
    /// `regulate`: most server connections.
    pub limit: u32,
    /// `regulate`: server connections that are open or being opened.
    pub open: u32,
    /// Of these, idle.
    pub idle: u32,
    /// `regulate`: requests that wait.
    pub waiting: u32,
    /// `regulate`: server connections that may be in use.
    pub leased: u32,
    /// `regulate`: the limit of executing statements.
    pub executing: LimitState,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether new clients are sent away.
    pub disabled: bool,
    /// Server connections with lower numbers are closed when they are given back.
    pub(crate) fresh_from: u64,
}

/// The proxy at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When.
    pub at: Micros,
    /// What it does.
    pub mode: Mode,
    /// Its databases, by name.
    pub databases: Vec<DatabaseState>,
    /// All clients, in the order in which they came.
    pub clients: Vec<Client>,
    /// Sessions that there were since the start, those of now included.
    pub clients_entered: u64,
    /// All server connections, in the order in which they were opened.
    pub servers: Vec<Server>,
    /// Server connections that were opened since the start, those of now included.
    pub servers_opened: u64,
    /// Sums since the start, by database and user.
    pub by_user: BTreeMap<(Box<str>, Box<str>), Totals>,
    /// Sums since the start, by dyno.
    pub by_dyno: BTreeMap<Box<str>, Totals>,
    /// Sessions that were pinned, by cause.
    pub pins: BTreeMap<PinCause, u64>,
    /// Requests that never got a server connection, by SQLSTATE.
    pub refusals: BTreeMap<SqlState, u64>,
    /// Events that the recording had no room for.
    pub lost: u64,
    /// Bytes of memory that the process has, if the system tells.
    pub memory: Option<u64>,
    pub(crate) periods: Periods,
}

impl Control {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    /// What a login needs.
    pub(crate) fn login(&self) -> (&Doorman, &Arc<Journal>) {
        (&self.shared.doorman, &self.shared.journal)
    }

    /// The configuration as it is now.
    #[must_use]
    pub fn config(&self) -> Config {
        self.shared.config.read().clone()
    }

    /// Everything at one moment. Takes no lock for long.
    #[must_use]
    pub fn look(&self) -> Snapshot {
        let roster = &self.shared.journal.roster;
        let sight = roster.look();
        let (by_user, by_dyno) = (sight.by_user(), sight.by_dyno());
        let databases = self.shared.databases.entries();
        Snapshot {
            at: self.shared.journal.now(),
            mode: self.shared.config.read().mode,
            databases: databases.iter().map(|entry| state(entry)).collect(),
            clients: sight.clients,
            clients_entered: sight.entered,
            servers: sight.servers,
            servers_opened: sight.opened,
            by_user,
            by_dyno,
            pins: sight.pins,
            refusals: sight.refusals,
            lost: sight.lost,
            memory: process::resident_bytes(),
            periods: sight.periods,
        }
    }

    fn entries(&self, database: Option<&str>) -> Result<Vec<Arc<Entry>>, Refused> {
        let mut entries = self.shared.databases.entries();
        if let Some(name) = database {
            entries.retain(|entry| &*entry.label == name);
            if entries.is_empty() {
                return Err(Refused::NoDatabase(name.to_owned()));
            }
        }
        Ok(entries)
    }

    /// Lets no request to the database (or to any) begin, closes idle server connections, and
    /// returns when the last one is closed. In `observe` mode: when the last session has ended.
    /// Cancelled, it stays paused.
    ///
    /// # Errors
    /// [`Refused::NoDatabase`].
    pub async fn pause(&self, database: Option<&str>) -> Result<(), Refused> {
        let entries = self.entries(database)?;
        for entry in &entries {
            entry.door.pause();
        }
        for house in entries.iter().filter_map(|entry| entry.house.as_ref()) {
            house.gate.pause().await;
        }
        self.quiet(&entries).await;
        Ok(())
    }

    /// Refuses requests that need a server connection from now on (57P01, with which their sessions
    /// end), and returns when the last server connection is closed: open transactions go on. In
    /// `observe` mode: when the last session has ended. It cannot be taken back.
    pub async fn drain(&self) {
        let entries = self.shared.databases.entries();
        for entry in &entries {
            entry.door.close();
        }
        for house in entries.iter().filter_map(|entry| entry.house.as_ref()) {
            house.gate.drain().await;
        }
        self.quiet(&entries).await;
    }

    /// Returns when, in a pause, no server connection of these is left.
    async fn quiet(&self, entries: &[Arc<Entry>]) {
        for entry in entries {
            match &entry.house {
                Some(house) => house.gate.quiet().await,
                None => self.left(entry).await,
            }
        }
    }

    /// Returns when no session of an entry is left, or its pause has ended.
    async fn left(&self, entry: &Entry) {
        let roster = &self.shared.journal.roster;
        loop {
            let left = roster.left.notified();
            if !entry.door.is_paused() || roster.of_entry(&entry.label).is_empty() {
                return;
            }
            tokio::select! {
                () = left => {}
                true = entry.door.passed() => {}
            }
        }
    }

    /// Ends a pause, or what [`Self::kill`] began.
    ///
    /// # Errors
    /// [`Refused::NoDatabase`], [`Refused::NotPaused`].
    pub fn resume(&self, database: Option<&str>) -> Result<(), Refused> {
        let mut resumed = false;
        for entry in self.entries(database)? {
            resumed |= entry.door.resume();
            if let Some(house) = &entry.house {
                resumed |= house.gate.resume();
            }
        }
        let name = || database.unwrap_or("the proxy").to_owned();
        if resumed { Ok(()) } else { Err(Refused::NotPaused(name())) }
    }

    /// Present server connections serve no further transaction.
    ///
    /// # Errors
    /// [`Refused::NoDatabase`].
    pub async fn reconnect(&self, database: Option<&str>) -> Result<(), Refused> {
        let from = self.shared.journal.roster.next_server();
        for entry in self.entries(database)? {
            if let Some(house) = &entry.house {
                house.gate.renew(from).await;
            }
        }
        Ok(())
    }

    /// Returns when all server connections that [`Self::reconnect`] or a change of the
    /// configuration has outdated are closed.
    ///
    /// # Errors
    /// [`Refused::NoDatabase`].
    pub async fn wait_close(&self, database: Option<&str>) -> Result<(), Refused> {
        let entries = self.entries(database)?;
        let roster = &self.shared.journal.roster;
        let stale = |entry: &Arc<Entry>| {
            let from = entry.house.as_ref().map_or(0, |house| house.gate.fresh_from());
            roster.servers_before(&entry.label, from) > 0
        };
        while entries.iter().any(stale) {
            crate::timer::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Ends all sessions of the database (or of all) at once. New ones wait until
    /// [`Self::resume`].
    ///
    /// # Errors
    /// [`Refused::NoDatabase`].
    pub async fn kill(&self, database: Option<&str>) -> Result<(), Refused> {
        for entry in self.entries(database)? {
            entry.door.pause();
            for card in self.shared.journal.roster.of_entry(&entry.label) {
                card.end(Ended::Killed);
            }
            if let Some(house) = &entry.house {
                house.gate.pause().await;
            }
        }
        Ok(())
    }

    /// Ends one session at once.
    ///
    /// # Errors
    /// [`Refused::NoClient`].
    pub fn kill_client(&self, id: u32) -> Result<(), Refused> {
        let card = self.shared.journal.roster.session(SessionId(id));
        card.ok_or(Refused::NoClient(id))?.end(Ended::Killed);
        Ok(())
    }

    /// Sends new clients of a database away, or lets them in again.
    ///
    /// # Errors
    /// [`Refused::NoDatabase`].
    pub fn disable(&self, database: &str, disabled: bool) -> Result<(), Refused> {
        for entry in self.entries(Some(database))? {
            entry.door.disable(disabled);
        }
        Ok(())
    }

    /// Whether all databases are paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.shared.databases.entries().iter().all(|entry| entry.door.is_paused())
    }

    pub(crate) async fn order_reload(&self) -> Result<(), Refused> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Reload(answer))?;
        answered.await.map_err(|_| Refused::Nobody)?.map_err(Refused::Config)
    }

    pub(crate) fn order_shutdown(&self, ending: Ending) -> Result<(), Refused> {
        self.order(Order::Shutdown(ending))
    }

    fn order(&self, order: Order) -> Result<(), Refused> {
        let orders = self.shared.orders.lock();
        let taken = orders.as_ref().is_some_and(|orders| orders.try_send(order).is_ok());
        if taken { Ok(()) } else { Err(Refused::Nobody) }
    }

    /// Returns when no client is left.
    pub async fn clients_left(&self) {
        let roster = &self.shared.journal.roster;
        loop {
            let left = roster.left.notified();
            if roster.is_empty() {
                return;
            }
            left.await;
        }
    }
}

fn state(entry: &Entry) -> DatabaseState {
    let gate = entry.house.as_ref().map(|house| &house.gate);
    let Holding { limit, open, idle, leased, waiting, paused } =
        gate.map(|gate| gate.holding()).unwrap_or_default();
    DatabaseState {
        database: entry.database(),
        limit,
        open,
        idle,
        leased,
        waiting,
        executing: gate.map(|gate| limit_state(&gate.standing())).unwrap_or_default(),
        paused: paused || entry.door.is_paused(),
        disabled: entry.door.is_disabled(),
        fresh_from: gate.map_or(0, |gate| gate.fresh_from()),
    }
}

/// Orders that may wait to be taken.
pub(crate) const ORDERS_MAX: usize = 16;

/// Where orders go.
pub(crate) type Orders = mpsc::Sender<Order>;
