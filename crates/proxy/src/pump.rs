//! Moves bytes both ways between a client and a server until somebody ends it.
//!
//! Both directions are driven from one future, and neither waits for the other: when both sides
//! have much to send, each still drains into its own peer, so there is no deadlock. Each direction
//! is bounded: no more is read while what was read cannot be written. A socket that was not asked
//! for that reason wakes nobody, so it is asked as soon as writing has made room.
//!
//! A short read is not followed by a second one to see whether there is more (the runtime clears
//! the readiness and the kernel reports anew): one `recv` and one `send` a message, nothing else.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use trace::Micros;

use crate::answer::Answer;
use crate::buffer::{Inbox, Outbox, poll_forward};
use crate::client::Client;
use crate::journal::Journal;
use crate::stream::Stream;

/// Both ends of a relay, and what is between them.
#[derive(Debug)]
pub(crate) struct Lanes<'a> {
    pub(crate) client: &'a mut Client,
    pub(crate) server: &'a mut Stream,
    /// What the server sent.
    pub(crate) from_server: &'a mut Inbox,
    /// What goes to the server and was not read from the client.
    pub(crate) to_server: &'a mut Outbox,
}

/// Why a relay ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The judge is content: the server connection is free.
    Done,
    /// The judge waits for notifications.
    NeedsNews,
    /// The client said goodbye.
    Terminated,
    /// The client is gone.
    ClientGone,
    /// The server is gone.
    ServerGone,
    /// The server was gone before it took a byte: another may be asked the same.
    Unsent,
    /// The client must be sent away with this answer; rare, so it takes no room in other ends.
    Dismissed(Box<Answer>),
    /// What the server sent cannot be understood.
    ServerBroken(wire::Error),
}

impl End {
    /// The client must be sent away with this answer.
    pub(crate) fn dismissed(answer: Answer) -> Self {
        Self::Dismissed(Box::new(answer))
    }
}

/// Understands what passes and decides what becomes of it.
pub(crate) trait Judge {
    /// Judges what the client sent, as far as it is in hand and outboxes have room.
    fn hear_client(
        &mut self,
        client: &mut Inbox,
        to_server: &mut Outbox,
        to_client: (&mut Inbox, &mut Outbox),
        now: Micros,
    ) -> Result<(), End>;

    /// Judges what the server sent.
    fn hear_server(
        &mut self,
        server: &mut Inbox,
        to_client: &mut Outbox,
        now: Micros,
    ) -> Result<(), End>;

    /// Whether the client is heard at present; if not, it will be after something that the server
    /// says.
    fn hears_client(&self) -> bool {
        true
    }

    /// Whether the server connection is free. Asked when all that was judged is sent: so the judge
    /// may say something of its own to the server here.
    fn is_done(&mut self, to_server: &mut Outbox) -> bool;

    /// Whether what was judged so far may be judged again, for another server.
    fn may_repeat(&self) -> bool;

    /// Whether the server waits for what the client says in the middle of a request.
    fn awaits_client(&self) -> bool {
        false
    }

    /// Whether the client must be told of notifications before the relay goes on.
    fn needs_news(&self) -> bool {
        false
    }

    /// What is to be done now that the client has ended its side, and all that it said is judged
    /// and sent.
    fn client_ended(&self) -> ClientEnd;
}

/// What is to be done once a client has ended its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientEnd {
    /// The relay ends.
    Over,
    /// The server owes the client an answer.
    Waits,
    /// The server is told so, and decides.
    Passes,
}

/// A client that can be written to no more is taken to have left after the answer, if it has said
/// something so short a time ago: without a proxy PostgreSQL would have answered by then.
const LEFT_AFTER: Micros = Micros::from_millis(50);

/// A relay between a client and a server.
pub(crate) struct Pump<'a> {
    lanes: Lanes<'a>,
    journal: &'a Journal,
    begun: Option<Micros>,
    /// When the client was heard last.
    heard: Option<Micros>,
    /// Nothing has happened yet but a look at what the client had sent before: no server has acted
    /// on anything, and it may all be judged again.
    is_first: bool,
    closed: Closed,
}

/// Directions in which nothing more is sent.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "three directions, each open or closed")]
struct Closed {
    /// The server takes nothing more; it may have said why, which is still to be read.
    server: bool,
    /// The client takes nothing more, but what it has said still counts.
    client: bool,
    /// The server was told that the client has ended its side.
    end_passed: bool,
}

