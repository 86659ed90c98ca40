//! Any text is read, and its normalised form is the same statement.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let statement = sql::read(&text);
    assert_ne!(statement.fingerprint, 0);
    assert_eq!(sql::fingerprint(&text), statement.fingerprint);
    let normal = sql::normalise(&text);
    assert_eq!(sql::fingerprint(&normal), statement.fingerprint, "{normal:?}");
    assert_eq!(sql::normalise(&normal), normal);
    let _tags = sql::comment_tags(&text);
});
