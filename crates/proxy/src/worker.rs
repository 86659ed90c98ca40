//! A thread that carries sessions: a runtime of its own, its own sockets to accept from.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trace::{Event, SessionId};
use wire::startup::{self, Startup};

use crate::access::Doorman;
use crate::answer::Answer;
use crate::cancel;
use crate::client::{Client, Comer};
use crate::control::{Control, Orders};
use crate::databases::{Databases, Entry};
use crate::journal::Journal;
use crate::listen::Listener;
use crate::login::{self, LOGIN_TIME, Refused, Wish};
use crate::proxy::Bound;
use crate::roster::{Badge, Card, Seat};
use crate::timer::timeout;
use crate::{Address, Config, Error, Mode};
use crate::{admin, observe, regulate};

mod door;
mod rounds;
mod way;

use way::Way;

/// How long sessions may take to end once they were told to.
const ENDING: Duration = Duration::from_secs(10);

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: RwLock<Config>,
    pub(crate) mode: Mode,
    /// Who may come in, for clients that come from now on.
    pub(crate) doorman: Arc<Doorman>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) databases: Databases,
    pub(crate) cancels: Arc<cancel::Registry>,
    /// Where it listens.
    pub(crate) bound: Mutex<HashMap<Address, Bound>>,
    /// What admins want of the proxy's owner.
    pub(crate) orders: Mutex<Option<Orders>>,
}

impl Shared {
    /// Whether clients may be let in at this address: what others can reach must ask them for
    /// something.
    pub(crate) fn check_address(&self, addr: &Address) -> Result<(), Error> {
        check_address(addr, &self.config.read())
    }

    /// Whether this may be the configuration from now on.
    pub(crate) fn check_config(&self, config: &Config) -> Result<(), Error> {
        config.check()?;
        self.bound.lock().keys().try_for_each(|addr| check_address(addr, config))
    }
}

fn check_address(addr: &Address, config: &Config) -> Result<(), Error> {
    match addr {
        Address::Tcp(addr) if !addr.ip().is_loopback() && !config.asks_for_passwords() => {
            Err(Error::NotLoopback(*addr))
        }
        Address::Tcp(_) | Address::Unix(_) => Ok(()),
    }
}

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Accept from this socket too.
    Listen { listener: Listener, addr: Address, dyno: Option<Arc<str>> },
    /// Accept from this socket too, whose address says nothing, until this fires.
    Serve { listener: Listener, dyno: Arc<str>, stop: CancellationToken },
    /// No longer accept from this address.
    Unlisten(Address),
    /// Say that all commands so far were carried out.
    Pulse(oneshot::Sender<()>),
    /// Accept nothing more, give sessions this long, then end them.
    Stop { grace: Duration },
}

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) number: usize,
    pub(crate) shared: Arc<Shared>,
    /// Its sessions.
    pub(crate) sessions: TaskTracker,
    /// Fires when sessions must end.
    pub(crate) kill: CancellationToken,
}

impl Worker {
    /// Runs until it is told to stop, or nobody is left to tell it.
    pub(crate) async fn run(self, mut commands: mpsc::Receiver<Command>) {
        let mut accepting = JoinSet::new();
        let mut listeners: HashMap<Address, CancellationToken> = HashMap::new();
        let worker = Arc::new(self);
        if worker.number == 0 {
            accepting.spawn(rounds::sample(Arc::clone(&worker.shared)));
            if worker.shared.mode == Mode::Regulate {
                accepting.spawn(rounds::tend(Arc::clone(&worker.shared), worker.number));
                accepting.spawn(rounds::attend(Arc::clone(&worker.shared), worker.number));
            }
        }
        let mut grace = Duration::ZERO;
        while let Some(command) = commands.recv().await {
            // Those of addresses that are no longer listened on.
            while accepting.try_join_next().is_some() {}
            match command {
                Command::Listen { listener, addr, dyno } => {
                    // One for all sockets of the address.
                    let stop = listeners.entry(addr).or_default().clone();
                    worker.attend(&mut accepting, listener, dyno, stop);
                }
                Command::Serve { listener, dyno, stop } => {
                    worker.attend(&mut accepting, listener, Some(dyno), stop);
                }
                Command::Unlisten(addr) => {
                    if let Some(stop) = listeners.remove(&addr) {
                        stop.cancel();
                    }
                }
                Command::Pulse(carried_out) => {
                    // Whoever asked may have given up.
                    let _ = carried_out.send(());
                }
                Command::Stop { grace: given } => {
                    grace = given;
                    break;
                }
            }
        }
        accepting.shutdown().await;
        let sessions = worker.sessions.clone();
        sessions.close();
        let databases = &worker.shared.databases;
        databases.end_listeners();
        // Listeners serve the sessions of all workers, and live in one of them.
        let ended = || async {
            sessions.wait().await;
            databases.listeners_ended().await;
        };
        if timeout(grace, ended()).await.is_err() {
            worker.kill.cancel();
            if timeout(ENDING, ended()).await.is_err() {
                tracing::warn!(left = sessions.len(), "sessions did not end in time");
            }
        }
    }
}

/// A session that was opened; its end is recorded when it is dropped.
struct Open {
    journal: Arc<Journal>,
    session: SessionId,
}

impl Open {
    fn new(journal: &Arc<Journal>, badge: &Badge) -> Self {
        let (session, dyno) = (badge.session, badge.dyno);
        journal.record(Event::SessionOpened { at: journal.now(), session, dyno });
        Self { journal: Arc::clone(journal), session }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let at = self.journal.now();
        self.journal.record(Event::SessionClosed { at, session: self.session });
    }
}

