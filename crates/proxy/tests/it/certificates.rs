//! Certificates made for a test, and a PostgreSQL that has one.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SigningKey,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use testkit::TestPostgres;

use crate::harness::SOON;

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A folder of PEM files.
pub(crate) struct Certificates {
    folder: tempfile::TempDir,
    authority: Issuer,
}

impl Certificates {
    /// `ca` and `stranger` are authorities; `server`, `proxy` and `next` certificates by `ca`, for
    /// `localhost` and, but for the server's, 127.0.0.1.
    pub(crate) fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (authority, stranger) = (issuer("a test's authority"), issuer("somebody else"));
        let made = Self { folder, authority };
        made.write("ca.crt", &made.authority.pem());
        made.write("stranger.crt", &stranger.pem());
        for name in ["server", "proxy", "next"] {
            made.sign(name, "server");
        }
        made
    }

    /// A client's certificate: `NAME.crt` and `NAME.key`.
    pub(crate) fn client(&self, name: &str) {
        self.sign(name, name);
    }

    /// A certificate and a key by `ca`, of version 1 and so without extensions, as
    /// `openssl x509 -req` makes it; and `ca` itself as of version 1, as `ca-1.crt`.
    pub(crate) fn version_1(&self, file: &str, name: &str) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority).expect("a signature");
        self.write(&format!("{file}.crt"), &self.as_version_1(certificate.der()));
        self.write(&format!("{file}.key"), &key.serialize_pem());
        let authority: &rcgen::Certificate = self.authority.as_ref();
        self.write("ca-1.crt", &self.as_version_1(authority.der()));
    }

    /// The same certificate without version and extensions, signed anew; as PEM.
    fn as_version_1(&self, certificate: &[u8]) -> String {
        let parts = elements(content(certificate));
        let said = elements(content(parts[0]));
        let to_be_signed = element(0x30, &said[1..7].concat());
        let signature = self.authority.key().sign(&to_be_signed).expect("a signature");
        let signature = element(0x03, &[&[0], &signature[..]].concat());
        let der = element(0x30, &[&to_be_signed, parts[1], &signature].concat());
        let text = STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }

    fn sign(&self, file: &str, name: &str) {
        let names = match file {
            "server" => vec!["localhost".to_owned()],
            _ => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        };
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority).expect("a signature");
        self.write(&format!("{file}.crt"), &certificate.pem());
        self.write(&format!("{file}.key"), &key.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file");
        // libpq wants keys to be the user's own.
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, mode).expect("its mode");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `NAME=PATH` for a database URL.
    pub(crate) fn parameter(&self, name: &str, file: &str) -> String {
        format!("{name}={}", self.path(file).display())
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("it was written")
    }

    /// What a proxy proves itself with.
    pub(crate) fn tls(&self, name: &str, ca: Option<&str>) -> proxy::ClientTls {
        let (cert, key) = (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")));
        let ca = ca.map(|ca| self.path(ca));
        proxy::ClientTls::load(&cert, &key, ca.as_deref()).expect("sound certificates")
    }
}

/// An element of DER.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).expect("a short one").to_be_bytes();
    let length = match (high, low) {
        (0, 0..0x80) => vec![low],
        (0, _) => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag], &length[..], content].concat()
}

/// How long the header of the first element is, and all of it.
fn lengths(der: &[u8]) -> (usize, usize) {
    let bytes = usize::from(der[1]).saturating_sub(0x80);
    let length = match bytes {
        0 => usize::from(der[1]),
        _ => der[2..2 + bytes].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
    };
    (2 + bytes, 2 + bytes + length)
}

fn content(der: &[u8]) -> &[u8] {
    let (header, whole) = lengths(der);
    &der[header..whole]
}

/// Elements one after another, with their headers.
fn elements(mut der: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !der.is_empty() {
        let (element, rest) = der.split_at(lengths(der).1);
        found.push(element);
        der = rest;
    }
    found
}

fn issuer(name: &str) -> Issuer {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a signature")
}

/// A PostgreSQL that speaks TLS with the certificate `server`, and lets in by these rules.
pub(crate) async fn postgres(certificates: &Certificates, rules: &str) -> Arc<TestPostgres> {
    let postgres = testkit::postgres_with(&[]).await;
    for file in ["server.crt", "server.key", "ca.crt"] {
        put(&postgres, file, &certificates.text(file)).await;
    }
    let superuser = postgres.superuser().await;
    for setting in ["ssl = on", "ssl_ca_file = 'ca.crt'"] {
        let statement = format!("ALTER SYSTEM SET {setting}");
        superuser.batch_execute(&statement).await.expect("a setting");
    }
    let postgres = Arc::new(postgres);
    hba(&postgres, rules).await;
    postgres
}

/// Puts a text into the server's data folder.
async fn put(postgres: &TestPostgres, file: &str, text: &str) {
    let lines = text.replace('\'', "''");
    let copy = format!(
        "COPY (SELECT unnest(string_to_array('{lines}', E'\\n'))) TO PROGRAM \
         'umask 077; cat > {file}'"
    );
    postgres.superuser().await.batch_execute(&copy).await.expect("a file for the server");
}

/// Other rules for the server; the superuser always comes in.
pub(crate) async fn hba(postgres: &TestPostgres, rules: &str) {
    let all = format!("host all postgres 127.0.0.1/32 scram-sha-256\n{rules}\n");
    put(postgres, "pg_hba.conf", &all).await;
    let superuser = postgres.superuser().await;
    let text = "SELECT pg_conf_load_time()::text";
    let before: String = superuser.query_one(text, &[]).await.expect("a time").get(0);
    superuser.batch_execute("SELECT pg_reload_conf()").await.expect("a signal");
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        // Another session: the postmaster that forks it has read the files.
        let session = postgres.superuser().await;
        let now: String = session.query_one(text, &[]).await.expect("a time").get(0);
        if now != before {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "the server reads its files");
    }
}

/// Takes every certificate: for tests that look at it themselves.
#[derive(Debug)]
pub(crate) struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}
