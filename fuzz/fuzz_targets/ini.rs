//! `pgbouncer.ini` and its connection strings: what is read and written again is the same.
//!
//! Input: the file, then files to include, separated by zero bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/surgetank/src/config/ini.rs"]
mod ini;

/// Files that one input may include: each may be long.
const INCLUDES: usize = 50;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut files = text.split('\0');
    let main = files.next().unwrap_or_default();
    let others: Vec<&str> = files.collect();
    let mut left = INCLUDES;
    let mut open = |name: &str| {
        left = left.checked_sub(1).ok_or("too many")?;
        let other = name.len() % others.len().max(1);
        others.get(other).map(|text| (*text).to_owned()).ok_or("none".to_owned())
    };
    match ini::read("main", main, &mut open) {
        Ok(entries) => same_again(&entries),
        Err(wrong) => assert!(wrong.line > 0 && !wrong.what.is_empty(), "{wrong}"),
    }
    connection_string(main);
});

/// Written plainly, one after the other, the entries are the same.
fn same_again(entries: &[ini::Entry]) {
    let mut text = String::new();
    for ini::Entry { section, key, value, file, line } in entries {
        assert!(!file.is_empty() && *line > 0 && !section.is_empty());
        assert_eq!(value.trim(), value);
        let key = key.replace('"', "\"\"");
        text += &format!("[{section}]\n\"{key}\" = {value}\n");
    }
    let mut none = |_: &str| Err("nothing is included".to_owned());
    let again = ini::read("again", &text, &mut none).expect("plainly written");
    let plain = |entry: &ini::Entry| {
        (entry.section.clone(), entry.key.clone(), entry.value.clone())
    };
    assert!(again.iter().map(plain).eq(entries.iter().map(plain)), "{text:?}");
}

fn connection_string(text: &str) {
    let Ok(parts) = ini::connection_string(text) else { return };
    let written: Vec<String> =
        parts.iter().map(|(key, value)| format!("{key}='{}'", value.replace('\'', "''"))).collect();
    assert_eq!(ini::connection_string(&written.join(" ")), Ok(parts));
}
