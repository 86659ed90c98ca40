//! The two things that are read from a certificate here: how it was signed, and the common name of
//! its owner. What it is worth was checked by rustls before.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const CONTEXT_0: u8 = 0xa0;

/// `2.5.4.3`
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
/// `1.2.840.113549.1.1`
const PKCS_1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
/// `1.2.840.10045.4`
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4];
/// `2.16.840.1.101.3.4.2`
const SHA_2: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2];

/// The hash functions that sign certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// What `tls-server-end-point` binds to (RFC 5929 §4.1): the certificate's hash, by the hash
/// function it was signed with; by SHA-256 if that is MD5 or SHA-1. `None` where it is undefined.
pub(super) fn end_point_hash(certificate: &[u8]) -> Option<Vec<u8>> {
    Some(match signed_by(certificate)? {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

/// The owner's common name, the first if there are several.
pub(super) fn common_name(certificate: &[u8]) -> Option<Vec<u8>> {
    let (certificate, _) = Der(certificate).take(SEQUENCE)?;
    let (mut rest, _) = certificate.take(SEQUENCE)?;
    if let Some((_version, after)) = rest.take(CONTEXT_0) {
        rest = after;
    }
    // Serial number, signature, issuer, validity; then the subject.
    for _ in 0..4 {
        rest = rest.any()?.2;
    }
    let (mut names, _) = rest.take(SEQUENCE)?;
    while let Some((mut set, after)) = names.take(SET) {
        while let Some((attribute, after)) = set.take(SEQUENCE) {
            let (kind, value) = attribute.take(OID)?;
            if kind.0 == COMMON_NAME {
                return Some(value.any()?.1.0.to_vec());
            }
            set = after;
        }
        names = after;
    }
    None
}

fn signed_by(certificate: &[u8]) -> Option<Hash> {
    let (certificate, _) = Der(certificate).take(SEQUENCE)?;
    let (_to_be_signed, rest) = certificate.take(SEQUENCE)?;
    let (algorithm, _) = rest.take(SEQUENCE)?;
    let (oid, parameters) = algorithm.take(OID)?;
    if let Some(arcs) = oid.0.strip_prefix(PKCS_1) {
        return match arcs {
            [4 | 5 | 11] => Some(Hash::Sha256),
            [12] => Some(Hash::Sha384),
            [13] => Some(Hash::Sha512),
            [14] => Some(Hash::Sha224),
            [10] => pss(parameters),
            _ => None,
        };
    }
    match oid.0.strip_prefix(ECDSA)? {
        [1] | [3, 2] => Some(Hash::Sha256),
        [3, 1] => Some(Hash::Sha224),
        [3, 3] => Some(Hash::Sha384),
        [3, 4] => Some(Hash::Sha512),
        _ => None,
    }
}

/// The hash function of RSASSA-PSS is a parameter; by default SHA-1.
fn pss(parameters: Der<'_>) -> Option<Hash> {
    let (parameters, _) = parameters.take(SEQUENCE)?;
    let Some((tagged, _)) = parameters.take(CONTEXT_0) else { return Some(Hash::Sha256) };
    let (algorithm, _) = tagged.take(SEQUENCE)?;
    let (oid, _) = algorithm.take(OID)?;
    match oid.0.strip_prefix(SHA_2) {
        Some([1]) => Some(Hash::Sha256),
        Some([2]) => Some(Hash::Sha384),
        Some([3]) => Some(Hash::Sha512),
        Some([4]) => Some(Hash::Sha224),
        Some(_) => None,
        None => Some(Hash::Sha256),
    }
}

/// Elements one after another.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The first element: its tag, its content, and what follows it.
    fn any(self) -> Option<(u8, Self, Self)> {
        let [tag, length, rest @ ..] = self.0 else { return None };
        let (length, rest) = match usize::from(*length) {
            short @ 0..0x80 => (short, rest),
            long => {
                let (bytes, rest) = rest.split_at_checked(long - 0x80)?;
                if bytes.is_empty() || bytes.len() > 4 {
                    return None;
                }
                let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                (length, rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        Some((*tag, Self(content), Self(rest)))
    }

    /// The content of the first element, if it has this tag, and what follows it.
    fn take(self, wanted: u8) -> Option<(Self, Self)> {
        self.any().filter(|(tag, ..)| *tag == wanted).map(|(_, content, rest)| (content, rest))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let mut params = CertificateParams::new(["db.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, "A Shop");
        params.distinguished_name.push(DnType::CommonName, "ann");
        let key = KeyPair::generate_for(algorithm).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        let cases = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Some(32)),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Some(48)),
            (&rcgen::PKCS_ED25519, None),
        ];
        for (algorithm, length) in cases {
            let der = certificate(algorithm);
            assert_eq!(end_point_hash(&der).map(|hash| hash.len()), length, "{algorithm:?}");
        }
        let der = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(end_point_hash(&der), Some(Sha256::digest(&der).to_vec()));
    }

    #[test]
    fn the_common_name_is_found() {
        let der = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(common_name(&der).as_deref(), Some(&b"ann"[..]));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let der = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        for length in 0..der.len() {
            let _ = (end_point_hash(&der[..length]), common_name(&der[..length]));
        }
        for index in 0..der.len() {
            let mut broken = der.clone();
            broken[index] = 0xff;
            let _ = (end_point_hash(&broken), common_name(&broken));
        }
    }
}
