//! PostgreSQL's MD5 passwords, for servers and lists that still have them.

use md5::{Digest, Md5};

/// What is kept of a password: `md5(password || user)` in hexadecimal, without the word `md5`.
pub(crate) fn stored(password: &[u8], user: &[u8]) -> String {
    hex(Md5::new().chain_update(password).chain_update(user))
}

/// What proves the password: `md5` and `md5(stored || salt)` in hexadecimal.
pub(crate) fn response(stored: &str, salt: [u8; 4]) -> String {
    format!("md5{}", hex(Md5::new().chain_update(stored).chain_update(salt)))
}

fn hex(hash: Md5) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_answer() {
        // The example of postgres-protocol's own tests.
        let stored = stored(b"password", b"md5_user");
        assert_eq!(
            response(&stored, [0x2a, 0x3d, 0x8f, 0xe0]),
            "md562af4dd09bbb41884907a838a3233294"
        );
    }
}
