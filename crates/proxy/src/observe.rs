//! A session in `observe` mode: a server connection of its own, nothing changed, all recorded.
//!
//! Startup and authentication pass as they are, so the server itself checks the client, and the
//! client gets the server's own key for cancel requests. The recording follows from watching.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use trace::{BackendPid, Micros, Outcome, SqlState};
use wire::backend::{self, Authentication, BackendKey};
use wire::frame::{HEADER, body};
use wire::frontend::{self, BindHead, Execute, Parse, SaslInitial, Target};
use wire::scram::MECHANISM_PLUS;
use wire::startup::{self, Startup};

use crate::Database;
use crate::answer::Answer;
use crate::backend::Slot;
use crate::buffer::{BUFFER, Inbox, Outbox};
use crate::cancel::{self, PassedOn};
use crate::client::Client;
use crate::conversation::{Conversation, Expect, Shown, Times};
use crate::journal::Scribe;
use crate::login;
use crate::pump::{ClientEnd, End, Judge, Lanes, Pump};
use crate::roster::Card;
use crate::stream::Stream;
use crate::timer::timeout;
use crate::tls;
use crate::worker::Shared;

mod names;

use names::Names;

/// How much of a message is looked at; longer statements are told apart by their beginning.
const HEAD: usize = BUFFER / 2;

/// What a server may still send to a client that is gone before we hang up.
const LEFTOVER_MAX: usize = 64 * 1024;

/// Carries one session from its startup packet to its end.
pub(crate) async fn serve(
    mut client: Client,
    packet: Vec<u8>,
    (shared, database): (&Shared, &Database),
    (card, refusal): (&Arc<Card>, Option<Answer>),
) {
    let (journal, kill, arrived) = (&shared.journal, &card.end, card.badge.connected);
    let mut watch = Watch::new(shared, database, card);
    watch.refusal = refusal;
    let mut server = match connect(shared, database).await {
        Ok(server) => server,
        Err(answer) => {
            watch.conversation.connect(Times::at(arrived));
            watch.give_up(Outcome::ServerUnreachable);
            return client.dismiss(&answer).await;
        }
    };
    watch.unbindable = unbindable(shared, &client, &server);
    let assigned = journal.now();
    watch.conversation.connect(Times { arrived, assigned, sent: assigned });
    watch.conversation.bytes_in(packet.len());
    let packet = match startup::read(&packet) {
        Ok(Startup::Session(session)) => {
            login::packet_for_server(packet.clone(), &session, database.server_name.as_deref())
        }
        _ => packet,
    };
    let (mut from_server, mut to_server) = (Inbox::new(), Outbox::default());
    to_server.bytes().extend_from_slice(&packet);
    let lanes = Lanes {
        client: &mut client,
        server: &mut server,
        from_server: &mut from_server,
        to_server: &mut to_server,
    };
    let mut pump = Pump::new(lanes, journal, None);
    let end = tokio::select! {
        biased;
        end = pump.run(&mut watch) => end,
        () = kill.cancelled() => End::dismissed(card.farewell()),
    };
    watch.give_up(match &end {
        End::Done | End::Terminated | End::ClientGone => Outcome::ClientGone,
        End::ServerGone | End::Unsent | End::NeedsNews | End::ServerBroken(_) => {
            Outcome::ServerGone
        }
        End::Dismissed(answer) => Outcome::Error(answer.code),
    });
    // Between two messages a word of our own may be put in.
    let may_speak = from_server.at_boundary();
    from_server.settle(&mut client.outbox);
    match end {
        End::Done | End::Terminated | End::ClientGone => {
            drop(client);
            tokio::select! {
                () = see_out(&mut server) => {}
                () = kill.cancelled() => {}
            }
        }
        End::ServerGone | End::Unsent | End::NeedsNews => client.part().await,
        End::Dismissed(answer) if may_speak => client.dismiss(&answer).await,
        End::ServerBroken(error) if may_speak => client.dismiss(&Answer::protocol(&error)).await,
        End::Dismissed(_) | End::ServerBroken(_) => {}
    }
    // The slot, held by `watch`, ends after the socket is closed.
    drop(server);
    drop(watch);
}

/// SCRAM with channel binding proves to the server which certificate the client sees: with TLS on
/// both sides that is ours, and the server would take us for an attacker. Only the client can do
/// without; it is told so.
fn unbindable(shared: &Shared, client: &Client, server: &Stream) -> Option<Answer> {
    client.stream.tls()?;
    let theirs = tls::end_point(server)?;
    let access = shared.doorman.access();
    if access.tls.as_ref()?.end_point() == Some(&theirs) {
        return None;
    }
    let text = "surgetank: SCRAM cannot be bound to the server's certificate through a proxy that \
                has another";
    let mut answer = Answer::new(SqlState(*b"28000"), text);
    "connect with channel_binding=disable; or give surgetank the server's own certificate and key, \
     or sslmode=disable towards the server"
        .clone_into(&mut answer.hint);
    Some(answer)
}

