//! Asking the server about a user (`auth_query`).

use std::sync::Arc;

use trace::SqlState;
use wire::backend::{Report, tag};
use wire::cursor::Cursor;
use wire::frame::{body, put, put_text};
use wire::frontend::{self, Execute, Parse};

use super::Session;
use crate::access::{Access, AuthQuery, Credential, Person, Secret, Word};
use crate::answer::Answer;
use crate::authenticate::Stopped;
use crate::backend::{Backend, OpenError, Opening};
use crate::pool::Key;
use crate::timer::timeout;

impl Session {
    /// What the server says about a user; from memory if it was asked not long ago.
    pub(super) async fn ask(
        &self,
        access: &Access,
        query: &AuthQuery,
        user: &[u8],
        database: &[u8],
    ) -> Result<Word, Stopped> {
        let house = &self.house;
        let person: Person = (user.into(), database.into());
        if let Some(word) = house.doorman.known(&person, house.journal.now()) {
            return Ok(word);
        }
        // Never closed.
        let _turn = house.doorman.questions.acquire().await.map_err(|_| Stopped::Gone)?;
        if let Some(word) = house.doorman.known(&person, house.journal.now()) {
            return Ok(word);
        }
        let asked = self.ask_server(access, query, user, database);
        let word = Box::pin(asked).await.map_err(|error| {
            let (OpenError::Refused(_, text)
            | OpenError::Unreachable(text)
            | OpenError::Impossible(text)) = &error;
            tracing::warn!(user = query.user, error = text, "auth_query");
            Stopped::refused(Answer::new(
                SqlState::CONNECTION_FAILURE,
                format!("surgetank: cannot ask the server about users (auth_query): {text}"),
            ))
        })?;
        house.doorman.learn(person, word.clone(), house.journal.now());
        Ok(word)
    }

    async fn ask_server(
        &self,
        access: &Access,
        query: &AuthQuery,
        user: &[u8],
        database: &[u8],
    ) -> Result<Word, OpenError> {
        let house = &self.house;
        let configured = house.database();
        let upstream = &configured.upstream;
        let is_own = upstream.user() == Some(query.user.as_str());
        let own = house.own().filter(|_| is_own);
        let secret = own.as_ref().or_else(|| access.users.find(query.user.as_bytes()));
        let credential = secret.map_or(Credential::None, |secret| Credential::of(secret));
        let renamed = configured.server_name.as_deref().map(str::as_bytes);
        let asked = query.database.as_deref().map(str::as_bytes).or(renamed).unwrap_or(database);
        let key = Key {
            database: asked.into(),
            user: query.user.as_bytes().into(),
            parameters: Vec::new(),
        };
        let opening = Opening {
            upstream,
            credential: &credential,
            limit: house.connect_timeout(),
            key: &Arc::new(key),
            worker: self.worker,
            session: self.talk.who().0,
            journal: &house.journal,
            settings: &house.settings,
        };
        let mut backend = Backend::open(opening).await?;
        let answer = timeout(house.connect_timeout(), run(&mut backend, &query.text, user)).await;
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
