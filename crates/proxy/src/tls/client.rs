//! TLS with clients.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ServerConfig, server::danger::ClientCertVerifier};
use tokio_rustls::TlsAcceptor;

use super::{ALPN, certificate, provider, read_chain, read_own, read_roots};
use crate::Error;
use crate::stream::{Socket, Stream};

/// What we prove ourselves with to clients. Loaded whole: to take new files, load another and hand
/// it to [`Proxy::set_access`](crate::Proxy::set_access).
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ServerConfig>,
    end_point: Option<Arc<[u8]>>,
    checks_clients: bool,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("checks_clients", &self.checks_clients)
            .finish_non_exhaustive()
    }
}

impl ClientTls {
    /// Loads our certificate (with those above it) and its key from PEM files; and the authorities
    /// by which clients' certificates are checked. A client may then show a certificate, and must
    /// where [`SslMode::VerifyCa`](crate::SslMode::VerifyCa) or a rule says so. Ours may be of any
    /// version of X.509, a client's must be of version 3.
    ///
    /// # Errors
    /// [`Error::Certificate`] with the file.
    pub fn load(cert: &Path, key: &Path, ca: Option<&Path>) -> Result<Self, Error> {
        let end_point = certificate::end_point_hash(&read_chain(cert)?[0]).map(Into::into);
        let own = read_own(cert, key)?;
        let verifier: Arc<dyn ClientCertVerifier> = match ca {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(path) => {
                WebPkiClientVerifier::builder_with_provider(read_roots(path)?, provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| Error::certificate(path, &error))?
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::certificate(cert, &error))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(own));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // As PostgreSQL: sessions are long, resuming them is not worth its memory.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), end_point, checks_clients: ca.is_some() })
    }

    /// Whether clients' certificates can be checked.
    #[must_use]
    pub fn checks_clients(&self) -> bool {
        self.checks_clients
    }

    /// What SCRAM is bound to, if our certificate can be bound to.
    pub(crate) fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }

    /// Speaks TLS from here on; the caller sets the time limit.
    pub(crate) async fn accept(&self, socket: Socket) -> io::Result<Stream> {
        let tls = TlsAcceptor::from(Arc::clone(&self.config)).accept(socket).await?;
        Ok(Stream::Tls(Box::new(tls.into())))
    }
}
