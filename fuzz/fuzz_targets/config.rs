//! `surgetank.toml` and `pgbouncer.ini` as plans: what is wrong is told, in the former with its place;
//! what is right says the same each time, and no secret.
//!
//! Input: the text of either.

#![no_main]

use libfuzzer_sys::fuzz_target;

// Of the whole only what a text goes through is called.
#[allow(dead_code)]
#[path = "../../crates/surgetank/src"]
mod surgetank {
    pub(crate) mod config;
}

use surgetank::config::Source;

/// Where the text is said to be.
const TOML: &str = "/nowhere/x.toml";

/// The password of the seeds.
const SECRET: &str = "hunter2";

/// Whether the secret stands where a password does, and nowhere else: a user may be called so too.
fn only_passwords(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| line.contains(SECRET));
    let is_password = |line: &str| {
        let url =
            line.strip_prefix("url = \"postgres://").and_then(|url| url.split_once(":hunter2@"));
        let part = line.split_once(" password=hunter2 ");
        url.or(part).is_some_and(|(before, after)| {
            before.chars().all(|c| c.is_alphanumeric() || " =.".contains(c))
                && !after.contains(SECRET)
        })
    };
    !text.contains("\"\"\"") && !text.contains("'''") && lines.all(is_password)
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A file may name others; devices have no end.
    if ["/dev", "/proc", "/sys", "\\"].iter().any(|part| text.contains(part)) {
        return;
    }
    for source in [Source::Toml(TOML.into()), Source::Ini("/nowhere/x.ini".into())] {
        match source.parse(text, None) {
            Ok(plan) => {
                let told = plan.describe();
                assert!(!told.contains(SECRET) || !only_passwords(text), "a secret: {told}");
                assert_eq!(told, source.parse(text, None).expect("as before").describe());
                let _checked = plan.proxy.check();
            }
            Err(error) => told_well(&format!("{error:#}"), text),
        }
    }
});

/// An error in our own file has its place.
fn told_well(told: &str, text: &str) {
    let Some(rest) = told.strip_prefix(TOML) else {
        assert!(!told.is_empty());
        return;
    };
    let mut parts = rest.splitn(4, ':').skip(1);
    let mut place = || parts.next().and_then(|part| part.parse::<usize>().ok());
    let (line, column) = (place(), place());
    assert!(line.is_some_and(|line| (1..=text.lines().count() + 1).contains(&line)), "{told}");
    assert!(column.is_some_and(|column| column >= 1), "{told}");
    assert!(parts.next().is_some_and(|what| what.len() > 1), "{told}");
}
