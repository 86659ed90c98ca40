//! From one process to the next: sockets, the limit, and cancel requests for sessions that stayed.
//!
//! What two processes say to each other is not known here; what each must do is. The old one's
//! part: [`Proxy::sockets`], [`Proxy::give_way`], [`Proxy::stop_accepting`], [`Proxy::cede_all`],
//! then [`Proxy::give_way`] again and again until [`Proxy::sessions_ended`]. The new one's:
//! [`Proxy::adopt`], [`Proxy::held_elsewhere`], and [`Proxy::strays`] for cancel requests that are
//! the old one's.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::cancel::{Registry, Stray};
use crate::worker::Command;
use crate::{Address, Error, Proxy};

/// An address that is listened on, for another process to do the same.
#[derive(Debug)]
pub struct Handed {
    /// The address.
    pub addr: Address,
    /// Whose clients come in there, if that is known.
    pub dyno: Option<Box<str>>,
    /// Its sockets. Each has a queue of its own, so all of them must be accepted from.
    pub sockets: Vec<OwnedFd>,
}

/// Server connections that another process with the same limit must leave free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The name that clients use for the database; `*` for all others.
    pub database: String,
    /// How many are held at most, from now on.
    pub connections: u32,
}

/// Delivers cancel requests to sessions of a [`Proxy`].
#[derive(Clone)]
pub struct Canceller(Arc<Registry>);

impl std::fmt::Debug for Canceller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Canceller").finish_non_exhaustive()
    }
}

impl Canceller {
    /// Delivers a cancel request, if its key fits a session; never says whether it did.
    pub async fn cancel(&self, pid: i32, key: &[u8]) {
        self.0.cancel(pid, key).await;
    }
}

impl Proxy {
    /// Copies of all sockets that are listened on.
    ///
    /// # Errors
    /// [`Error::Listen`] if the process has no file descriptors left.
    pub fn sockets(&self) -> Result<Vec<Handed>, Error> {
        let bound = self.shared.bound.lock();
        let handed = bound.iter().map(|(addr, bound)| {
            let copies: Result<Vec<OwnedFd>, _> =
                bound.sockets.iter().map(|socket| socket.try_clone().map(Into::into)).collect();
            let sockets = copies.map_err(|source| Error::Listen { addr: addr.clone(), source })?;
            Ok(Handed { addr: addr.clone(), dyno: bound.dyno.as_deref().map(Into::into), sockets })
        });
        handed.collect()
    }

    /// Accepts nothing more, and returns when that is so. The sockets stay open: who connects now
    /// waits in the kernel's queue, for [`Proxy::accept_again`] or for another process.
    ///
    /// # Errors
    /// [`Error::WorkerGone`].
    pub async fn stop_accepting(&self) -> Result<(), Error> {
        for addr in self.addresses() {
            self.no_longer_accept(&addr)?;
        }
        self.pulse().await
    }

    /// After [`Proxy::stop_accepting`]: no other process took over.
    ///
    /// # Errors
    /// [`Error::Listen`], [`Error::WorkerGone`].
    pub fn accept_again(&self) -> Result<(), Error> {
        let bound = self.shared.bound.lock();
        bound.iter().try_for_each(|(addr, bound)| self.accept(addr, bound))
    }

    /// Closes the sockets: what still comes in is another process', or refused.
    ///
    /// # Errors
    /// [`Error::WorkerGone`].
    pub fn unlisten_all(&self) -> Result<(), Error> {
        self.addresses().into_iter().try_for_each(|addr| self.unlisten(addr))
    }

    /// The same where another process accepts from copies of them: a Unix socket's file stays.
    ///
    /// # Errors
    /// [`Error::WorkerGone`].
    pub fn cede_all(&self) -> Result<(), Error> {
        for bound in self.shared.bound.lock().values_mut() {
            if let Some(file) = bound.file.take() {
                file.leave();
            }
        }
        self.unlisten_all()
    }

    fn addresses(&self) -> Vec<Address> {
        self.shared.bound.lock().keys().cloned().collect()
    }

    /// Returns when every worker has shown that it is alive: all commands so far are carried out.
    ///
    /// # Errors
    /// [`Error::WorkerGone`].
    pub async fn pulse(&self) -> Result<(), Error> {
        let mut answers = Vec::new();
        for worker in &self.workers {
            let (carried_out, answer) = oneshot::channel();
            worker.tell(Command::Pulse(carried_out))?;
            answers.push(answer);
        }
        for answer in answers {
            answer.await.map_err(|_| Error::WorkerGone)?;
        }
        Ok(())
    }

    /// Sessions that are open, those that log in included.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.workers.iter().map(|worker| worker.sessions.len()).sum()
    }

    /// Returns when no session is left. Meant for a proxy that was told to accept nothing more:
    /// whoever came in before a worker heard of that counts.
    pub async fn sessions_ended(&self) {
        // A worker that is gone has no sessions.
        let _ = self.pulse().await;
        for worker in &self.workers {
            worker.sessions.close();
            worker.sessions.wait().await;
        }
    }

    /// `regulate`: gives the part of the limits that the remaining sessions do not need to a
    /// successor, idle server connections included, and says what is left. Each call gives more as
    /// sessions end; what was said once is never exceeded, so while an address is listened on
    /// there is something for who may still come in. Cancellation safe.
    pub async fn give_way(&self) -> Vec<Held> {
        let listens = !self.shared.bound.lock().is_empty();
        let sessions = self.sessions().max(usize::from(listens));
        let mut held = Vec::new();
        for (database, gate) in self.shared.databases.gates() {
            let connections = gate.give_way(sessions).await;
            held.push(Held { database: database.into(), connections });
        }
        held
    }

    /// `regulate`: after [`Proxy::give_way`]: no other process took over.
    pub fn take_back(&self) {
        for (_, gate) in self.shared.databases.gates() {
            gate.stay();
        }
    }

    /// `regulate`: leaves connections free that a predecessor holds. A database that is not named
    /// is not held at all.
    pub fn held_elsewhere(&self, held: &[Held]) {
        for (database, gate) in self.shared.databases.gates() {
            let found = held.iter().find(|held| *held.database == *database);
            gate.held_elsewhere(found.map_or(0, |held| held.connections));
        }
    }

    /// What delivers cancel requests that came in elsewhere.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::clone(&self.shared.cancels))
    }

    /// From now on: the cancel requests for sessions that this process does not know. Without a
    /// call, or once the receiver is dropped, they are for nobody.
    #[must_use]
    pub fn strays(&self) -> mpsc::Receiver<Stray> {
        self.shared.cancels.strays()
    }
}
