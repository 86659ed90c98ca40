//! Sessions and server connections as they are seen from outside.

use std::collections::{BTreeMap, HashMap};

use trace::{BackendPid, Micros, PinCause, SessionId, SqlState};

use super::{Doing, OTHERS, Periods, Totals};

/// A session as it is seen from outside.
#[derive(Clone, Debug)]
pub struct Client {
    /// Which.
    pub id: SessionId,
    /// Whose.
    pub dyno: Box<str>,
    /// The entry of the configuration that it came to; `*` if its database has none of its own.
    pub entry: Box<str>,
    /// The database that it asked for.
    pub database: Box<str>,
    /// As whom.
    pub user: Box<str>,
    /// `application_name` of its startup packet.
    pub application: Box<str>,
    /// Where it comes from; nothing for a Unix socket.
    pub peer: Option<std::net::SocketAddr>,
    /// Where it came to.
    pub local: Option<std::net::SocketAddr>,
    /// Since when it is here.
    pub connected: Micros,
    /// What it does.
    pub doing: Doing,
    /// Since when it waits, or holds its server connection.
    pub since: Micros,
    /// When its last request ended; zero if it has made none.
    pub last: Micros,
    /// The server connection that it holds.
    pub backend: BackendPid,
    /// What it has done.
    pub totals: Totals,
}

/// A server connection as it is seen from outside.
#[derive(Clone, Debug)]
pub struct Server {
    /// Which; later ones have higher numbers.
    pub id: u64,
    /// Its process on the server.
    pub backend: BackendPid,
    /// The entry of the configuration that it belongs to.
    pub entry: Box<str>,
    /// The database, as clients call it.
    pub database: Box<str>,
    /// The user of the session that it was opened for.
    pub user: Box<str>,
    /// When it was opened.
    pub opened: Micros,
}

/// All at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) clients: Vec<Client>,
    /// Sessions that there were so far.
    pub(crate) entered: u64,
    pub(crate) servers: Vec<Server>,
    /// Server connections that there were so far.
    pub(crate) opened: u64,
    pub(super) past: HashMap<(Box<str>, Box<str>), Totals>,
    pub(super) past_dynos: HashMap<Box<str>, Totals>,
    pub(crate) pins: BTreeMap<PinCause, u64>,
    pub(crate) refusals: BTreeMap<SqlState, u64>,
    pub(crate) lost: u64,
    pub(crate) periods: Periods,
}

impl Sight {
    /// Sums by database and user.
    pub(crate) fn by_user(&self) -> BTreeMap<(Box<str>, Box<str>), Totals> {
        let mut sums: BTreeMap<_, Totals> = self.past.clone().into_iter().collect();
        for client in &self.clients {
            let pair = (client.database.clone(), client.user.clone());
            let pair = if sums.contains_key(&pair) { pair } else { (OTHERS.into(), OTHERS.into()) };
            sums.entry(pair).or_default().add(&client.totals);
        }
        sums
    }

    /// Sums by dyno.
    pub(crate) fn by_dyno(&self) -> BTreeMap<Box<str>, Totals> {
        let mut sums: BTreeMap<_, Totals> = self.past_dynos.clone().into_iter().collect();
        for client in &self.clients {
            let dyno = if sums.contains_key(&client.dyno) { &*client.dyno } else { OTHERS };
            sums.entry(dyno.into()).or_default().add(&client.totals);
        }
        sums
    }
}
