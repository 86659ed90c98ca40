//! One admin's session: messages in, commands done, messages out.

use std::collections::HashMap;

use tokio_util::sync::CancellationToken;
use trace::SqlState;
use wire::backend::{self, Report, tag as reply};
use wire::cursor::Cursor;
use wire::frame::{HEADER, body};
use wire::frontend::{self, Execute, Parse, Target, tag};

use super::Rank;
use super::command::{Command, Show};
use super::show;
use super::table::{Format, Formats, Table, message};
use crate::answer::Answer;
use crate::client::Client;
use crate::control::Control;

/// Longest message: commands are short.
const MESSAGE_MAX: usize = 8192;

/// Statements and portals that one session may have.
const NAMES_MAX: usize = 1000;

/// What a command leads to.
enum Done {
    /// A table, and the tag after it.
    Table(Table),
    /// Only a tag.
    Tag(String),
    /// Nothing was asked.
    Nothing,
}

/// A portal.
#[derive(Clone, Default)]
struct Portal {
    text: String,
    formats: Formats,
}

/// An admin's session.
pub(super) struct Session {
    client: Client,
    control: Control,
    rank: Rank,
    statements: HashMap<Box<[u8]>, String>,
    portals: HashMap<Box<[u8]>, Portal>,
    /// A message of the extended protocol failed: all is skipped up to the Sync.
    skipping: bool,
}

/// Why a session ends.
enum Over {
    /// The client left, or said goodbye.
    Gone,
    /// It is told this.
    With(Answer),
}

impl From<wire::Error> for Over {
    fn from(error: wire::Error) -> Self {
        Self::With(Answer::protocol(&error))
    }
}

impl Session {
    pub(super) fn new(client: Client, control: Control, rank: Rank) -> Self {
        Self {
            client,
            control,
            rank,
            statements: HashMap::new(),
            portals: HashMap::new(),
            skipping: false,
        }
    }

    /// Serves the client until it leaves or the proxy ends.
    pub(super) async fn run(mut self, kill: &CancellationToken) {
        let over = tokio::select! {
            biased;
            over = self.talk() => over,
            () = kill.cancelled() => Over::With(Answer::shutting_down()),
        };
        match over {
            Over::With(answer) => self.client.dismiss(&answer).await,
            Over::Gone => self.client.part().await,
        }
    }

    async fn talk(&mut self) -> Over {
        loop {
            if let Err(over) = self.hear().await {
                return over;
            }
            if !self.client.listen().await {
                return Over::Gone;
            }
        }
    }

    /// Does all that is in hand.
    async fn hear(&mut self) -> Result<(), Over> {
        // One that is too long is not awaited.
        let want = |_, total| if total > MESSAGE_MAX { HEADER } else { total };
        while let Some(piece) = self.client.inbox.step(want)? {
            if piece.total > MESSAGE_MAX {
                let text = "surgetank: a message too long for the admin database";
                return Err(Over::With(Answer::new(SqlState::PROTOCOL_VIOLATION, text)));
            }
            let whole = self.client.inbox.peek(piece.len).to_vec();
            self.client.inbox.discard(piece.len);
            self.message(piece.tag, body(&whole)).await?;
        }
        Ok(())
    }

    async fn message(&mut self, kind: u8, content: &[u8]) -> Result<(), Over> {
        match kind {
            tag::TERMINATE => return Err(Over::Gone),
            tag::SYNC => {
                self.skipping = false;
                backend::put_ready(self.client.outbox.bytes(), b'I');
            }
            tag::FLUSH => {}
            _ if self.skipping => {}
            tag::QUERY => {
                let text = String::from_utf8_lossy(frontend::text(content)?).into_owned();
                self.query(&text).await?;
            }
            tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE => {
                if let Err(text) = self.extended(kind, content).await? {
                    self.skipping = true;
                    self.complain(&text);
                }
            }
            _ => {
                let text = "surgetank: the admin database does not know this message";
                return Err(Over::With(Answer::new(SqlState::PROTOCOL_VIOLATION, text)));
            }
        }
        Ok(())
    }

