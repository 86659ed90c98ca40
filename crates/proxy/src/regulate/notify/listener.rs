//! The server connection that listens, and the task that carries it.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;
use trace::{SessionId, SqlState};
use wire::backend::{Report, tag};
use wire::cursor::Cursor;
use wire::frame::body;
use wire::frontend;

use super::board::{Board, Channel, Listened, Member, Request};
use super::mailbox::Mailbox;
use crate::access::Credential;
use crate::answer::Answer;
use crate::backend::{Backend, OpenError, Opening};
use crate::buffer::Outbox;
use crate::pool::Key;
use crate::regulate::House;
use crate::timer::{sleep, timeout};

/// How long the connection is kept when nobody listens any more: an app that restarts comes back.
const LINGER: Duration = Duration::from_secs(3);

/// Longest message that is understood: a notification has at most 8,000 bytes of payload.
const MESSAGE_MAX: usize = 64 * 1024;

/// How long reading pauses for clients in whose mailboxes much waits.
const MOMENT: Duration = Duration::from_millis(500);

/// Whose listener it is, and where it lives.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) key: Arc<Key>,
    /// With what it logs in.
    pub(super) credential: Arc<Credential>,
    /// The worker in whose runtime it runs.
    pub(super) worker: usize,
    /// The session that it was opened for.
    pub(super) session: SessionId,
}

/// Something that the server has not answered yet.
#[derive(Debug)]
enum Asked {
    Listen {
        channel: Channel,
        /// Taken once it has arrived, or failed to.
        member: Option<Member>,
        reply: oneshot::Sender<Result<Listened, Answer>>,
        listened: Listened,
    },
    Unlisten,
    Catch(oneshot::Sender<()>),
}

/// Why a listener ends.
enum End {
    /// Nobody listens.
    Deserted,
    /// The connection cannot be used any more.
    Broken,
    /// The server is another now.
    Outdated,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

impl From<wire::Error> for End {
    fn from(_: wire::Error) -> Self {
        Self::Broken
    }
}

/// Listens until nobody does, or the connection breaks.
pub(super) async fn run(house: Arc<House>, place: Place, board: Arc<Board>) {
    let outdated = house.exchange.outdated();
    let opened = open(&house, &place).await;
    let (requests, answer) = match opened {
        Ok(backend) => {
            let mut listener = Listener {
                backend,
                outbox: Outbox::default(),
                asked: VecDeque::new(),
                crowded: Vec::new(),
                house: &house,
                board: &board,
            };
            let end = outdated.run_until_cancelled(listener.run()).await;
            // It listens where the configuration no longer leads.
            let end = end.unwrap_or(End::Outdated);
            let requests = board.close();
            if matches!(end, End::Deserted | End::Outdated) {
                listener.backend.close().await;
            }
            (requests, Answer::server_gone())
        }
        Err(error) => (board.close(), error.answer()),
    };
    for request in requests {
        if let Request::Listen { reply, .. } = request {
            // Whoever does not wait any more does without.
            let _ = reply.send(Err(answer.clone()));
        }
    }
}

async fn open(house: &House, place: &Place) -> Result<Box<Backend>, OpenError> {
    let database = house.database();
    let opening = Opening {
        upstream: &database.upstream,
        credential: &place.credential,
        limit: house.connect_timeout(),
        key: &place.key,
        worker: place.worker,
        session: place.session,
        journal: &house.journal,
        settings: &house.settings,
    };
    Backend::open(opening).await
}

struct Listener<'a> {
    backend: Box<Backend>,
    outbox: Outbox,
    asked: VecDeque<Asked>,
    /// Mailboxes in which much waits.
    crowded: Vec<Arc<Mailbox>>,
    house: &'a House,
    board: &'a Board,
}

