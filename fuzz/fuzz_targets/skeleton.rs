//! Two texts with the same skeleton are the same statement.
//!
//! Input: a text, in which each literal that a skeleton leaves out is replaced by others.

#![no_main]

use libfuzzer_sys::fuzz_target;

/// What a skeleton has in the place of a literal, and what may stand there instead: whichever it is,
/// the skeleton is the same.
const LITERALS: [(u8, [&str; 4]); 2] = [
    (0xfe, ["7", "0", "0123456789", "99"]),
    (0xff, ["''", "'a -- /* $1 \\'", "'\n;'", "' '"]),
];

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut bones = Vec::new();
    if !sql::skeleton(text.as_bytes(), &mut bones) {
        return;
    }
    assert!(bones.len() <= text.len());
    for turn in 0..4 {
        let mut other = Vec::new();
        for (at, byte) in bones.iter().enumerate() {
            match LITERALS.iter().find(|(literal, _)| literal == byte) {
                Some((_, instead)) => other.extend_from_slice(instead[(at + turn) % 4].as_bytes()),
                None => other.push(*byte),
            }
        }
        let Ok(other) = String::from_utf8(other) else { panic!("{bones:?} is no text") };
        let mut again = Vec::new();
        if sql::skeleton(other.as_bytes(), &mut again) {
            assert_eq!(again, bones, "{text:?} {other:?}");
            let (one, two) = (sql::read(&text), sql::read(&other));
            assert_eq!(one.fingerprint, two.fingerprint, "{text:?} {other:?}");
            assert_eq!(one.kind, two.kind, "{text:?} {other:?}");
        }
    }
});