    async fn query(&mut self, text: &str) -> Result<(), Over> {
        let done = self.command(text).await?;
        let out = self.client.outbox.bytes();
        match done {
            Ok(Done::Table(table)) => {
                table.put_description(out, &Formats::default());
                table.put_rows(out, &Formats::default());
                backend::put_command_complete(out, b"SHOW");
            }
            Ok(Done::Tag(tag)) => backend::put_command_complete(out, tag.as_bytes()),
            Ok(Done::Nothing) => backend::put_bare(out, reply::EMPTY_QUERY_RESPONSE),
            Err(text) => self.complain(&text),
        }
        backend::put_ready(self.client.outbox.bytes(), b'I');
        Ok(())
    }

    /// One message of the extended protocol; what is wrong is said in words.
    async fn extended(&mut self, kind: u8, content: &[u8]) -> Result<Result<(), String>, Over> {
        match kind {
            tag::PARSE => {
                let parse = Parse::read(content)?;
                let text = String::from_utf8_lossy(parse.query).into_owned();
                if let Err(text) = Command::read(&text) {
                    return Ok(Err(text));
                }
                if self.statements.len() >= NAMES_MAX {
                    return Ok(Err("too many prepared statements".to_owned()));
                }
                self.statements.insert(parse.name.into(), text);
                self.answer(reply::PARSE_COMPLETE);
            }
            tag::BIND => {
                let Some((portal, statement, formats)) = read_bind(content) else {
                    return Ok(Err("commands take no parameters".to_owned()));
                };
                let Some(text) = self.statements.get(statement).cloned() else {
                    return Ok(Err("no such prepared statement".to_owned()));
                };
                if self.portals.len() >= NAMES_MAX {
                    self.portals.clear();
                }
                self.portals.insert(portal.into(), Portal { text, formats });
                self.answer(reply::BIND_COMPLETE);
            }
            tag::DESCRIBE => return Ok(self.describe(Target::read(content)?)),
            tag::EXECUTE => {
                let execute = Execute::read(content)?;
                let Some(portal) = self.portals.get(execute.portal).cloned() else {
                    return Ok(Err("no such portal".to_owned()));
                };
                let done = match self.command(&portal.text).await? {
                    Ok(done) => done,
                    Err(text) => return Ok(Err(text)),
                };
                let out = self.client.outbox.bytes();
                match done {
                    Done::Table(table) => {
                        table.put_rows(out, &portal.formats);
                        backend::put_command_complete(out, b"SHOW");
                    }
                    Done::Tag(tag) => backend::put_command_complete(out, tag.as_bytes()),
                    Done::Nothing => backend::put_bare(out, reply::EMPTY_QUERY_RESPONSE),
                }
            }
            _ => {
                match Target::read(content)? {
                    Target::Statement(name) => drop(self.statements.remove(name)),
                    Target::Portal(name) => drop(self.portals.remove(name)),
                }
                self.answer(reply::CLOSE_COMPLETE);
            }
        }
        Ok(Ok(()))
    }

    fn answer(&mut self, tag: u8) {
        backend::put_bare(self.client.outbox.bytes(), tag);
    }

    fn describe(&mut self, target: Target<'_>) -> Result<(), String> {
        let (text, formats) = match target {
            Target::Statement(name) => {
                let text = self.statements.get(name).ok_or("no such prepared statement")?;
                (text.clone(), Formats::default())
            }
            Target::Portal(name) => {
                let portal = self.portals.get(name).ok_or("no such portal")?;
                (portal.text.clone(), portal.formats.clone())
            }
        };
        let command = Command::read(&text)?;
        let table = match command {
            Command::Show(what) => Some(self.show(what)),
            _ => None,
        };
        let out = self.client.outbox.bytes();
        if matches!(target, Target::Statement(_)) {
            message(out, reply::PARAMETER_DESCRIPTION, |out| out.extend_from_slice(&[0, 0]));
        }
        match table {
            Some(table) => table.put_description(out, &formats),
            None => backend::put_bare(out, reply::NO_DATA),
        }
        Ok(())
    }

