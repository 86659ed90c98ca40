//! `pg_hba.conf`: a file is its lines, the first that fits decides.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;

// Of the whole only the reader and the search are called.
#[allow(dead_code)]
#[path = "../../crates/proxy/src/access"]
mod access {
    pub(crate) mod rules;
}

use access::rules::{Caller, Rules};

/// What the room says of a file that is not understood.
#[derive(Debug)]
pub enum Error {
    /// As in `proxy::Error`.
    Rules { line: usize, why: String },
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let lines: Vec<_> = text.lines().map(Rules::read).collect();
    let rules = match Rules::read(&text) {
        Ok(rules) => rules,
        Err(Error::Rules { line, why }) => {
            assert!(!why.is_empty());
            assert_eq!(lines.iter().position(Result::is_err), Some(line - 1), "{why}");
            return;
        }
    };
    let lines: Vec<Rules> = lines.into_iter().map(|line| line.expect("as in the whole")).collect();
    let commented = text.lines().map(|line| format!("\t{line} # \"")).collect::<Vec<_>>().join("\n");
    assert_eq!(Rules::read(&commented).expect("comments change nothing"), rules);
    let addresses = ["127.0.0.1", "10.1.2.3", "::1", "::ffff:10.1.2.3", "fe80::1"];
    let addresses = addresses.map(|text| Some(text.parse::<IpAddr>().expect("an address")));
    for address in addresses.into_iter().chain([None]) {
        for tls in [false, true] {
            for (database, user) in [(&b"shop"[..], &b"ann"[..]), (b"ann", b"ann"), (b"", b"")] {
                let caller = Caller { address, tls, database, user };
                let first = lines.iter().find_map(|line| line.find(&caller));
                assert_eq!(rules.find(&caller), first, "{caller:?}");
            }
        }
    }
});
