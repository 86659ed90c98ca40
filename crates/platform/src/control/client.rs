//! The asking side of the control socket.

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::orders::PROTOCOL;
use super::{LogsOrder, MaintenanceMode, Refusal, RestartOrder, RunOrder, ScaleOrder, Scaled};
use crate::dyno::DynoInfo;
use crate::error::{Error, Result};
use crate::name::DynoName;
use crate::run::RunComparison;

/// Talks to a running platform. Each call has a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// A client of the platform that serves this socket.
    ///
    /// # Errors
    /// Nobody serves it.
    pub async fn connect(path: &Path) -> Result<Self> {
        Self::find(&[path.to_owned()]).await
    }

    /// A client of the first of these sockets (see [`super::candidates`]) that is served.
    ///
    /// # Errors
    /// None is.
    pub async fn find(paths: &[PathBuf]) -> Result<Self> {
        for path in paths {
            if UnixStream::connect(path).await.is_ok() {
                return Ok(Self { path: path.clone() });
            }
        }
        Err(Error::NotRunning { path: paths.first().cloned().unwrap_or_default() })
    }

    /// What the platform says of itself.
    ///
    /// # Errors
    /// The platform has gone.
    pub async fn info(&self) -> Result<serde_json::Value> {
        self.ask(Method::GET, "/info", &()).await
    }

    /// All dynos.
    ///
    /// # Errors
    /// The platform has gone.
    pub async fn ps(&self) -> Result<Vec<DynoInfo>> {
        self.ask(Method::GET, "/ps", &()).await
    }

    /// Changes the formation; returns the new one.
    ///
    /// # Errors
    /// The changes are wrong, or the platform has gone.
    pub async fn scale(&self, changes: &str) -> Result<String> {
        let order = ScaleOrder { changes: changes.to_owned() };
        let scaled: Scaled = self.ask(Method::POST, "/scale", &order).await?;
        Ok(scaled.formation)
    }

    /// Restarts a dyno, a type, or with an empty target all; returns which.
    ///
    /// # Errors
    /// No such dyno, or the platform has gone.
    pub async fn restart(&self, target: &str) -> Result<Vec<DynoName>> {
        let order = RestartOrder { target: target.to_owned() };
        self.ask(Method::POST, "/restart", &order).await
    }

    /// Whether the router is in maintenance mode.
    ///
    /// # Errors
    /// There is no router, or the platform has gone.
    pub async fn maintenance(&self) -> Result<bool> {
        let mode: MaintenanceMode = self.ask(Method::GET, "/maintenance", &()).await?;
        Ok(mode.on)
    }

    /// Turns the router's maintenance mode on or off.
    ///
    /// # Errors
    /// There is no router, or the platform has gone.
    pub async fn set_maintenance(&self, on: bool) -> Result<()> {
        let order = MaintenanceMode { on };
        let _now: MaintenanceMode = self.ask(Method::POST, "/maintenance", &order).await?;
        Ok(())
    }

    /// Runs a command in several dynos at the same time. Dropping the future ends the commands.
    ///
    /// # Errors
    /// No such dyno, or the platform has gone.
    pub async fn run_compare(&self, order: &RunOrder) -> Result<RunComparison> {
        self.ask(Method::POST, "/run", order).await
    }

    /// Lines of the log.
    ///
    /// # Errors
    /// The platform has gone.
    pub async fn logs(&self, order: &LogsOrder) -> Result<LogLines> {
        let Conversation { response, driver } = self.send(Method::POST, "/logs", order).await?;
        let body = response.into_body();
        Ok(LogLines { body, pending: BytesMut::new(), _driver: driver })
    }

    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        order: &impl Serialize,
    ) -> Result<T> {
        // The driver must live until the body is read.
        let Conversation { response, driver: _driver } = self.send(method, path, order).await?;
        let bytes = response.into_body().collect().await.map_err(broken)?.to_bytes();
        serde_json::from_slice(&bytes).map_err(broken)
    }

    /// Sends an order, and returns an answer that is no refusal.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        order: &impl Serialize,
    ) -> Result<Conversation> {
        let gone = |_| Error::NotRunning { path: self.path.clone() };
        let stream = UnixStream::connect(&self.path).await.map_err(gone)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // What breaks here is seen by whoever waits for the answer.
            let _broken = connection.with_upgrades().await;
        });
        let order = serde_json::to_vec(order).map_err(broken)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "surgetank")
            .body(Full::new(Bytes::from(order)));
        let mut request = request.map_err(broken)?;
        if path == "/attach" {
            let headers = request.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
        }
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Conversation { response, driver });
        }
        let bytes = response.into_body().collect().await.map_err(broken)?.to_bytes();
        let refusal: Refusal = serde_json::from_slice(&bytes).map_err(broken)?;
        Err(Error::Refused(refusal.error))
    }
}

/// An answer, and the task that reads it from the socket.
pub(super) struct Conversation {
    pub(super) response: Response<Incoming>,
    pub(super) driver: JoinSet<()>,
}

pub(super) fn broken(error: impl std::error::Error) -> Error {
    Error::ControlBroken(error.to_string())
}

/// Lines of the log as they come.
#[derive(Debug)]
pub struct LogLines {
    body: Incoming,
    pending: BytesMut,
    _driver: JoinSet<()>,
}

impl LogLines {
    /// The next line without its line feed; `None` after the last. Cancellation safe.
    ///
    /// # Errors
    /// The platform went away.
    pub async fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line = self.pending.split_to(end + 1);
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                self.pending.extend_from_slice(&data);
            }
        }
    }
}
