//! A connection to where a drain leads, plain or encrypted.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{DrainOptions, Target};
use crate::error::{Error, Result};
use crate::logs::{LogHub, Source};

/// Either kind of connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to one place.
pub(super) struct Connector {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    limit: Duration,
    hub: LogHub,
    shown: String,
    /// Whether L14 was told since the last connection that was good.
    told: AtomicBool,
}

impl Connector {
    pub(super) fn new(target: &Target, options: &DrainOptions, hub: LogHub) -> Result<Self> {
        let tls = if target.tls { Some(tls(target, options)?) } else { None };
        Ok(Self {
            host: target.host.clone(),
            port: target.port,
            tls,
            limit: options.connect,
            hub,
            shown: target.shown.clone(),
            told: AtomicBool::new(false),
        })
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let connecting = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            let Some((connector, name)) = &self.tls else { return Ok(Box::new(stream) as _) };
            let encrypted = connector.connect(name.clone(), stream).await;
            Ok(Box::new(encrypted.inspect_err(|error| self.tell_certificate(error))?) as _)
        };
        let connected: io::Result<Box<dyn Stream>> =
            timeout(self.limit, connecting).await.unwrap_or_else(|_| {
                Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))
            });
        if connected.is_ok() {
            self.told.store(false, Ordering::Relaxed);
        }
        connected
    }

    /// A certificate that is not trusted needs a person: it is told in the app's own log, once.
    fn tell_certificate(&self, error: &io::Error) {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(rustls::Error::InvalidCertificate(why)) = inner else { return };
        if !self.told.swap(true, Ordering::Relaxed) {
            let uri = &self.shown;
            let text = format!("Error L14 (certificate validation): error=\"{why}\" uri=\"{uri}\"");
            self.hub.write(Source::Heroku, "logplex", &text);
        }
    }
}

fn tls(target: &Target, options: &DrainOptions) -> Result<(TlsConnector, ServerName<'static>)> {
    let mut roots = RootCertStore::empty();
    // One certificate of the system that cannot be read is no reason to trust none of the others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &options.authorities {
        for certificate in authorities(path)? {
            let wrong = |error: rustls::Error| Error::Drain(format!("{}: {error}", path.display()));
            roots.add(certificate).map_err(wrong)?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Drain(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(target.host.clone());
    let name = name.map_err(|error| Error::Drain(format!("Invalid URL: {error}")))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| Error::Drain(format!("{}: {error}", path.display())))
}
