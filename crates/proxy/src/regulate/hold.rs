//! A session with a server connection: relays until its transaction is over and nothing holds it
//! there any more.

use std::sync::Arc;

use trace::Outcome;

use super::Session;
use super::leased::Leased;
use super::notify::Mailbox;
use crate::answer::Answer;
use crate::backend::{self, Backend};
use crate::buffer::Mark;
use crate::gate::{Last, Lease};
use crate::pool::Need;
use crate::pump::{End, Judge, Lanes, Pump};

/// How a relay went.
struct Relayed {
    end: End,
    last: Last,
    /// Why the server connection could not be given the session's settings.
    unfit: Option<Box<Answer>>,
    /// What the request needs of another server connection.
    needs: Option<Need>,
    /// Whether the client need not know that the server connection is gone.
    may_lose_server: bool,
}

/// Where the client's messages and ours stood before the relay.
struct Before {
    inbox: Mark,
    outbox: usize,
}

impl Session {
    /// Relays until the transaction is over and gives the connection back; else the session ends.
    /// [`End::Unsent`] asks for another server connection for the same request.
    pub(super) async fn hold(
        &mut self,
        lease: Lease,
        mut backend: Box<Backend>,
    ) -> Result<(), End> {
        self.moves_in(backend.cancel_key.pid).await;
        let client = &self.client;
        let before = Before { inbox: client.inbox.mark(), outbox: client.outbox.len() };
        let relayed = self.relay(&lease, &mut backend).await;
        if relayed.end == End::Unsent {
            return Err(self.unsend(&backend, before).await);
        }
        if relayed.end == End::ServerGone && relayed.may_lose_server {
            self.talk.conversation.unsay();
            self.talk.residue.lost();
            self.leave(&backend).await;
            return Ok(());
        }
        self.may_speak = backend.inbox.at_boundary();
        backend.inbox.settle(&mut self.client.outbox);
        if relayed.end == End::Done {
            return self.give_back(lease, backend, relayed).await;
        }
        Box::pin(self.abandon(lease, backend, &relayed.end)).await;
        Err(relayed.end)
    }

    async fn relay(&mut self, lease: &Lease, backend: &mut Backend) -> Relayed {
        let need = self.need;
        let Self { client, talk, entry, kill, house, to_server, .. } = self;
        let card = Arc::clone(&talk.journal.card);
        let assigned = talk.assigned_at();
        let mailbox = talk.listening.as_ref().map(|own| own.mailbox());
        let place = (&*entry.target, &backend.cancel_key);
        let mut judge = Leased::new(talk, &mut backend.state, (house, lease), place, need);
        judge.begin(to_server, &mut client.outbox);
        let begun = judge.hears_client().then_some(assigned);
        let lanes = Lanes {
            client,
            server: &mut backend.stream,
            from_server: &mut backend.inbox,
            to_server,
        };
        let mut pump = Pump::new(lanes, &house.journal, begun);
        let run = async {
            match mailbox {
                None => pump.run(&mut judge).await,
                // Few listen: not a part of every session.
                Some(mailbox) => Box::pin(run_and_listen(&mut pump, &mut judge, &mailbox)).await,
            }
        };
        let end = tokio::select! {
            biased;
            end = run => end,
            () = kill => End::dismissed(card.farewell()),
        };
        Relayed {
            end,
            last: judge.last(),
            unfit: judge.unfit.take(),
            needs: judge.needs.take(),
            may_lose_server: judge.may_lose_server(),
        }
    }

    /// Nothing of what was judged has reached the server: it will be judged again.
    async fn unsend(&mut self, backend: &Backend, before: Before) -> End {
        self.client.inbox.rewind(before.inbox);
        self.client.outbox.cut_back(before.outbox);
        self.to_server.clear();
        self.talk.conversation.unsay();
        self.talk.names.unsay();
        self.leave(backend).await;
        End::Unsent
    }

    /// The session's server connection is gone.
    async fn leave(&mut self, backend: &Backend) {
        self.backend_ends(backend.cancel_key.pid);
        self.entry.target.detach().await;
    }

    /// The session is done with the server connection, or needs another one.
    async fn give_back(
        &mut self,
        lease: Lease,
        mut backend: Box<Backend>,
        relayed: Relayed,
    ) -> Result<(), End> {
        self.moves_out().await;
        self.entry.target.detach().await;
        // After DDL: before anybody else runs a function that was made just now.
        let is_usable = !self.house.reaches.is_outdated()
            || Box::pin(self.house.look_if_outdated(&mut backend)).await;
        if is_usable && backend.state.settings().is_some() {
            lease.give_back(backend, relayed.last).await;
        } else {
            Box::pin(backend.close()).await;
            drop(lease);
        }
        // What others have done there may be what keeps the session's settings out.
        let is_new = self.need == Need::New;
        let is_unfit = relayed.unfit.is_some() && !is_new;
        if let Some(need) = relayed.needs.or(is_unfit.then_some(Need::New)) {
            self.need = need;
            return Err(End::Unsent);
        }
        if let Some(answer) = relayed.unfit {
            self.refuse(Some(&answer), Outcome::Error(answer.code));
        }
        Ok(())
    }

    /// The session ends while it holds a server connection, which nobody may use again: what it
    /// runs is cancelled, and the lease lasts until the backend is gone.
    async fn abandon(&mut self, lease: Lease, backend: Box<Backend>, end: &End) {
        let may_cancel = self.talk.conversation.may_cancel();
        self.talk.give_up(match end {
            End::Done | End::Terminated | End::ClientGone => Outcome::ClientGone,
            End::ServerGone | End::Unsent | End::NeedsNews | End::ServerBroken(_) => {
                Outcome::ServerGone
            }
            End::Dismissed(answer) => Outcome::Error(answer.code),
        });
        self.leave(&backend).await;
        if *end != End::ServerGone {
            if may_cancel {
                let database = self.house.database();
                backend::cancel(&database.upstream, &backend.cancel_key).await;
            }
            backend.close().await;
        }
        drop(lease);
    }
}

/// Relays for a session that listens.
async fn run_and_listen(pump: &mut Pump<'_>, judge: &mut Leased<'_>, mailbox: &Mailbox) -> End {
    loop {
        tokio::select! {
            biased;
            end = pump.run(judge) => match end {
                End::NeedsNews => judge.catch_up(pump.client_outbox()).await,
                end => return end,
            },
            () = mailbox.arrived() => judge.tell_news(pump.client_outbox()),
            answer = mailbox.doomed() => return End::dismissed(answer),
        }
    }
}