async fn connect(shared: &Shared, database: &Database) -> Result<Stream, Answer> {
    let endpoint = database.upstream.endpoint();
    let limit = shared.config.read().connect_timeout;
    let why = match timeout(limit, database.upstream.connect()).await {
        Ok(Ok(server)) => return Ok(server),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {limit:?}"),
    };
    Err(Answer::new(
        SqlState::CONNECTION_FAILURE,
        format!("surgetank: cannot reach PostgreSQL at {endpoint}: {why}"),
    ))
}

/// Waits until the backend of a client that is gone has ended, since it keeps its slot until then.
/// One that goes on sending is hung up on, as it would have been by the client.
async fn see_out(server: &mut Stream) {
    if server.shutdown().await.is_err() {
        return;
    }
    // Not an array: it would be part of every session from its beginning.
    let mut scratch = vec![0; 4096];
    let mut seen = 0;
    while let Ok(count @ 1..) = server.read(&mut scratch).await {
        seen += count;
        if seen > LEFTOVER_MAX {
            return;
        }
    }
}

/// Lets everything pass and understands it.
struct Watch<'a> {
    conversation: Conversation,
    statements: Names,
    portals: Names,
    journal: Scribe,
    cancels: &'a Arc<cancel::Registry>,
    database: &'a Database,
    slot: Option<Slot>,
    /// What a client is told that binds SCRAM to our certificate, which is not the server's.
    unbindable: Option<Answer>,
    /// What a client is told once the server has let it in: that it may not come here.
    refusal: Option<Answer>,
    /// As long as the client may cancel.
    key: Option<PassedOn>,
    /// Whether the server has been ready for a query.
    is_logged_in: bool,
}

impl<'a> Watch<'a> {
    fn new(shared: &'a Shared, database: &'a Database, card: &Arc<Card>) -> Self {
        Self {
            conversation: Conversation::new(card.badge.session, card.badge.dyno),
            statements: Names::default(),
            portals: Names::default(),
            journal: Scribe::new(&shared.journal, card),
            cancels: &shared.cancels,
            database,
            slot: None,
            unbindable: None,
            refusal: None,
            key: None,
            is_logged_in: false,
        }
    }

    /// Records what was never answered.
    fn give_up(&mut self, outcome: Outcome) {
        while let Some(request) = self.conversation.give_up(outcome, self.journal.now()) {
            self.journal.request(request);
        }
    }

    fn note_client(&mut self, tag: u8, content: &[u8], now: Micros) {
        let times = Times::at(now);
        let conversation = &mut self.conversation;
        match tag {
            frontend::tag::QUERY => {
                let text = frontend::text_head(content);
                conversation.query(self.journal.read(text).fingerprint, times);
                self.journal.mind_trace(text);
            }
            frontend::tag::FUNCTION_CALL => conversation.function(times),
            frontend::tag::SYNC => conversation.sync(times),
            frontend::tag::FLUSH => conversation.extended(None, times),
            frontend::tag::COPY_DONE | frontend::tag::COPY_FAIL => conversation.copy_end(),
            frontend::tag::EXECUTE => {
                conversation.extended(Some(Expect::Execute), times);
                if let Ok(execute) = Execute::read(content) {
                    conversation.name(self.portals.get(execute.portal));
                }
            }
            frontend::tag::DESCRIBE => {
                conversation.extended(Some(Expect::Describe(Shown::Client)), times)
            }
            frontend::tag::PARSE => {
                conversation.extended(Some(Expect::Parse(None, Shown::Client)), times);
                self.parsed(content);
            }
            frontend::tag::BIND => {
                conversation.extended(Some(Expect::Bind), times);
                if let Some(head) = BindHead::read(content) {
                    let statement = self.statements.get(head.statement);
                    self.portals.set(head.portal, statement);
                    conversation.name(statement);
                }
            }
            frontend::tag::CLOSE => {
                conversation.extended(Some(Expect::Close(None, Shown::Client)), times);
                match Target::read(content) {
                    Ok(Target::Statement(name)) => self.statements.remove(name),
                    Ok(Target::Portal(name)) => self.portals.remove(name),
                    Err(_) => {}
                }
            }
            // Passwords, COPY data, the end.
            _ => {}
        }
    }

