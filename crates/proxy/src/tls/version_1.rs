//! A server's certificate of version 1, as `openssl x509 -req` makes them without extensions, and
//! the recipe in PostgreSQL's manual with it. OpenSSL and so libpq take them, rustls does not.
//!
//! It is taken if one of the authorities has signed it itself, and only from `Verify`, never as an
//! authority: without extensions it does not say that it is one.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::{self, Parts};

type Algorithms = [&'static dyn SignatureVerificationAlgorithm];

/// A certificate of version 1.
pub(super) struct Version1<'a> {
    der: &'a [u8],
    parts: Parts<'a>,
}

impl<'a> Version1<'a> {
    /// Nothing if it is of another version, or no certificate.
    pub(super) fn read(certificate: &'a CertificateDer<'_>) -> Option<Self> {
        let parts = Parts::read(certificate).filter(|parts| parts.is_version_1)?;
        Some(Self { der: certificate, parts })
    }

    /// Checks that one of these authorities has signed it, for now.
    pub(super) fn is_signed_by(
        &self,
        roots: &RootCertStore,
        algorithms: &Algorithms,
        now: UnixTime,
    ) -> Result<(), Error> {
        let parts = &self.parts;
        let mut issuers = roots.roots.iter().filter(|root| &*root.subject == parts.issuer);
        let is_signed = issuers.any(|root| {
            certificate::split_key(&root.subject_public_key_info).is_some_and(|(kind, key)| {
                algorithms.iter().any(|algorithm| {
                    algorithm.public_key_alg_id().as_ref() == kind
                        && algorithm.signature_alg_id().as_ref() == parts.signed_by
                        && algorithm
                            .verify_signature(key, parts.to_be_signed, parts.signature)
                            .is_ok()
                })
            })
        });
        if !is_signed {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let (from, until) =
            certificate::times(parts.validity).ok_or(CertificateError::BadEncoding)?;
        match i64::try_from(now.as_secs()).unwrap_or(i64::MAX) {
            now if now < from => Err(CertificateError::NotValidYet.into()),
            now if now > until => Err(CertificateError::Expired.into()),
            _ => Ok(()),
        }
    }

    /// Checks that its common name is the server's, as libpq does where there is no other name.
    pub(super) fn is_of(&self, name: &ServerName<'_>) -> Result<(), Error> {
        let common = certificate::common_name(self.der).unwrap_or_default();
        let host = name.to_str();
        let is_same = match name {
            ServerName::IpAddress(_) => common == host.as_bytes(),
            _ => matches(&common, host.as_bytes()),
        };
        if is_same {
            return Ok(());
        }
        Err(CertificateError::NotValidForName.into())
    }

    /// Checks a handshake of TLS 1.2.
    pub(super) fn has_signed(
        &self,
        message: &[u8],
        signed: &DigitallySignedStruct,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<HandshakeSignatureValid, Error> {
        let is_same = |(scheme, _): &&(SignatureScheme, _)| *scheme == signed.scheme;
        let found = algorithms.mapping.iter().find(is_same).map_or(&[][..], |(_, found)| *found);
        let (kind, key) = self.parts.key().ok_or(CertificateError::BadEncoding)?;
        let is_signed = found.iter().any(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == kind
                && algorithm.verify_signature(key, message, signed.signature()).is_ok()
        });
        if is_signed {
            return Ok(HandshakeSignatureValid::assertion());
        }
        Err(CertificateError::BadSignature.into())
    }
}

/// Whether a host is named by a common name: `*.` stands for one label.
fn matches(name: &[u8], host: &[u8]) -> bool {
    if name.is_empty() {
        return false;
    }
    match name.strip_prefix(b"*") {
        None => name.eq_ignore_ascii_case(host),
        Some(domain) => {
            let label = host.iter().position(|byte| *byte == b'.').unwrap_or(host.len());
            let (label, rest) = host.split_at(label);
            domain.starts_with(b".") && !label.is_empty() && domain.eq_ignore_ascii_case(rest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_libpq_compares_them() {
        assert!(matches(b"db.example", b"DB.example"));
        assert!(matches(b"*.example", b"db.example"));
        for (name, host) in [
            ("*.example", "a.db.example"),
            ("*.example", ".example"),
            ("*.example", "example"),
            ("*", "db"),
            ("", ""),
            ("db.example", "db.example.org"),
        ] {
            assert!(!matches(name.as_bytes(), host.as_bytes()), "{name} {host}");
        }
    }
}
