//! Asking the server about a user (`auth_query`).

use std::sync::Arc;
use std::time::Duration;

use trace::{SessionId, SqlState};
use wire::backend::{Report, tag};
use wire::cursor::Cursor;
use wire::frame::{body, put, put_text};
use wire::frontend::{self, Execute, Parse};

use crate::Database;
use crate::access::{Access, AuthQuery, Credential, Doorman, Person, Secret, Word};
use crate::answer::Answer;
use crate::authenticate::Stopped;
use crate::backend::{Backend, OpenError, Opening};
use crate::journal::Journal;
use crate::pool::Key;
use crate::settings;
use crate::timer::timeout;

/// The server has no such database (`invalid_catalog_name`).
const NO_DATABASE: SqlState = SqlState(*b"3D000");

/// Where is asked, and for whom.
pub(crate) struct Lookup<'a> {
    pub(crate) database: &'a Database,
    /// The server's name for it, unless query or configuration have another.
    pub(crate) name: &'a [u8],
    /// The secret of the database's URL, if it has one.
    pub(crate) own: Option<Arc<Secret>>,
    pub(crate) connect_timeout: Duration,
    pub(crate) settings: &'a settings::Registry,
    pub(crate) doorman: &'a Doorman,
    pub(crate) journal: &'a Arc<Journal>,
    pub(crate) worker: usize,
    pub(crate) session: SessionId,
}

impl Lookup<'_> {
    /// What the server says about a user; from memory if it was asked about this person not long
    /// ago.
    pub(crate) async fn ask(
        &self,
        access: &Access,
        query: &AuthQuery,
        person: Person,
    ) -> Result<Word, Stopped> {
        let Self { doorman, journal, .. } = self;
        if let Some(word) = doorman.known(&person, journal.now()) {
            return Ok(word);
        }
        // Never closed.
        let _turn = doorman.questions.acquire().await.map_err(|_| Stopped::Gone)?;
        if let Some(word) = doorman.known(&person, journal.now()) {
            return Ok(word);
        }
        let asked = self.ask_server(access, query, &person.0);
        let asked = Box::pin(asked).await;
        if let Err(OpenError::Refused(NO_DATABASE, _)) = asked {
            // Asked in the client's database, which there is not. It is not told so: as with one
            // that is not configured, nobody is known there.
            return Ok(None);
        }
        let word = asked.map_err(|error| {
            let (OpenError::Refused(_, text)
            | OpenError::Unreachable(text)
            | OpenError::Impossible(text)) = &error;
            tracing::warn!(user = query.user, error = text, "auth_query");
            Stopped::refused(Answer::new(
                SqlState::CONNECTION_FAILURE,
                format!("surgetank: cannot ask the server about users (auth_query): {text}"),
            ))
        })?;
        doorman.learn(person, word.clone(), journal.now());
        Ok(word)
    }

    async fn ask_server(
        &self,
        access: &Access,
        query: &AuthQuery,
        user: &[u8],
    ) -> Result<Word, OpenError> {
        let Self { database: configured, own, connect_timeout, .. } = self;
        let upstream = &configured.upstream;
        let is_own = upstream.user() == Some(query.user.as_str());
        let own = own.as_ref().filter(|_| is_own);
        let secret = own.or_else(|| access.users.find(query.user.as_bytes()));
        let credential = secret.map_or(Credential::None, |secret| Credential::of(secret));
        let renamed = configured.server_name.as_deref().map(str::as_bytes);
        let asked = query.database.as_deref().map(str::as_bytes).or(renamed).unwrap_or(self.name);
        let key = Key {
            database: asked.into(),
            user: query.user.as_bytes().into(),
            parameters: Vec::new(),
        };
        let opening = Opening {
            upstream,
            credential: &credential,
            limit: *connect_timeout,
            key: &Arc::new(key),
            worker: self.worker,
            session: self.session,
            journal: self.journal,
            settings: self.settings,
        };
        let mut backend = Backend::open(opening).await?;
        let answer = timeout(*connect_timeout, run(&mut backend, &query.text, user)).await;
        backend.close().await;
        answer.unwrap_or_else(|_| Err(OpenError::Unreachable("no answer in time".to_owned())))
    }
}

/// Runs the query with the user's name as its parameter, which no name can break out of.
async fn run(backend: &mut Backend, text: &str, user: &[u8]) -> Result<Word, OpenError> {
    let mut messages = Vec::new();
    // The parameter is left to the server to type: PgBouncer's query compares with a `name`.
    Parse { name: b"", query: text.as_bytes(), types: &[0, 0] }.put(&mut messages);
    put(&mut messages, frontend::tag::BIND, |out| {
        put_text(out, b"");
        put_text(out, b"");
        // Formats: none given, so text; one parameter; results in text.
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(&u32::try_from(user.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(user);
        out.extend_from_slice(&[0, 0]);
    });
    Execute { portal: b"", max_rows: 2 }.put(&mut messages);
    frontend::put_bare(&mut messages, frontend::tag::SYNC);
    backend.send(&messages).await?;
    let mut word = Ok(None);
    loop {
        let message = backend.receive().await?;
        match message.first() {
            Some(&tag::DATA_ROW) => {
                word = word.and_then(|word| row(Option::as_ref(&word), body(&message)))
            }
            Some(&tag::ERROR_RESPONSE) => {
                let report = Report::read(body(&message));
                let code =
                    SqlState::from_bytes(report.code).unwrap_or(SqlState::CONNECTION_FAILURE);
                let text = String::from_utf8_lossy(report.message).into_owned();
                word = Err(OpenError::Refused(code, text));
            }
            Some(&tag::READY_FOR_QUERY) => return word,
            _ => {}
        }
    }
}

/// Takes a row: name and secret.
fn row(before: Option<&Arc<Secret>>, body: &[u8]) -> Result<Word, OpenError> {
    let wrong = |why: &str| OpenError::Impossible(why.to_owned());
    if before.is_some() {
        return Err(wrong("it gives more than one row"));
    }
    let mut cursor = Cursor::new(body);
    let columns = cursor.i16().unwrap_or(0);
    let mut column = || {
        let length = usize::try_from(cursor.i32()?).ok();
        Some(length.and_then(|length| cursor.bytes(length)))
    };
    let (Some(_name), Some(secret), true) = (column(), column(), columns >= 2) else {
        return Err(wrong("it does not give two columns, name and secret"));
    };
    let secret = String::from_utf8_lossy(secret.unwrap_or_default());
    let secret = Secret::read(&secret).ok_or_else(|| wrong("the SCRAM verifier is broken"))?;
    Ok(Some(Arc::new(secret)))
}