impl Listener<'_> {
    async fn run(&mut self) -> End {
        loop {
            let turn = self.turn().await;
            if let Err(end) = turn {
                return end;
            }
        }
    }

    async fn turn(&mut self) -> Result<(), End> {
        self.hear()?;
        self.give_a_moment().await;
        self.take_work();
        let is_deserted = self.asked.is_empty() && self.board.is_deserted();
        let (board, exchange) = (self.board, &self.house.exchange);
        let rest = async {
            if !is_deserted {
                return pending().await;
            }
            tokio::select! {
                () = sleep(LINGER) => {}
                () = exchange.is_ending() => {}
            }
        };
        tokio::select! {
            biased;
            read = self.fill() => if read? == 0 { Err(End::Broken) } else { Ok(()) },
            () = board.changed.notified() => Ok(()),
            () = rest => if board.close_if_deserted() { Err(End::Deserted) } else { Ok(()) },
        }
    }

    /// Waits for clients that have much to read, for a while. Notifications wait on the server
    /// meanwhile, in its queue on disk.
    async fn give_a_moment(&mut self) {
        if self.crowded.is_empty() {
            return;
        }
        let crowded = std::mem::take(&mut self.crowded);
        let relieved = async {
            for mailbox in &crowded {
                mailbox.relieved().await;
            }
        };
        // Relieved or not: each mailbox knows by itself.
        let _ = timeout(MOMENT, relieved).await;
        crowded.iter().for_each(|mailbox| mailbox.moment_ended());
    }

    /// Writes what is due and reads once. Cancellation safe.
    async fn fill(&mut self) -> io::Result<usize> {
        let Self { backend, outbox, .. } = self;
        poll_fn(|cx| match outbox.poll_flush(cx, &mut backend.stream) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => backend.inbox.poll_fill(cx, &mut backend.stream),
        })
        .await
    }

    fn take_work(&mut self) {
        let work = self.board.work();
        let out = self.outbox.bytes();
        for channel in work.unlisten {
            let name = channel.iter().flat_map(|byte| match byte {
                b'"' => &b"\"\""[..],
                byte => std::slice::from_ref(byte),
            });
            let text: Vec<u8> = b"UNLISTEN \"".iter().chain(name).chain(b"\"").copied().collect();
            frontend::put_query(out, &text);
            self.asked.push_back(Asked::Unlisten);
        }
        for request in work.requests {
            let asked = match request {
                Request::Listen { text, channel, member, reply } => {
                    frontend::put_query(out, &text);
                    let (member, listened) = (Some(member), Listened::default());
                    Asked::Listen { channel, member, reply, listened }
                }
                Request::Catch { reply } => {
                    frontend::put_bare(out, frontend::tag::SYNC);
                    Asked::Catch(reply)
                }
            };
            self.asked.push_back(asked);
        }
    }

    /// Understands what was read.
    fn hear(&mut self) -> Result<(), End> {
        while let Some(piece) = self.backend.inbox.step(|_, total| total.min(MESSAGE_MAX))? {
            if piece.len < piece.total {
                return Err(End::Broken);
            }
            let message = self.backend.inbox.peek(piece.len);
            match piece.tag {
                tag::NOTIFICATION_RESPONSE => {
                    let crowded = self.deliver(body(message))?;
                    self.crowded.extend(crowded);
                }
                tag::PARAMETER_STATUS => {}
                tag::READY_FOR_QUERY => Self::answered(self.board, self.asked.pop_front())?,
                _ => Self::said(self.board, &mut self.asked, piece.tag, message)?,
            }
            self.backend.inbox.discard(piece.len);
        }
        Ok(())
    }

    /// A message that belongs to the oldest request.
    fn said(
        board: &Board,
        asked: &mut VecDeque<Asked>,
        message: u8,
        bytes: &[u8],
    ) -> Result<(), End> {
        let report = (message == tag::ERROR_RESPONSE).then(|| Report::read(body(bytes)));
        if report.as_ref().is_some_and(Report::is_fatal) {
            return Err(End::Broken);
        }
        if let Some(Asked::Listen { channel, member, reply, listened }) = asked.front_mut() {
            listened.messages.extend_from_slice(bytes);
            if let Some(report) = report {
                let code = SqlState::from_bytes(report.code);
                listened.error = Some(code.unwrap_or(SqlState::PROTOCOL_VIOLATION));
            } else if message == tag::COMMAND_COMPLETE {
                // From here on nothing may be missed.
                board.arrive(channel, member.take().filter(|_| !reply.is_closed()).as_ref());
            }
        }
        Ok(())
    }

    /// The oldest request is done.
    fn answered(board: &Board, asked: Option<Asked>) -> Result<(), End> {
        // Whoever does not wait any more does without the answer.
        match asked.ok_or(End::Broken)? {
            Asked::Listen { channel, member, reply, listened } => {
                if member.is_some() {
                    board.arrive(&channel, None);
                }
                let _ = reply.send(Ok(listened));
            }
            Asked::Unlisten => {}
            Asked::Catch(reply) => {
                let _ = reply.send(());
            }
        }
        Ok(())
    }

    /// Gives a notification to those who listen, in the name of the session that sent it.
    fn deliver(&self, content: &[u8]) -> Result<Vec<Arc<Mailbox>>, End> {
        let mut cursor = Cursor::new(content);
        let (Some(backend), Some(channel)) = (cursor.i32(), cursor.text()) else {
            return Err(End::Broken);
        };
        let from = self.house.exchange.tenants.of(backend).unwrap_or(backend);
        let mut message = Vec::new();
        wire::frame::put(&mut message, tag::NOTIFICATION_RESPONSE, |out| {
            out.extend_from_slice(&from.to_be_bytes());
            out.extend_from_slice(&content[4..]);
        });
        Ok(self.board.deliver(channel, &message.into()))
    }
}
