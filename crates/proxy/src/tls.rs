//! Encryption: rustls with aws-lc-rs, towards clients and towards the server independently.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CommonState, RootCertStore};

use crate::Error;

mod certificate;
mod client;
mod server;
mod sslmode;
mod verify;
mod version_1;

pub use client::ClientTls;
pub(crate) use server::{Attempt, Given, ServerTls, end_point};
pub use sslmode::SslMode;

/// What both sides agree on by ALPN since PostgreSQL 17.
const ALPN: &[u8] = b"postgresql";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A certificate and those above it.
fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| Error::certificate(path, &error))?;
    if chain.is_empty() {
        return Err(Error::certificate(path, &"there is no certificate in it"));
    }
    Ok(chain)
}

/// A certificate and its key, to prove ourselves with. Of any version: whether it is liked is for
/// the other side to say, and rustls would not take one of version 1.
fn read_own(cert: &Path, key: &Path) -> Result<SingleCertAndKey, Error> {
    let chain = read_chain(cert)?;
    let provider = provider().key_provider;
    let signing = provider
        .load_private_key(read_key(key)?)
        .map_err(|error| Error::certificate(key, &error))?;
    let Some(certified) = certificate::public_key(&chain[0]) else {
        return Err(Error::certificate(cert, &"it is not an X.509 certificate"));
    };
    if signing.public_key().is_some_and(|own| own.as_ref() != certified) {
        let text = format!("it is not the certificate of the key in {}", key.display());
        return Err(Error::certificate(cert, &text));
    }
    Ok(CertifiedKey::new(chain, signing).into())
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| Error::certificate(path, &error))
}

/// The authorities in a file.
fn read_roots(path: &Path) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(path)? {
        roots.add(certificate).map_err(|error| Error::certificate(path, &error))?;
    }
    Ok(Arc::new(roots))
}

/// Whether a connection was agreed to be PostgreSQL's by ALPN.
pub(crate) fn is_postgres(state: &CommonState) -> bool {
    state.alpn_protocol() == Some(ALPN)
}

/// The common name in the certificate that the peer has shown and our authority signed, empty if it
/// has none; nothing without a certificate.
pub(crate) fn peer_name(state: &CommonState) -> Option<Vec<u8>> {
    let certificate = state.peer_certificates()?.first()?;
    Some(certificate::common_name(certificate).unwrap_or_default())
}
