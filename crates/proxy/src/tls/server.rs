//! TLS with the server, as libpq's parameters say.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use wire::scram::client::Binding;

use super::verify::Verify;
use super::{ALPN, SslMode, certificate, provider, read_own};
use crate::stream::{Socket, Stream};
use crate::{Endpoint, Error};

/// Whether SCRAM is bound to the server's certificate (libpq's `channel_binding`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChannelBinding {
    Disable,
    #[default]
    Prefer,
    Require,
}

/// The parameters of a database URL that are about TLS, as given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) sslmode: Option<String>,
    pub(crate) sslrootcert: Option<String>,
    pub(crate) sslcert: Option<String>,
    pub(crate) sslkey: Option<String>,
    pub(crate) sslnegotiation: Option<String>,
    pub(crate) channel_binding: Option<String>,
}

/// How TLS is spoken with a server.
#[derive(Clone)]
pub(crate) struct ServerTls {
    given: Given,
    mode: SslMode,
    /// Without asking first.
    direct: bool,
    binding: ChannelBinding,
    config: Arc<ClientConfig>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// What was asked for: the files may have changed since.
impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        self.given == other.given
    }
}

impl Eq for ServerTls {}

/// One way to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    Plain,
    /// With TLS, or without it if the server has none.
    Ask,
    /// With TLS only.
    Insist,
}

impl ServerTls {
    /// Reads the parameters and the files they name.
    pub(crate) fn read(given: &Given) -> Result<Self, Error> {
        let unknown = |name: &str, value: &str| {
            Error::Url(format!("{name} {value:?} is not one of PostgreSQL's"))
        };
        let system = given.sslrootcert.as_deref() == Some("system");
        let mut mode = match given.sslmode.as_deref() {
            // As libpq: whoever trusts all public authorities must at least compare the name.
            None if system => SslMode::VerifyFull,
            None => SslMode::default(),
            Some(word) => word.parse().map_err(|_| unknown("sslmode", word))?,
        };
        if system && mode != SslMode::VerifyFull {
            return Err(Error::Url("sslrootcert=system needs sslmode=verify-full".to_owned()));
        }
        if mode == SslMode::Require && given.sslrootcert.is_some() {
            // As libpq: an authority is there to be asked.
            mode = SslMode::VerifyCa;
        }
        let direct = match given.sslnegotiation.as_deref() {
            None | Some("postgres") => false,
            Some("direct") if mode >= SslMode::Require => true,
            Some("direct") => {
                let text = "sslnegotiation=direct needs sslmode=require or stronger";
                return Err(Error::Url(text.to_owned()));
            }
            Some(other) => return Err(unknown("sslnegotiation", other)),
        };
        let binding = match given.channel_binding.as_deref() {
            None | Some("prefer") => ChannelBinding::Prefer,
            Some("disable") => ChannelBinding::Disable,
            Some("require") => ChannelBinding::Require,
            Some(other) => return Err(unknown("channel_binding", other)),
        };
        let config = Arc::new(config(mode, given)?);
        Ok(Self { given: given.clone(), mode, direct, binding, config })
    }

    /// The ways to connect, in libpq's order. Over a Unix socket there is no TLS.
    pub(crate) fn attempts(&self, endpoint: &Endpoint) -> &'static [Attempt] {
        match (endpoint, self.mode) {
            (Endpoint::Unix(_), _) | (_, SslMode::Disable) => &[Attempt::Plain],
            (_, SslMode::Allow) => &[Attempt::Plain, Attempt::Insist],
            (_, SslMode::Prefer) => &[Attempt::Ask, Attempt::Plain],
            (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => &[Attempt::Insist],
        }
    }

