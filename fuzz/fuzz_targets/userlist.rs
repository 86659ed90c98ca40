//! `userlist.txt`: whoever is listed is read, and written again is the same.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use proxy::{Listed, Users};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let listed: Result<Vec<Listed>, _> = Users::userlist(&text).collect();
    let users = Users::read_userlist(&text);
    let Ok(listed) = listed else {
        assert!(users.is_err());
        return;
    };
    let pairs = |listed: &[Listed]| -> Vec<(String, String)> {
        listed.iter().map(|one| (one.name.clone(), one.secret.clone())).collect()
    };
    assert!(listed.iter().all(|one| (1..=text.lines().count()).contains(&one.line)));
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let written: Vec<String> = pairs(&listed)
        .iter()
        .map(|(name, secret)| format!(" {} {} # more", quoted(name), quoted(secret)))
        .collect();
    let again: Result<Vec<Listed>, _> = Users::userlist(&written.join("\n")).collect();
    assert_eq!(pairs(&again.expect("plainly written")), pairs(&listed));
    // Only a broken verifier can be wrong with a secret.
    match users {
        Ok(users) => {
            let names: BTreeSet<&str> = listed.iter().map(|one| one.name.as_str()).collect();
            assert_eq!(users.len(), names.len());
            assert_eq!(format!("{users:?}"), format!("Users({} listed)", names.len()));
        }
        Err(_) => assert!(listed.iter().any(|one| one.secret.starts_with("SCRAM-SHA-256$"))),
    }
});
