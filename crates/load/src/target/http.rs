//! Load over HTTP/1.1: a new connection for every request, as from as many customers.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

use super::{Reach, io_failure};
use crate::Error;
use crate::result::FailureKind;

/// An app at an address.
#[derive(Clone, Debug)]
pub struct Http {
    address: SocketAddr,
    host: String,
    timeout: Duration,
}

impl Http {
    /// The app at `base` (`http://127.0.0.1:5000`). A name is resolved once, here. A request
    /// without a whole answer after `timeout` has failed.
    ///
    /// # Errors
    /// [`Error::Address`] if `base` is not the root of a plain HTTP server or its name is unknown,
    /// [`Error::Remote`] if `reach` does not allow it.
    pub async fn resolve(base: &str, timeout: Duration, reach: Reach) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Address { address: base.to_owned(), reason };
        let url = Url::parse(base).map_err(|error| wrong(error.to_string()))?;
        if url.scheme() != "http" {
            return Err(wrong("only http:// is supported; load the app behind its TLS".into()));
        }
        if url.path() != "/" || url.query().is_some() {
            return Err(wrong("give no path: the model has the paths".into()));
        }
        let port = url.port_or_known_default().unwrap_or(80);
        let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let mut addresses = tokio::net::lookup_host((name, port))
            .await
            .map_err(|error| wrong(error.to_string()))?;
        let address = addresses.next().ok_or_else(|| wrong("unknown host".into()))?;
        Self::at(address, timeout, reach)
    }

    /// The app at a socket address.
    ///
    /// # Errors
    /// [`Error::Remote`] if `reach` does not allow it.
    pub fn at(address: SocketAddr, timeout: Duration, reach: Reach) -> Result<Self, Error> {
        reach.check(&address.to_string(), address.ip())?;
        Ok(Self { address, host: address.to_string(), timeout })
    }

    pub(crate) async fn send(&self, method: Method, path: &str) -> Result<(), FailureKind> {
        let exchange = self.exchange(method, path);
        match tokio::time::timeout(self.timeout, exchange).await {
            Err(_) => Err(FailureKind::Timeout),
            Ok(Err(failure)) => Err(failure),
            Ok(Ok(status)) if status >= 500 => Err(FailureKind::Status(status)),
            Ok(Ok(_)) => Ok(()),
        }
    }

    /// One connection, one request, the whole answer; returns its status.
    async fn exchange(&self, method: Method, path: &str) -> Result<u16, FailureKind> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.host)
            .header(CONNECTION, "close")
            .header(USER_AGENT, "surgetank-load")
            .body(Empty::<Bytes>::new())
            .map_err(|_| FailureKind::Protocol)?;
        let stream = TcpStream::connect(self.address).await.map_err(|error| io_failure(&error))?;
        stream.set_nodelay(true).map_err(|error| io_failure(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| http_failure(&error))?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let mut body = response.into_body();
            while let Some(frame) = body.frame().await {
                frame?;
            }
            Ok(status)
        };
        // The connection is driven here and not in a task of its own, so that a request that is
        // given up takes its connection with it.
        tokio::pin!(answer, connection);
        tokio::select! {
            answered = &mut answer => answered,
            // The connection ends first when the server closes it right behind the last byte; what
            // it read is then already waiting for `answer`.
            _ = &mut connection => answer.await,
        }
        .map_err(|error: hyper::Error| http_failure(&error))
    }
}

fn http_failure(error: &hyper::Error) -> FailureKind {
    use std::error::Error as _;
    if error.is_parse() {
        return FailureKind::Protocol;
    }
    match error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>()) {
        Some(io) => io_failure(io),
        None => FailureKind::Disconnected,
    }
}