    /// Connects in the first way that leads to a connection; the caller sets the time limit.
    pub(crate) async fn connect(&self, endpoint: &Endpoint) -> io::Result<Stream> {
        let mut last = None;
        for attempt in self.attempts(endpoint) {
            match self.try_connect(endpoint, *attempt).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::NotConnected.into()))
    }

    /// Connects in one way.
    pub(crate) async fn try_connect(
        &self,
        endpoint: &Endpoint,
        attempt: Attempt,
    ) -> io::Result<Stream> {
        let mut socket = Socket::connect(endpoint).await?;
        let Endpoint::Tcp { host, .. } = endpoint else { return Ok(Stream::Plain(socket)) };
        if attempt == Attempt::Plain {
            return Ok(Stream::Plain(socket));
        }
        if !self.direct {
            let mut request = Vec::new();
            wire::startup::put_ssl_request(&mut request);
            socket.write_all(&request).await?;
            // One byte and no more: what somebody puts in behind it must not be taken for the
            // server's (CVE-2021-23222).
            match socket.read_u8().await? {
                b'S' => {}
                b'N' if attempt == Attempt::Ask => return Ok(Stream::Plain(socket)),
                b'N' => return Err(io::Error::other("the server does not speak TLS")),
                _ => return Err(io::Error::other("the server did not understand SSLRequest")),
            }
        }
        let name = match ServerName::try_from(host.clone()) {
            Ok(name) => name,
            Err(error) if self.mode == SslMode::VerifyFull => return Err(io::Error::other(error)),
            // Nobody compares it, and an address is not sent.
            Err(_) => ServerName::from(std::net::IpAddr::from([0, 0, 0, 0])),
        };
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let tls = Box::pin(connector.connect(name, socket)).await.map_err(|error| {
            io::Error::new(error.kind(), format!("TLS with the server failed: {error}"))
        })?;
        let agreed = tls.get_ref().1.alpn_protocol();
        if self.direct && agreed != Some(ALPN) {
            return Err(io::Error::other("the server does not speak PostgreSQL over direct TLS"));
        }
        Ok(Stream::Tls(Box::new(tls.into())))
    }

    /// How SCRAM is bound to a connection on which the server did or did not offer to; an error if
    /// it must be and cannot.
    pub(crate) fn bind<'a>(
        &self,
        hash: Option<&'a [u8]>,
        offered: bool,
    ) -> Result<Binding<'a>, &'static str> {
        match (self.binding, hash) {
            (ChannelBinding::Prefer | ChannelBinding::Require, Some(hash)) if offered => {
                Ok(Binding::EndPoint(hash))
            }
            (ChannelBinding::Require, _) => {
                Err("channel_binding=require, and the server offers none on this connection")
            }
            (ChannelBinding::Prefer, Some(_)) => Ok(Binding::NotOffered),
            (ChannelBinding::Disable, _) | (ChannelBinding::Prefer, None) => Ok(Binding::None),
        }
    }

    /// Whether only SCRAM with channel binding will do.
    pub(crate) fn must_bind(&self) -> bool {
        self.binding == ChannelBinding::Require
    }
}

fn config(mode: SslMode, given: &Given) -> Result<ClientConfig, Error> {
    let mut verify = Verify::nobody(provider());
    if mode >= SslMode::VerifyCa {
        match given.sslrootcert.as_deref() {
            Some("system") => verify.trust_system()?,
            Some(file) => verify.trust(Path::new(file))?,
            None => {
                let text = "sslmode=verify-ca and verify-full need sslrootcert, a file of \
                            authorities or \"system\"";
                return Err(Error::Url(text.to_owned()));
            }
        }
        verify.compare_name(mode == SslMode::VerifyFull);
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Url(format!("TLS: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verify));
    let mut config = match (&given.sslcert, &given.sslkey) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let own = read_own(Path::new(cert), Path::new(key))?;
            builder.with_client_cert_resolver(Arc::new(own))
        }
        _ => return Err(Error::Url("sslcert and sslkey go together".to_owned())),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    // PostgreSQL resumes no sessions.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// What SCRAM binds a connection to, if it is encrypted and its certificate can be bound to.
pub(crate) fn end_point(stream: &Stream) -> Option<Vec<u8>> {
    certificate::end_point_hash(stream.tls()?.peer_certificates()?.first()?)
}
