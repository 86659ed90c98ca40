//! A session that listens: what it waits for, asks for, and does about its backends.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::oneshot;
use trace::{BackendPid, Outcome, RequestKind};
use wire::backend;

use super::board::{Listened, Member, Request};
use super::listener::Place;
use super::{Channel, Exchange, Listening, doomed};
use crate::answer::Answer;
use crate::pool::Key;
use crate::pump::End;
use crate::regulate::Session;
use crate::regulate::leased::client_want;
use crate::regulate::talk::Mail;

impl Session {
    /// Hears the client, and hands it what is notified meanwhile.
    pub(in crate::regulate) async fn listen(&mut self) -> Result<(), End> {
        let Self { client, talk, kill, .. } = self;
        if talk.listening.is_some() {
            return Box::pin(self.listen_with_mailbox()).await;
        }
        tokio::select! {
            biased;
            alive = client.listen() => if alive { Ok(()) } else { Err(End::ClientGone) },
            () = kill => Err(End::dismissed(talk.journal.card.farewell())),
        }
    }

    async fn listen_with_mailbox(&mut self) -> Result<(), End> {
        loop {
            let Self { client, talk, kill, .. } = self;
            let listening = talk.listening.as_deref();
            let mailbox = listening.map(Listening::mailbox);
            // Notifications are for clients in no transaction.
            let listening = listening.filter(|_| talk.status() == b'I' && !talk.refusing);
            let is_empty = listening.is_none_or(|own| own.empty_into(&mut client.outbox));
            let arrived = async {
                match listening {
                    Some(own) if is_empty => own.arrived().await,
                    Some(_) | None => pending().await,
                }
            };
            // A client takes what it was sent before it is heard again.
            let moved = async {
                if is_empty { client.listen().await } else { client.flush().await.is_ok() }
            };
            tokio::select! {
                biased;
                alive = moved => match (alive, is_empty) {
                    (false, _) => return Err(End::ClientGone),
                    (true, true) => return Ok(()),
                    (true, false) => {}
                },
                () = arrived => {}
                answer = doomed(mailbox.as_deref()) => {
                    return Err(End::dismissed(answer));
                }
                () = kill => return Err(End::dismissed(talk.journal.card.farewell())),
            }
        }
    }

    /// What comes next is a `LISTEN`, outside a transaction.
    pub(in crate::regulate) async fn subscribe(&mut self) -> Result<(), End> {
        self.talk.arrives(self.house.journal.now());
        // It was read before, so it is there and sound.
        let Some(wish) = self.talk.wish(self.client.inbox.unjudged()) else { return Ok(()) };
        let reading = self.talk.journal.read(&wish.text);

        let is_new = !self.talk.listening.as_ref().is_some_and(|own| own.has(&wish.channel));
        let answered = match self.ask_to_listen(wish.text.clone(), wish.channel.clone()).await {
            Ok(answered) => answered,
            Err(end) => return Err(self.ends_unserved(end)),
        };
        self.discard(wish.len);
        match &wish.parsed {
            Some(content) => {
                let (session, _) = self.talk.who();
                self.talk.names.set_unnamed(session, content, reading);
            }
            None if wish.kind == RequestKind::Simple => self.talk.names.drop_unnamed(),
            None => {}
        }
        let before = self.client.outbox.bytes().len();
        self.client.outbox.bytes().extend_from_slice(&wish.head);
        let error = match answered {
            Ok(listened) => {
                self.client.outbox.bytes().extend_from_slice(&listened.messages);
                listened.error
            }
            Err(answer) => {
                answer.put_error(self.client.outbox.bytes());
                Some(answer.code)
            }
        };
        if let (Some(own), true, Some(_)) = (&mut self.talk.listening, is_new, error) {
            own.leave(Some(&wish.channel));
        }
        self.talk.deliver(&mut self.client.outbox);
        backend::put_ready(self.client.outbox.bytes(), b'I');
        let bytes = (wish.len, self.client.outbox.bytes().len() - before);
        let outcome = error.map_or(Outcome::Ok, Outcome::Error);
        self.talk.record_local(wish.kind, reading.fingerprint, bytes, outcome);
        Ok(())
    }

    /// Takes out messages that were read before.
    fn discard(&mut self, mut len: usize) {
        let inbox = &mut self.client.inbox;
        while len > 0
            && let Ok(Some(piece)) = inbox.step(client_want)
        {
            inbox.discard(piece.len);
            len = len.saturating_sub(piece.len);
        }
    }

    async fn ask_to_listen(
        &mut self,
        text: Box<[u8]>,
        channel: Channel,
    ) -> Result<Result<Listened, Answer>, End> {
        let (reply, mut answer) = oneshot::channel();
        let (session, _) = self.talk.who();
        self.follow();
        let place = self.listener_place();
        let own = match &mut self.talk.listening {
            Some(own) => own,
            none => {
                let board = Exchange::board(&self.house, place.clone(), None);
                none.insert(Box::new(Listening::new(session, board)))
            }
        };
        own.channels.insert(channel.clone());
        let member = Member { session, mailbox: Arc::clone(&own.mailbox) };
        let mut request = Request::Listen { text, channel, member, reply };
        while let Err(unasked) = own.board.ask(request) {
            own.board = Exchange::board(&self.house, place.clone(), Some(&own.board));
            request = unasked;
        }
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => {
                    return Ok(answer.unwrap_or_else(|_| Err(Answer::server_gone())));
                }
                answer = doomed(Some(&own.mailbox)) => {
                    return Err(End::dismissed(answer));
                }
                () = &mut self.kill => {
                    return Err(End::dismissed(self.talk.journal.card.farewell()));
                }
                // What has arrived is executed, whether or not the client is still there.
                _ = self.client.listen(), if !self.client.inbox.has_ended() => {}
            }
        }
    }

    /// Sessions share a listener if the same bytes mean the same to them.
    fn listener_place(&self) -> Place {
        let (session, _) = self.talk.who();
        let mut key = Key::clone(&self.key);
        let is_encoding = |name: &[u8]| name.eq_ignore_ascii_case(b"client_encoding");
        match self.talk.settings.get(b"client_encoding") {
            Some(value) => key.parameters = vec![(b"client_encoding"[..].into(), value.into())],
            None => key.parameters.retain(|(name, _)| is_encoding(name)),
        }
        let credential = Arc::clone(&self.credential);
        Place { key: Arc::new(key), credential, worker: self.worker, session }
    }

    /// The session has got a backend.
    pub(in crate::regulate) async fn moves_in(&self, backend: BackendPid) {
        let tenants = &self.house.exchange.tenants;
        if !tenants.matter() {
            return;
        }
        let own = self.entry.key().pid;
        if let Some(listening) = self.talk.listening.as_ref().filter(|own| own.is_active()) {
            listening.catch_up().await;
        }
        tenants.moves_in(backend, own);
    }

    /// Waits for all that was notified so far.
    pub(in crate::regulate) async fn catch_up(&mut self) {
        self.talk.mail = Mail::AllHere;
        if let Some(listening) = &self.talk.listening {
            listening.catch_up().await;
        }
    }

    /// The session is about to give its backend back.
    pub(in crate::regulate) async fn moves_out(&self) {
        if let Some(listening) = self.talk.listening.as_ref().filter(|own| own.is_active()) {
            listening.catch_up().await;
        }
    }

    /// The session's backend ends with it.
    pub(in crate::regulate) fn backend_ends(&self, backend: BackendPid) {
        self.house.exchange.tenants.gone(backend);
    }
}