/// How a client that was let in is served.
enum Session<R> {
    /// By this, to its end.
    Regulated(R),
    /// It is, with its first packet, to be connected to a server of its own.
    Observed(Box<(Client, Vec<u8>)>),
}

/// One that was let in; what stands for it is dropped in this order.
struct Guest {
    entry: Arc<Entry>,
    /// In `observe` mode: what it is told once the server has let it in.
    refusal: Option<Answer>,
    seat: Seat,
    _open: Open,
}

impl Worker {
    /// Carries one connection from its first packet to its end.
    async fn receive(&self, comer: Comer, dyno: Option<Arc<str>>) {
        // In boxes, all that is not for long: a session is carried in here as long as it lives, and
        // what is an argument of a future stays in it to its end.
        let Some((mut guest, session)) = Box::pin(self.arrive(comer, dyno)).await else {
            return;
        };
        match session {
            Session::Regulated(session) => session.await,
            Session::Observed(arrival) => Box::pin(self.observe(arrival, &mut guest)).await,
        }
    }

    /// Hears what a connection is for, and does it unless it is a session.
    async fn arrive(
        &self,
        comer: Comer,
        dyno: Option<Arc<str>>,
    ) -> Option<(Guest, Session<impl Future<Output = ()> + use<>>)> {
        let arrived = self.shared.journal.now();
        let peer = comer.peer();
        let client = Client::receive(comer)
            .inspect_err(|error| tracing::debug!(?peer, %error, "the connection ended at once"))
            .ok()?;
        let (mut client, wish) = self.hear(client).await?;
        let packet = match wish {
            Wish::Session(packet) => packet,
            Wish::Cancel(packet) => {
                self.kill.run_until_cancelled(self.cancel(&packet)).await;
                // The client waits for the end of this connection.
                client.part().await;
                return None;
            }
        };
        let Ok(Startup::Session(session)) = startup::read(&packet) else { return None };
        let addresses = (peer, client.stream.local_addr());
        let badge = self.badge(&session, dyno.as_deref(), addresses, arrived);
        match self.way(&client, badge) {
            Way::Out(answer) => {
                client.dismiss(&answer).await;
                None
            }
            Way::Refused(badge, refusal) => {
                login::negotiate(&session, client.outbox.bytes());
                Box::pin(self.refuse(client, &badge, refusal)).await;
                None
            }
            Way::Admin(badge) => {
                login::negotiate(&session, client.outbox.bytes());
                let control = Control::new(&self.shared);
                Box::pin(admin::serve(client, &badge, control, &self.kill)).await;
                None
            }
            Way::In(guest) => {
                let session = match &guest.entry.house {
                    Some(house) => {
                        let place = (house, self.number);
                        let card = &guest.seat.card;
                        Session::Regulated(regulate::serve(client, packet, place, card))
                    }
                    None => Session::Observed(Box::new((client, packet))),
                };
                Some((guest, session))
            }
        }
    }

    /// What a client wants; nothing if it left, or was sent away.
    async fn hear(&self, client: Client) -> Option<(Client, Wish)> {
        let access = self.shared.doorman.access();
        let wish = tokio::select! {
            wish = timeout(LOGIN_TIME, login::read_wish(client, &access)) => wish,
            () = self.kill.cancelled() => return None,
        };
        match wish {
            Ok(Ok(wish)) => Some(wish),
            Ok(Err(Refused::With(client, answer))) => {
                client.dismiss(&answer).await;
                None
            }
            Ok(Err(Refused::Gone)) | Err(_) => None,
        }
    }

    /// What is known of a client from its first packet.
    fn badge(
        &self,
        session: &startup::Session<'_>,
        dyno: Option<&str>,
        (peer, local): (Option<SocketAddr>, Option<SocketAddr>),
        connected: trace::Micros,
    ) -> Badge {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into();
        let dyno_name = login::dyno(dyno, session, peer);
        let journal = &self.shared.journal;
        Badge {
            session: journal.next_session(),
            dyno: journal.dyno(&dyno_name),
            dyno_name: dyno_name.into(),
            entry: Box::default(),
            database: text(session.database()),
            user: text(session.user()),
            application: text(session.parameter(b"application_name").unwrap_or_default()),
            peer,
            local,
            connected,
        }
    }

    async fn observe(&self, arrival: Box<(Client, Vec<u8>)>, guest: &mut Guest) {
        let (client, packet) = *arrival;
        let refusal = guest.refusal.take();
        let card = &guest.seat.card;
        let waits = Box::pin(wait_at_door(client, &guest.entry, card));
        let Some(client) = waits.await else { return };
        let database = guest.entry.database();
        observe::serve(client, packet, (&*self.shared, &*database), (card, refusal)).await;
    }

    async fn cancel(&self, packet: &[u8]) {
        if let Ok(Startup::Cancel { pid, key }) = startup::read(packet) {
            self.shared.cancels.cancel(pid, key).await;
        }
    }
}

/// Holds a new session back while its database is paused; nothing if it does not come to be.
async fn wait_at_door(mut client: Client, entry: &Entry, card: &Card) -> Option<Client> {
    loop {
        tokio::select! {
            biased;
            () = card.end.cancelled() => {
                client.dismiss(&card.farewell()).await;
                return None;
            }
            passed = entry.door.passed() => {
                if passed {
                    return Some(client);
                }
                client.dismiss(&Answer::shutting_down()).await;
                return None;
            }
            alive = client.listen() => if !alive {
                return None;
            },
        }
    }
}