    /// A statement was prepared; of a long one only the beginning is in hand.
    fn parsed(&mut self, content: &[u8]) {
        let mut cursor = wire::cursor::Cursor::new(content);
        let Some(name) = cursor.text() else { return };
        let query = match Parse::read(content) {
            Ok(parse) => parse.query,
            Err(_) => frontend::text_head(cursor.rest()),
        };
        let statement = self.journal.read(query).fingerprint;
        self.journal.mind_trace(query);
        self.statements.set(name, statement);
        self.conversation.name(statement);
    }

    fn note_server(&mut self, tag: u8, message: &[u8], now: Micros) {
        let content = body(message);
        if tag == backend::tag::BACKEND_KEY_DATA
            && let Ok(key) = BackendKey::read(content)
        {
            let pid = BackendPid(key.pid);
            self.conversation.set_backend(pid);
            self.journal.card.holds(pid, now);
            self.key = Some(self.cancels.pass(&key, &self.database.upstream));
            self.slot = Some(Slot::open(&self.journal, pid, self.conversation.session()));
        }
        self.is_logged_in |= tag == backend::tag::READY_FOR_QUERY;
        // What was not expected passes all the same; only its record may be amiss.
        if let Ok(heard) = self.conversation.answered(tag, content, message.len(), now)
            && let Some(request) = heard.done
        {
            self.journal.request(request);
        }
    }
}

impl Judge for Watch<'_> {
    fn hear_client(
        &mut self,
        client: &mut Inbox,
        _to_server: &mut Outbox,
        _to_client: (&mut Inbox, &mut Outbox),
        now: Micros,
    ) -> Result<(), End> {
        let is_logged_in = self.is_logged_in;
        let want = |tag, total| client_want(is_logged_in, tag, total);
        let refuse = |error| End::dismissed(Answer::protocol(&error));
        while let Some(piece) = client.step(want).map_err(refuse)? {
            if piece.part.begins() {
                let content = body(client.peek(piece.len));
                if piece.tag == frontend::tag::PASSWORD
                    && SaslInitial::read(content).is_ok_and(|it| it.mechanism == MECHANISM_PLUS)
                    && let Some(answer) = self.unbindable.take()
                {
                    return Err(End::dismissed(answer));
                }
                self.note_client(piece.tag, content, now);
            }
            self.conversation.bytes_in(piece.len);
            client.pass(piece.len);
        }
        Ok(())
    }

    fn hear_server(
        &mut self,
        server: &mut Inbox,
        _to_client: &mut Outbox,
        now: Micros,
    ) -> Result<(), End> {
        loop {
            let passed = server.pass_run(|tag| self.conversation.is_bulk(tag));
            self.conversation.passed(passed, now);
            let Some(piece) = server.step(server_want).map_err(End::ServerBroken)? else { break };
            if piece.part.begins() {
                let message = server.peek(piece.len);
                if piece.tag == backend::tag::AUTHENTICATION
                    && Authentication::read(body(message)) == Ok(Authentication::Ok)
                    && let Some(answer) = self.refusal.take()
                {
                    server.step_back();
                    server.forget_unjudged();
                    return Err(End::dismissed(answer));
                }
                self.note_server(piece.tag, message, now);
            } else {
                self.conversation.bytes_out(piece.len);
            }
            server.pass(piece.len);
        }
        Ok(())
    }

    fn is_done(&mut self, _to_server: &mut Outbox) -> bool {
        false
    }

    /// The server connection is this client's own.
    fn may_repeat(&self) -> bool {
        false
    }

    fn client_ended(&self) -> ClientEnd {
        ClientEnd::Passes
    }
}

/// How much of a client's message must be in hand. Where nothing of it is read it passes as it
/// comes: a message that the server refuses by its kind must not wait here for its end.
fn client_want(is_logged_in: bool, message: u8, total: usize) -> usize {
    use frontend::tag;
    match (message, is_logged_in) {
        (tag::PASSWORD, false) => total.min(HEAD),
        (tag::BIND, true) => total.min(frontend::BIND_HEAD),
        (tag::QUERY | tag::PARSE | tag::EXECUTE | tag::CLOSE, true) => total.min(HEAD),
        _ => HEADER,
    }
}

/// How much of a server's message must be in hand: rows and descriptions pass unread.
pub(crate) fn server_want(tag: u8, total: usize) -> usize {
    match tag {
        backend::tag::DATA_ROW
        | backend::tag::COPY_DATA
        | backend::tag::ROW_DESCRIPTION
        | backend::tag::PARAMETER_DESCRIPTION => HEADER,
        _ => total.min(4096),
    }
}