    fn show(&self, what: Show) -> Table {
        show::table(what, &self.control.look(), &self.control.config())
    }

    fn complain(&mut self, text: &str) {
        let out = self.client.outbox.bytes();
        Report {
            severity: b"ERROR",
            code: SqlState::PROTOCOL_VIOLATION.as_str().as_bytes(),
            message: text.as_bytes(),
            hint: b"",
            routine: b"",
        }
        .put_error(out);
    }

    /// Does a command, which may take long; a client that leaves meanwhile calls it off.
    async fn command(&mut self, text: &str) -> Result<Result<Done, String>, Over> {
        let command = match Command::read(text) {
            Ok(command) => command,
            Err(text) => return Ok(Err(text)),
        };
        if self.rank != Rank::Admin && !command.only_looks() {
            return Ok(Err("admin access needed".to_owned()));
        }
        if let Command::Show(what) = command {
            return Ok(Ok(Done::Table(self.show(what))));
        }
        let control = self.control.clone();
        let work = perform(command, &control);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                alive = self.client.listen() => if !alive {
                    return Err(Over::Gone);
                },
            }
        }
    }
}

/// Does what a command says; gives the tag to answer with.
async fn perform(command: Command, control: &Control) -> Result<Done, String> {
    let tag = match command {
        Command::Empty => return Ok(Done::Nothing),
        // Shown where it was read.
        Command::Show(_) => return Ok(Done::Nothing),
        Command::SetForDriver => Ok("SET".to_owned()),
        Command::Pause(name) => control.pause(name.as_deref()).await.map(|()| "PAUSE".to_owned()),
        Command::Resume(name) => control.resume(name.as_deref()).map(|()| "RESUME".to_owned()),
        Command::Reconnect(name) => {
            control.reconnect(name.as_deref()).await.map(|()| "RECONNECT".to_owned())
        }
        Command::WaitClose(name) => {
            control.wait_close(name.as_deref()).await.map(|()| "WAIT_CLOSE".to_owned())
        }
        Command::Kill(name) => control.kill(name.as_deref()).await.map(|()| "KILL".to_owned()),
        Command::KillClient(id) => control.kill_client(id).map(|()| "KILL_CLIENT".to_owned()),
        Command::Disable(name) => control.disable(&name, true).map(|()| "DISABLE".to_owned()),
        Command::Enable(name) => control.disable(&name, false).map(|()| "ENABLE".to_owned()),
        Command::Reload => control.order_reload().await.map(|()| "RELOAD".to_owned()),
        Command::Shutdown(ending) => control.order_shutdown(ending).map(|()| "SHUTDOWN".to_owned()),
        Command::Set(key, value) => {
            control.set(&key, &value).await.map(|()| format!("SET {key}={value}"))
        }
    };
    tag.map(Done::Tag).map_err(|refused| refused.to_string())
}

/// Portal, statement and result formats of a `Bind` without parameters.
fn read_bind(content: &[u8]) -> Option<(&[u8], &[u8], Formats)> {
    let mut cursor = Cursor::new(content);
    let (portal, statement) = (cursor.text()?, cursor.text()?);
    for _ in 0..cursor.i16()? {
        cursor.i16()?;
    }
    if cursor.i16()? != 0 {
        return None;
    }
    let count = cursor.i16()?;
    let format = |code| if code == 1 { Format::Binary } else { Format::Text };
    let formats: Option<Vec<Format>> = (0..count).map(|_| cursor.i16().map(format)).collect();
    Some((portal, statement, Formats(formats?)))
}