/// How one peer is heard while the task runs.
#[derive(Default)]
struct Ear {
    /// The socket has nothing to read and will wake the task when it has: it is not asked again.
    is_silent: bool,
    /// In this turn nothing kept us from hearing it.
    is_open: bool,
}

impl Ear {
    /// Reads once; 0 is the peer's end.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        inbox: &mut Inbox,
        stream: &mut Stream,
    ) -> Poll<io::Result<usize>> {
        self.is_open = inbox.has_room();
        if self.is_silent || !self.is_open {
            return Poll::Pending;
        }
        let read = inbox.poll_fill(cx, stream);
        self.is_silent = read.is_pending();
        read
    }
}

/// Both peers.
#[derive(Default)]
struct Ears {
    client: Ear,
    server: Ear,
}

impl<'a> Pump<'a> {
    /// What is in hand at the beginning is judged as of `begun`, if it is given.
    pub(crate) fn new(lanes: Lanes<'a>, journal: &'a Journal, begun: Option<Micros>) -> Self {
        Self { lanes, journal, begun, heard: begun, is_first: true, closed: Closed::default() }
    }

    /// Relays until the end. Cancellation safe, and may be called again after [`End::NeedsNews`].
    pub(crate) async fn run(&mut self, judge: &mut impl Judge) -> End {
        poll_fn(|cx| self.poll(cx, judge)).await
    }

    /// Where messages for the client are put, if the server has broken none off.
    pub(crate) fn client_outbox(&mut self) -> Option<&mut Outbox> {
        let Lanes { client, from_server, .. } = &mut self.lanes;
        from_server.settle(&mut client.outbox);
        from_server.is_forwarded().then_some(&mut client.outbox)
    }

    fn poll(&mut self, cx: &mut Context<'_>, judge: &mut impl Judge) -> Poll<End> {
        let mut ears = Ears::default();
        loop {
            (ears.client.is_open, ears.server.is_open) = (false, false);
            let moved = match self.turn(cx, judge, &mut ears) {
                Ok(moved) => moved,
                Err(end) => return Poll::Ready(end),
            };
            // Writing may have made room to hear a peer that there was no room for.
            let hears_client_now =
                || !ears.client.is_open && judge.hears_client() && self.may_hear_client();
            let hears_server_now = || !ears.server.is_open && self.may_hear_server();
            if !moved && !hears_client_now() && !hears_server_now() {
                return Poll::Pending;
            }
        }
    }

