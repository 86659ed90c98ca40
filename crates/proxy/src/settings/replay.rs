//! From the settings that a server connection has to those that a session needs, as queries.

use super::{APPLICATION_NAME, CustomNames, Setting, Settings, Way};

/// Who acts: set last, since others may lack the right to change what is to be changed.
const IDENTITY: [&[u8]; 2] = [b"session_authorization", b"role"];

/// Set alone and first: the bytes of all other values are to be read by it.
const ENCODING: &[u8] = b"client_encoding";

/// One query: all of it takes effect, or nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) query: Vec<u8>,
    /// The settings afterwards.
    pub(crate) then: Vec<Setting>,
    /// Whether a request must wait for its success. A name cannot be refused.
    pub(crate) decides: bool,
}

/// The way from one to the other; empty if they are equal.
pub(crate) fn steps(from: &Settings, to: &Settings, custom: &CustomNames) -> Vec<Step> {
    match from.way_to(to, custom) {
        Way::Nothing => Vec::new(),
        Way::Name => {
            let mut query = b"SET application_name = ".to_vec();
            put_quoted(&mut query, to.get(APPLICATION_NAME).unwrap_or_default());
            vec![Step { query, then: to.values.clone(), decides: false }]
        }
        Way::Awaited => awaited(from, to, custom),
    }
}

fn awaited(from: &Settings, to: &Settings, custom: &CustomNames) -> Vec<Step> {
    let differs = |name: &[u8]| from.differs(to, name, custom);
    let mut names: Vec<&[u8]> = from.names().chain(to.names()).filter(|n| differs(n)).collect();
    names.sort_unstable();
    names.dedup();
    let mut steps = Vec::new();
    if let Ok(index) = names.binary_search(&ENCODING) {
        names.remove(index);
        let mut query = Vec::new();
        put_change(&mut query, ENCODING, to.get(ENCODING));
        let then = from.changed([(ENCODING, to.get(ENCODING))]);
        steps.push(Step { query, then, decides: true });
    }
    if !names.is_empty() {
        let query = script(from, to, &names);
        steps.push(Step { query, then: to.values.clone(), decides: true });
    }
    steps
}

fn script(from: &Settings, to: &Settings, names: &[&[u8]]) -> Vec<u8> {
    let mut query = Vec::new();
    let has_identity = |settings: &Settings| IDENTITY.iter().any(|n| settings.get(n).is_some());
    if has_identity(from) {
        query.extend_from_slice(b"RESET ROLE; RESET SESSION AUTHORIZATION; ");
    }
    for name in names.iter().filter(|name| !IDENTITY.contains(name)) {
        put_change(&mut query, name, to.get(name));
    }
    if has_identity(to) {
        for name in IDENTITY.into_iter().filter(|name| to.get(name).is_some()) {
            put_change(&mut query, name, to.get(name));
        }
    }
    query
}

fn put_change(query: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    match value {
        Some(value) => {
            query.extend_from_slice(b"SELECT pg_catalog.set_config(");
            put_quoted(query, name);
            query.extend_from_slice(b", ");
            put_quoted(query, value);
            query.extend_from_slice(b", false); ");
        }
        None => {
            query.extend_from_slice(b"RESET ");
            put_name(query, name);
            query.extend_from_slice(b"; ");
        }
    }
}

/// Appends an identifier.
fn put_name(query: &mut Vec<u8>, name: &[u8]) {
    query.push(b'"');
    for byte in name {
        if *byte == b'"' {
            query.push(b'"');
        }
        query.push(*byte);
    }
    query.push(b'"');
}

/// Appends a string in dollar quotes: whatever `standard_conforming_strings` says, and safe in
/// encodings whose characters may contain a quote's or backslash's byte (`$` is in none).
pub(crate) fn put_quoted(query: &mut Vec<u8>, value: &[u8]) {
    let mut tag = b"$s$".to_vec();
    while !ends_only_at(value, &tag) {
        tag.insert(1, b's');
    }
    for part in [&tag, value, &tag] {
        query.extend_from_slice(part);
    }
}

/// Whether, after the opening tag, the tag is first found behind the whole value.
fn ends_only_at(value: &[u8], tag: &[u8]) -> bool {
    let text = [value, tag].concat();
    text.windows(tag.len()).position(|window| window == tag) == Some(value.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Registry;

    #[track_caller]
    fn check(from: &[(&str, &str)], to: &[(&str, &str)], expected: &[(&str, bool)]) {
        let registry = Registry::default();
        let settings = |pairs: &[(&str, &str)]| {
            let values = pairs.iter().map(|(n, v)| (n.as_bytes().into(), v.as_bytes().into()));
            registry.settings(values.collect())
        };
        let (from, to) = (settings(from), settings(to));
        let steps = steps(&from, &to, &CustomNames::default());
        let queries: Vec<(&str, bool)> = steps
            .iter()
            .map(|step| (std::str::from_utf8(&step.query).unwrap().trim_end(), step.decides))
            .collect();
        assert_eq!(queries, expected);
        assert_eq!(steps.last().map_or(&from.values, |step| &step.then), &to.values);
    }

    #[test]
    fn the_shortest_way() {
        let name = ("application_name", "web");
        check(&[name], &[name], &[]);
        check(
            &[("application_name", "job")],
            &[name],
            &[("SET application_name = $s$web$s$", false)],
        );
        check(
            &[("a", "1"), name, ("b", "2")],
            &[name, ("b", "3")],
            &[("RESET \"a\"; SELECT pg_catalog.set_config($s$b$s$, $s$3$s$, false);", true)],
        );
    }

    #[test]
    fn the_encoding_comes_first_and_who_acts_last() {
        check(
            &[("role", "bob")],
            &[("client_encoding", "LATIN1"), ("session_authorization", "ann"), ("x.y", "\u{e9}")],
            &[
                ("SELECT pg_catalog.set_config($s$client_encoding$s$, $s$LATIN1$s$, false);", true),
                (
                    "RESET ROLE; RESET SESSION AUTHORIZATION; \
                     SELECT pg_catalog.set_config($s$x.y$s$, $s$\u{e9}$s$, false); \
                     SELECT pg_catalog.set_config($s$session_authorization$s$, $s$ann$s$, false);",
                    true,
                ),
            ],
        );
        check(
            &[("role", "bob")],
            &[("a", "1"), ("role", "bob")],
            &[(
                "RESET ROLE; RESET SESSION AUTHORIZATION; \
                 SELECT pg_catalog.set_config($s$a$s$, $s$1$s$, false); \
                 SELECT pg_catalog.set_config($s$role$s$, $s$bob$s$, false);",
                true,
            )],
        );
    }

    #[test]
    fn nothing_gets_out_of_its_quotes() {
        let quoted = |value: &str| {
            let mut out = Vec::new();
            put_quoted(&mut out, value.as_bytes());
            String::from_utf8(out).unwrap()
        };
        assert_eq!(quoted("it's \\"), "$s$it's \\$s$");
        assert_eq!(quoted("a$s$b"), "$ss$a$s$b$ss$");
        assert_eq!(quoted("a$s"), "$ss$a$s$ss$");
        assert_eq!(quoted("a$"), "$s$a$$s$");
        let mut name = Vec::new();
        put_name(&mut name, b"a\"; x");
        assert_eq!(name, b"\"a\"\"; x\"");
    }
}
