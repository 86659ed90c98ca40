//! Orders and answers of the control socket that concern config vars, releases and one-off dynos,
//! and what the serving side does with them.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::Controlled;
use super::server::{Answered, Desk, Reply, json, read, refused};
use crate::name::DynoName;
use crate::one_off::{Input, Line, OneOff, Output, frames};
use crate::release::ConfigChanges;

/// Pieces of input or output between an attached process and the connection.
const PIECES_AHEAD: usize = 64;
/// Over this the client and the process speak in frames.
pub(super) const PROTOCOL: &str = "surgetank-attach";
/// Which dyno the answer is about.
pub(super) const DYNO: &str = "dyno";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigOrder {
    pub(super) changes: ConfigChanges,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackOrder {
    pub(super) version: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainOrder {
    pub(super) url: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Released {
    pub(super) version: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Detached {
    pub(super) dyno: DynoName,
}

/// Answers what is asked here; `None` for everything else, with the request back.
pub(super) async fn answer<C: Controlled>(
    desk: &Arc<Desk<C>>,
    request: Request<Incoming>,
) -> Result<Answered, Request<Incoming>> {
    let platform = desk.controlled.platform();
    let releases = &platform.releases;
    let answered = match (request.method(), request.uri().path()) {
        (&Method::GET, "/config") => json(&releases.config_vars()),
        (&Method::GET, "/releases") => json(&releases.infos()),
        (&Method::POST, "/config") => match read::<ConfigOrder>(request.into_body()).await {
            Ok(order) => released(releases.set_config(order.changes).await),
            Err(wrong) => Err(wrong),
        },
        (&Method::POST, "/rollback") => match read::<RollbackOrder>(request.into_body()).await {
            Ok(order) => released(releases.rollback(order.version).await.map(Some)),
            Err(wrong) => Err(wrong),
        },
        (&Method::POST, "/release") => released(releases.deploy().await.map(Some)),
        (&Method::POST, "/detached") => match read::<OneOff>(request.into_body()).await {
            Ok(order) => match platform.one_offs.detached(&order) {
                Ok(dyno) => json(&Detached { dyno }),
                Err(error) => Err(refused(&error)),
            },
            Err(wrong) => Err(wrong),
        },
        (&Method::GET, "/drains") => json(&platform.drains.list()),
        (&Method::POST, path @ ("/drains" | "/drains/remove")) => {
            let add = path == "/drains";
            match read::<DrainOrder>(request.into_body()).await {
                Ok(DrainOrder { url }) if add => drained(platform.drains.add(&url)),
                Ok(DrainOrder { url }) => drained(platform.drains.remove(&url)),
                Err(wrong) => Err(wrong),
            }
        }
        (&Method::POST, "/attach") => attach(desk, request).await,
        (&Method::GET, path) => match path.strip_prefix("/releases/").map(str::parse) {
            Some(Ok(version)) => match releases.release(version) {
                Ok(release) => json(&release),
                Err(error) => Err(refused(&error)),
            },
            _ => return Err(request),
        },
        _ => return Err(request),
    };
    Ok(answered)
}

fn drained(changed: crate::error::Result<crate::drains::Drain>) -> Answered {
    match changed {
        Ok(drain) => json(&drain),
        Err(error) => Err(refused(&error)),
    }
}

fn released(made: crate::error::Result<Option<crate::release::Release>>) -> Answered {
    match made {
        Ok(release) => json(&Released { version: release.map(|release| release.version) }),
        Err(error) => Err(refused(&error)),
    }
}

/// Starts an attached one-off dyno, and hands the connection over to it.
async fn attach<C: Controlled>(desk: &Arc<Desk<C>>, mut request: Request<Incoming>) -> Answered {
    let upgrade = hyper::upgrade::on(&mut request);
    let order: OneOff = read(request.into_body()).await?;
    let one_offs = &desk.controlled.platform().one_offs;
    let awaiting = one_offs.attached(&order).map_err(|error| refused(&error))?;
    let name = awaiting.name.to_string();
    let closing = desk.closing.clone();
    desk.tasks.spawn(async move {
        // A client that does not go on is one that never attached: R13.
        let Ok(connection) = upgrade.await else { return };
        let (to_process, input) = mpsc::channel(PIECES_AHEAD);
        let (output, from_process) = mpsc::channel(PIECES_AHEAD);
        if awaiting.attach.send(Line { input, output }).is_ok() {
            tokio::select! {
                () = pass(connection, to_process, from_process) => {}
                () = closing.cancelled() => {}
            }
        }
    });
    let mut response = Response::new(Reply::Whole(Full::default()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, header::HeaderValue::from_static(PROTOCOL));
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
    if let Ok(name) = header::HeaderValue::try_from(name) {
        headers.insert(DYNO, name);
    }
    Ok(response)
}

/// Passes frames both ways until the process has ended or the client has gone.
async fn pass(
    connection: Upgraded,
    to_process: mpsc::Sender<Input>,
    mut from_process: mpsc::Receiver<Output>,
) {
    let (mut reader, mut writer) = tokio::io::split(TokioIo::new(connection));
    let said = async {
        let mut pending = bytes::BytesMut::new();
        loop {
            loop {
                match frames::decode::<Input>(&mut pending) {
                    Ok(None) => break,
                    // Who speaks something else is not listened to any longer.
                    Err(_) => return,
                    Ok(Some(input)) => {
                        if to_process.send(input).await.is_err() {
                            // The process has ended; what it still says is told by the other half.
                            return std::future::pending().await;
                        }
                    }
                }
            }
            match reader.read_buf(&mut pending).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    let told = async {
        while let Some(output) = from_process.recv().await {
            if writer.write_all(&frames::encode(&output)).await.is_err() {
                return;
            }
        }
        let _gone = writer.shutdown().await;
    };
    tokio::select! {
        () = said => {}
        () = told => {}
    }
}
