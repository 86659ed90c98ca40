//! Whether the server is whom it says: not asked, signed by an authority, or that and of the right
//! name.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::version_1::Version1;
use super::{certificate, read_chain};
use crate::Error;

/// Checks the server's certificate.
#[derive(Debug)]
pub(super) struct Verify {
    provider: Arc<CryptoProvider>,
    /// Without them nobody is asked.
    roots: Option<RootCertStore>,
    /// The certificates behind `roots`: a server may use one of them itself.
    pinned: Vec<CertificateDer<'static>>,
    name: bool,
}

impl Verify {
    /// Lets every certificate pass; its key must still be the server's.
    pub(super) fn nobody(provider: Arc<CryptoProvider>) -> Self {
        Self { provider, roots: None, pinned: Vec::new(), name: false }
    }

    /// Asks the authorities in a file.
    pub(super) fn trust(&mut self, path: &Path) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        for certificate in read_chain(path)? {
            roots.add(certificate.clone()).map_err(|error| Error::certificate(path, &error))?;
            self.pinned.push(certificate);
        }
        self.roots = Some(roots);
        Ok(())
    }

    /// Asks the authorities that this machine knows.
    pub(super) fn trust_system(&mut self) -> Result<(), Error> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let text = "sslrootcert=system: this machine has no list of authorities";
            return Err(Error::Url(text.to_owned()));
        }
        self.roots = Some(roots);
        Ok(())
    }

    /// Compares the certificate's name too.
    pub(super) fn compare_name(&mut self, compare: bool) {
        self.name = compare;
    }
}

impl ServerCertVerifier for Verify {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        let algorithms = self.provider.signature_verification_algorithms;
        if let Some(old) = Version1::read(end_entity) {
            if !self.pinned.iter().any(|pinned| pinned == end_entity) {
                old.is_signed_by(roots, algorithms.all, now)?;
            }
            if self.name {
                old.is_of(server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        // `openssl req -x509` makes certificates that are authority and server in one, which
        // OpenSSL takes and webpki does not.
        if !self.pinned.iter().any(|pinned| pinned == end_entity) {
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                algorithms.all,
            )?;
        }
        if self.name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        if let Some(old) = Version1::read(cert) {
            return old.has_signed(message, dss, algorithms);
        }
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        if Version1::read(cert).is_some() {
            let key = certificate::public_key(cert).unwrap_or_default();
            let key = SubjectPublicKeyInfoDer::from(key);
            return verify_tls13_signature_with_raw_key(message, &key, dss, algorithms);
        }
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
