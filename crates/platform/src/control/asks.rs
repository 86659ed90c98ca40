//! What a client of the control socket asks about config vars, releases and one-off dynos.

use bytes::BytesMut;
use hyper::Method;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::task::JoinSet;

use super::client::{Client, Conversation, broken};
use super::orders::{ConfigOrder, DYNO, Detached, DrainOrder, Released, RollbackOrder};
use crate::drains::Drain;
use crate::error::{Error, Result};
use crate::name::DynoName;
use crate::one_off::{Input, OneOff, Output, frames};
use crate::release::{ConfigChanges, ConfigVars, Release, ReleaseInfo};

impl Client {
    /// The config vars that are live.
    ///
    /// # Errors
    /// The platform has gone.
    pub async fn config(&self) -> Result<ConfigVars> {
        self.ask(Method::GET, "/config", &()).await
    }

    /// Sets and removes config vars; the number of the release that this made, if anything was
    /// changed.
    ///
    /// # Errors
    /// A name or value is wrong, the `release` process failed, or the platform has gone.
    pub async fn set_config(&self, changes: ConfigChanges) -> Result<Option<u64>> {
        let order = ConfigOrder { changes };
        let released: Released = self.ask(Method::POST, "/config", &order).await?;
        Ok(released.version)
    }

    /// All releases, newest first.
    ///
    /// # Errors
    /// The platform has gone.
    pub async fn releases(&self) -> Result<Vec<ReleaseInfo>> {
        self.ask(Method::GET, "/releases", &()).await
    }

    /// One release with its config vars.
    ///
    /// # Errors
    /// There is no such one, or the platform has gone.
    pub async fn release(&self, version: u64) -> Result<Release> {
        self.ask(Method::GET, &format!("/releases/{version}"), &()).await
    }

    /// Rolls back, to the release before the current one if none is named; the number of the new
    /// release.
    ///
    /// # Errors
    /// There is no such release, its `release` process failed, or the platform has gone.
    pub async fn rollback(&self, version: Option<u64>) -> Result<u64> {
        let order = RollbackOrder { version };
        let released: Released = self.ask(Method::POST, "/rollback", &order).await?;
        released.version.ok_or_else(|| Error::ControlBroken("no release".to_owned()))
    }

    /// Releases the app's folder as it is now; the number of the new release.
    ///
    /// # Errors
    /// The Procfile is wrong, its `release` process failed, or the platform has gone.
    pub async fn deploy(&self) -> Result<u64> {
        let released: Released = self.ask(Method::POST, "/release", &()).await?;
        released.version.ok_or_else(|| Error::ControlBroken("no release".to_owned()))
    }

    /// The log drains.
    ///
    /// # Errors
    /// The platform has gone.
    pub async fn drains(&self) -> Result<Vec<Drain>> {
        self.ask(Method::GET, "/drains", &()).await
    }

    /// Adds a log drain.
    ///
    /// # Errors
    /// The URL cannot be used, or the platform has gone.
    pub async fn add_drain(&self, url: &str) -> Result<Drain> {
        self.ask(Method::POST, "/drains", &DrainOrder { url: url.to_owned() }).await
    }

    /// Removes a log drain, named by its URL or token.
    ///
    /// # Errors
    /// There is no such one, or the platform has gone.
    pub async fn remove_drain(&self, named: &str) -> Result<Drain> {
        self.ask(Method::POST, "/drains/remove", &DrainOrder { url: named.to_owned() }).await
    }

    /// Starts a one-off dyno whose output goes to the log.
    ///
    /// # Errors
    /// Too many of them, or the platform has gone.
    pub async fn run_detached(&self, order: &OneOff) -> Result<DynoName> {
        let detached: Detached = self.ask(Method::POST, "/detached", order).await?;
        Ok(detached.dyno)
    }

    /// Starts a one-off dyno and attaches to it. Dropping both halves hangs up.
    ///
    /// # Errors
    /// Too many of them, or the platform has gone.
    pub async fn run_attached(&self, order: &OneOff) -> Result<Attached> {
        let Conversation { response, driver } = self.send(Method::POST, "/attach", order).await?;
        let name = response.headers().get(DYNO).and_then(|name| name.to_str().ok());
        let dyno = name.unwrap_or_default().parse()?;
        let connection = hyper::upgrade::on(response).await.map_err(broken)?;
        let (reader, writer) = tokio::io::split(TokioIo::new(connection));
        let screen = Screen { reader, pending: BytesMut::new(), _driver: driver };
        Ok(Attached { dyno, keyboard: Keyboard { writer }, screen })
    }
}

/// A one-off dyno we are attached to.
#[derive(Debug)]
pub struct Attached {
    /// Its name.
    pub dyno: DynoName,
    /// What it reads.
    pub keyboard: Keyboard,
    /// What it writes.
    pub screen: Screen,
}

/// The half on which one types.
#[derive(Debug)]
pub struct Keyboard {
    writer: WriteHalf<TokioIo<Upgraded>>,
}

impl Keyboard {
    /// Says something to the process.
    ///
    /// # Errors
    /// The platform has gone, or the process has ended.
    pub async fn say(&mut self, input: &Input) -> Result<()> {
        self.writer.write_all(&frames::encode(input)).await.map_err(broken)
    }
}

/// The half that shows.
#[derive(Debug)]
pub struct Screen {
    reader: ReadHalf<TokioIo<Upgraded>>,
    pending: BytesMut,
    _driver: JoinSet<()>,
}

impl Screen {
    /// What comes next; `None` when the platform has gone.
    ///
    /// # Errors
    /// The connection broke off, or the other side speaks something else.
    pub async fn next(&mut self) -> Result<Option<Output>> {
        loop {
            if let Some(output) = frames::decode(&mut self.pending).map_err(broken)? {
                return Ok(Some(output));
            }
            if self.reader.read_buf(&mut self.pending).await.map_err(broken)? == 0 {
                return Ok(None);
            }
        }
    }
}