    /// Once down and once up; `true` if anything moved. Down first, since an answer often ends the
    /// relay; but a server is offered something before it is heard, lest its end be taken for an
    /// answer.
    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        judge: &mut impl Judge,
        ears: &mut Ears,
    ) -> Result<bool, End> {
        let begins = self.is_first;
        let mut moved = begins && self.poll_up(cx, judge, ears)?;
        moved |= self.poll_down(cx, judge, ears)?;
        let is_served = self.is_server_served();
        if is_served {
            if judge.is_done(self.lanes.to_server) {
                return Err(End::Done);
            }
            moved |= !self.lanes.to_server.is_empty();
        }
        if judge.needs_news() {
            return Err(End::NeedsNews);
        }
        self.note_client_end(cx, judge)?;
        if !begins {
            moved |= self.poll_up(cx, judge, ears)?;
            // Then the judge is to be asked.
            moved |= !is_served && self.is_server_served();
        }
        Ok(moved)
    }

    /// Ends the relay once the client has ended its side and is owed nothing.
    fn note_client_end(&mut self, cx: &mut Context<'_>, judge: &impl Judge) -> Result<(), End> {
        let Lanes { client, server, to_server, .. } = &mut self.lanes;
        let inbox = &client.inbox;
        let is_sent = to_server.is_empty() && inbox.run_len() == 0;
        if !inbox.has_ended() || inbox.is_paused() || !is_sent || self.closed.end_passed {
            return Ok(());
        }
        match judge.client_ended() {
            ClientEnd::Over => return Err(End::ClientGone),
            ClientEnd::Waits => {}
            ClientEnd::Passes => match Pin::new(&mut **server).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => self.closed.end_passed = true,
                Poll::Ready(Err(_)) => return Err(End::ClientGone),
                Poll::Pending => {}
            },
        }
        Ok(())
    }

    fn may_hear_client(&self) -> bool {
        let Lanes { client, to_server, .. } = &self.lanes;
        let inbox = &client.inbox;
        let has_work = inbox.is_paused() || (inbox.has_room() && !inbox.has_ended());
        has_work && !to_server.is_full() && !client.outbox.is_full()
    }

    fn may_hear_server(&self) -> bool {
        let inbox = &self.lanes.from_server;
        let has_work = inbox.is_paused() || inbox.has_room();
        has_work && !self.lanes.client.outbox.is_full()
    }

    /// Whether the server has got all of every message that was begun.
    fn is_server_served(&self) -> bool {
        self.lanes.to_server.is_empty() && self.lanes.client.inbox.is_forwarded()
    }

    /// Client to server; `true` if anything moved.
    fn poll_up(
        &mut self,
        cx: &mut Context<'_>,
        judge: &mut impl Judge,
        ears: &mut Ears,
    ) -> Result<bool, End> {
        let Lanes { client, server, from_server, to_server } = &mut self.lanes;
        let mut moved = false;
        if judge.hears_client() && !to_server.is_full() && !client.outbox.is_full() {
            let read = if client.inbox.is_paused() {
                ears.client.is_open = true;
                true
            } else if client.inbox.has_ended() {
                false
            } else {
                match ears.client.poll(cx, &mut client.inbox, &mut client.stream) {
                    Poll::Ready(Ok(1..)) => {
                        self.is_first = false;
                        true
                    }
                    Poll::Ready(Ok(0) | Err(_)) => {
                        moved = true;
                        false
                    }
                    Poll::Pending => false,
                }
            };
            if read {
                moved = true;
                let to_client = (&mut **from_server, &mut client.outbox);
                let now = self.begun.take().unwrap_or_else(|| self.journal.now());
                self.heard = Some(now);
                judge.hear_client(&mut client.inbox, to_server, to_client, now)?;
            }
        }
        if self.closed.server {
            to_server.clear();
        } else {
            let due = to_server.len() + client.inbox.run_len();
            let is_deaf = poll_lane(cx, &mut client.inbox, to_server, &mut **server).is_err();
            self.is_first &= to_server.len() + client.inbox.run_len() == due;
            if is_deaf && self.is_first && judge.may_repeat() {
                return Err(End::Unsent);
            }
            self.closed.server = is_deaf;
        }
        self.is_first = false;
        Ok(moved)
    }

    /// Server to client; `true` if anything moved.
    fn poll_down(
        &mut self,
        cx: &mut Context<'_>,
        judge: &mut impl Judge,
        ears: &mut Ears,
    ) -> Result<bool, End> {
        let Lanes { client, server, from_server, .. } = &mut self.lanes;
        let mut moved = false;
        let mut gone = false;
        if !client.outbox.is_full() {
            let read = if from_server.is_paused() {
                ears.server.is_open = true;
                true
            } else {
                match ears.server.poll(cx, from_server, server) {
                    Poll::Ready(Ok(1..)) => true,
                    Poll::Ready(Ok(0) | Err(_)) => {
                        gone = true;
                        false
                    }
                    Poll::Pending => false,
                }
            };
            if read {
                moved = true;
                judge.hear_server(from_server, &mut client.outbox, self.journal.now())?;
            }
        }
        let is_lost = match self.closed.client {
            true => from_server.run_len() > 0 || !client.outbox.is_empty(),
            false => poll_lane(cx, from_server, &mut client.outbox, &mut client.stream).is_err(),
        };
        if is_lost {
            if self.journal.now().since(self.heard.unwrap_or(Micros::ZERO)) > LEFT_AFTER {
                return Err(End::ClientGone);
            }
            (self.closed.client, moved) = (true, true);
            // Data of a COPY that has arrived is heard to its end.
            if !judge.awaits_client() {
                client.inbox.end();
            }
            from_server.drop_run();
            client.outbox.clear();
        }
        if gone { Err(End::ServerGone) } else { Ok(moved) }
    }
}

fn poll_lane(
    cx: &mut Context<'_>,
    inbox: &mut Inbox,
    outbox: &mut Outbox,
    stream: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    match poll_forward(cx, inbox, outbox, stream) {
        Poll::Ready(result) => result,
        Poll::Pending => Ok(()),
    }
}
