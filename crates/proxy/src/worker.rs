//! A thread that carries sessions: a runtime of its own, its own sockets to accept from.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trace::{DynoId, Event, SessionId};
use wire::startup::{self, Startup};

use crate::access::Doorman;
use crate::answer::Answer;
use crate::cancel;
use crate::client::Client;
use crate::conversation::Conversation;
use crate::databases::Databases;
use crate::journal::Journal;
use crate::login::{self, LOGIN_TIME, Refused, Wish};
use crate::stream::{Socket, Stream};
use crate::{Config, Mode};
use crate::{observe, regulate};

/// How often the pool is sampled.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// How long accepting pauses when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long sessions may take to end once they were told to.
const ENDING: Duration = Duration::from_secs(10);

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) doorman: Arc<Doorman>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) databases: Databases,
    pub(crate) cancels: Arc<cancel::Registry>,
}

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Accept from this socket too.
    Listen { listener: StdListener, addr: SocketAddr, dyno: Option<Arc<str>> },
    /// No longer accept from this address.
    Unlisten(SocketAddr),
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
        let sessions = self.sessions.clone();
        let mut accepting = JoinSet::new();
        let mut listeners: HashMap<SocketAddr, CancellationToken> = HashMap::new();
        let worker = Arc::new(self);
        if worker.number == 0 && worker.shared.config.mode == Mode::Regulate {
            accepting.spawn(sample(Arc::clone(&worker.shared)));
        }
        let mut grace = Duration::ZERO;
        while let Some(command) = commands.recv().await {
            // Those of addresses that are no longer listened on.
            while accepting.try_join_next().is_some() {}
            match command {
                Command::Listen { listener, addr, dyno } => {
                    // One for all sockets of the address.
                    let stop = listeners.entry(addr).or_default().clone();
                    let door =
                        Door { worker: Arc::clone(&worker), dyno, sessions: sessions.clone() };
                    match TcpListener::from_std(listener) {
                        Ok(listener) => {
                            accepting.spawn(door.accept(listener, stop));
                        }
                        Err(error) => tracing::error!(%addr, %error, "cannot accept connections"),
                    }
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

/// Ten times a second, in `regulate` mode.
async fn sample(shared: Arc<Shared>) {
    let mut ticks = interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        shared.databases.tick(&shared.journal);
    }
}

/// One socket's way in.
struct Door {
    worker: Arc<Worker>,
    dyno: Option<Arc<str>>,
    sessions: TaskTracker,
}

impl Door {
    async fn accept(self, listener: TcpListener, stop: CancellationToken) {
        loop {
            // In this order: once told to stop, it accepts nothing that is another process' now.
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (worker, dyno) = (Arc::clone(&self.worker), self.dyno.clone());
                    self.sessions.spawn(async move { worker.receive(stream, peer, dyno).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
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
    fn new(journal: &Arc<Journal>, dyno: DynoId) -> Self {
        let session = journal.next_session();
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

impl Worker {
    /// Carries one connection from its first packet to its end.
    async fn receive(&self, stream: TcpStream, peer: SocketAddr, dyno: Option<Arc<str>>) {
        let arrived = self.shared.journal.now();
        // A client that lost its power must not hold a server connection for ever.
        let alive = SockRef::from(&stream).set_keepalive(true);
        if let Err(error) = alive.and_then(|()| stream.set_nodelay(true)) {
            tracing::debug!(%peer, %error, "the connection ended at once");
            return;
        }
        let client = Client::new(Stream::Plain(Socket::Tcp(stream)), Some(peer.ip()));
        let access = self.shared.doorman.access();
        let wish = tokio::select! {
            wish = timeout(LOGIN_TIME, login::read_wish(client, &access)) => wish,
            () = self.kill.cancelled() => return,
        };
        drop(access);
        match wish {
            Ok(Ok((client, Wish::Session(packet)))) => {
                let Ok(Startup::Session(session)) = startup::read(&packet) else { return };
                let name = login::dyno(dyno.as_deref(), &session, peer);
                let dyno = self.shared.journal.dyno(&name);
                let open = Open::new(&self.shared.journal, dyno);
                let conversation = Conversation::new(open.session, dyno);
                self.carry(client, packet, conversation, arrived).await;
            }
            Ok(Ok((client, Wish::Cancel(packet)))) => {
                self.kill.run_until_cancelled(self.cancel(&packet)).await;
                // The client waits for the end of this connection.
                client.part().await;
            }
            Ok(Err(Refused::With(client, answer))) => client.dismiss(&answer).await,
            Ok(Err(Refused::Gone)) | Err(_) => {}
        }
    }

    async fn carry(
        &self,
        client: Client,
        packet: Vec<u8>,
        conversation: Conversation,
        arrived: trace::Micros,
    ) {
        let name = match startup::read(&packet) {
            Ok(Startup::Session(session)) => session.database().to_vec(),
            _ => Vec::new(),
        };
        let Some(entry) = self.shared.databases.find(&name) else {
            return client.dismiss(&Answer::no_database(&name)).await;
        };
        match &entry.house {
            Some(house) => {
                let place = (house, self.number);
                regulate::serve(client, packet, conversation, arrived, place, &self.kill).await;
            }
            None => {
                let place = (&*self.shared, &entry.database);
                let kill = &self.kill;
                // In a box: it is larger than what `regulate` mode needs here.
                Box::pin(observe::serve(client, packet, conversation, arrived, place, kill)).await;
            }
        }
    }

    async fn cancel(&self, packet: &[u8]) {
        if let Ok(Startup::Cancel { pid, key }) = startup::read(packet) {
            self.shared.cancels.cancel(pid, key).await;
        }
    }
}
