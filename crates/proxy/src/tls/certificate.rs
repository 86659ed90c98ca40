//! What is read from a certificate here: how it was signed, whose key is in it, and the common name
//! of its owner; of one of version 1, which rustls does not read, all that it says. What the others
//! are worth is checked by rustls.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
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
    let mut names = Der(Parts::read(certificate)?.subject);
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

/// The key in it, as a SubjectPublicKeyInfo with its header.
pub(super) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    Parts::read(certificate).map(|parts| parts.key_info)
}

/// What was signed and what it says. Names, times and algorithms are the contents of their
/// elements.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    /// Whether it is of version 1: "MUST be omitted" is the version then, and there are no
    /// extensions.
    pub(super) is_version_1: bool,
    pub(super) to_be_signed: &'a [u8],
    pub(super) signed_by: &'a [u8],
    pub(super) signature: &'a [u8],
    pub(super) issuer: &'a [u8],
    pub(super) validity: &'a [u8],
    subject: &'a [u8],
    /// With its header.
    key_info: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(super) fn read(certificate: &'a [u8]) -> Option<Self> {
        let (outer, after) = Der(certificate).take(SEQUENCE)?;
        let (to_be_signed, rest) = outer.whole()?;
        let (algorithm, rest) = rest.take(SEQUENCE)?;
        let (signature, end) = rest.take(BIT_STRING)?;
        let (mut rest, _) = Der(to_be_signed).take(SEQUENCE)?;
        let is_version_1 = match rest.take(CONTEXT_0) {
            Some((_version, after)) => {
                rest = after;
                false
            }
            None => true,
        };
        let (_serial_number, rest) = rest.take(INTEGER)?;
        let (signed_by, rest) = rest.take(SEQUENCE)?;
        let (issuer, rest) = rest.take(SEQUENCE)?;
        let (validity, rest) = rest.take(SEQUENCE)?;
        let (subject, rest) = rest.take(SEQUENCE)?;
        let (key_info, rest) = rest.whole()?;
        // What stands in both places must be the same, and nothing may stand behind.
        let is_sound = signed_by.0 == algorithm.0
            && after.0.is_empty()
            && end.0.is_empty()
            && (!is_version_1 || rest.0.is_empty());
        is_sound.then_some(Self {
            is_version_1,
            to_be_signed,
            signed_by: signed_by.0,
            signature: bits(signature)?,
            issuer: issuer.0,
            validity: validity.0,
            subject: subject.0,
            key_info,
        })
    }

    /// Algorithm and bits of its key.
    pub(super) fn key(&self) -> Option<(&'a [u8], &'a [u8])> {
        split_key(Der(self.key_info).take(SEQUENCE)?.0.0)
    }
}

/// Algorithm and bits of the key in the content of a SubjectPublicKeyInfo.
pub(super) fn split_key(content: &[u8]) -> Option<(&[u8], &[u8])> {
    let (algorithm, rest) = Der(content).take(SEQUENCE)?;
    let (key, _) = rest.take(BIT_STRING)?;
    Some((algorithm.0, bits(key)?))
}

/// The two times of a validity, in seconds since 1970.
pub(super) fn times(validity: &[u8]) -> Option<(i64, i64)> {
    let (kind, from, rest) = Der(validity).any()?;
    let (other, until, _) = rest.any()?;
    Some((seconds(kind, from.0)?, seconds(other, until.0)?))
}

/// A UTCTime or GeneralizedTime, which end with "Z".
fn seconds(kind: u8, text: &[u8]) -> Option<i64> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0, |sum, d| sum * 10 + i64::from(d - b'0'));
    let (year, rest) = match (kind, digits.len()) {
        (UTC_TIME, 12) => {
            let (year, rest) = digits.split_at(2);
            // "Where YY is greater than or equal to 50, the year SHALL be interpreted as 19YY".
            let year = number(year);
            (if year >= 50 { 1900 + year } else { 2000 + year }, rest)
        }
        (GENERALIZED_TIME, 14) => {
            let (year, rest) = digits.split_at(4);
            (number(year), rest)
        }
        _ => return None,
    };
    let mut pairs = rest.chunks(2).map(number);
    let mut next = || pairs.next();
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    let is_sound = (1..=12).contains(&month) && (1..=31).contains(&day);
    is_sound.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970 of a date of the Gregorian calendar, whose years begin with March here.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// Bits that fill bytes.
fn bits(string: Der<'_>) -> Option<&[u8]> {
    string.0.strip_prefix(&[0])
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

    /// The first element with its header, and what follows it.
    fn whole(self) -> Option<(&'a [u8], Self)> {
        let (.., rest) = self.any()?;
        Some((self.0.get(..self.0.len() - rest.0.len())?, rest))
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
    fn times_are_read() {
        let utc = |text: &str| seconds(0x17, text.as_bytes());
        let general = |text: &str| seconds(0x18, text.as_bytes());
        assert_eq!(utc("700101000000Z"), Some(0));
        assert_eq!(utc("000229120102Z"), Some(951_825_662));
        assert_eq!(utc("491231235959Z"), general("20491231235959Z"));
        assert_eq!(utc("500101000000Z"), general("19500101000000Z"));
        assert_eq!(general("21000301000000Z"), Some(4_107_542_400));
        for wrong in ["7001010000Z", "700101000000", "70010100000xZ", "701301000000Z", ""] {
            assert_eq!(utc(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_parts_are_what_was_made() {
        let der = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        let parts = Parts::read(&der).unwrap();
        assert!(!parts.is_version_1);
        assert_eq!(parts.issuer, parts.subject, "it is its own");
        assert_eq!(parts.key().unwrap().1.len(), 65);
        let (from, until) = times(parts.validity).unwrap();
        assert!(from < until);
        assert_eq!(public_key(&der), Some(parts.key_info));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let der = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        for length in 0..der.len() {
            let _ = (end_point_hash(&der[..length]), common_name(&der[..length]));
            let _ = Parts::read(&der[..length]).map(|parts| (parts.key(), times(parts.validity)));
        }
        for index in 0..der.len() {
            let mut broken = der.clone();
            broken[index] = 0xff;
            let _ = (end_point_hash(&broken), common_name(&broken));
            let _ = Parts::read(&broken).map(|parts| (parts.key(), times(parts.validity)));
        }
    }
}
