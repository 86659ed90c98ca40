//! What PostgreSQL is asked once a transaction is over that may have left something behind.
//!
//! The truth is asked for, not worked out: so rollbacks, savepoints, errors, `SET LOCAL` and
//! whatever functions did are exact without being understood.

use sql::{Effects, SessionEffect};
use wire::cursor::Cursor;

use crate::settings::{is_custom, put_quoted};

/// Longest value of a setting that moves between server connections, in bytes.
const VALUE_MAX: usize = 16 * 1024;

/// Longest row of an answer that is read; a longer one holds a value that stays where it is.
pub(super) const ROW_MAX: usize = VALUE_MAX + 4096;

/// Kinds of object that tie a session to its server connection: how their rows are marked, and
/// whether there are any.
const OBJECTS: [(SessionEffect, u8, &str); 6] = [
    (
        SessionEffect::Prepare,
        b'p',
        "SELECT 'p' WHERE EXISTS \
         (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql)",
    ),
    (
        SessionEffect::Listen,
        b'l',
        "SELECT 'l' WHERE EXISTS (SELECT FROM pg_catalog.pg_listening_channels())",
    ),
    (
        // All that is in the schema depends on it: so `DISCARD TEMP` finds it, too.
        SessionEffect::TemporaryTable,
        b't',
        "SELECT 't' WHERE EXISTS (SELECT FROM pg_catalog.pg_depend \
         WHERE refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
         AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())",
    ),
    (
        SessionEffect::CursorWithHold,
        b'h',
        "SELECT 'h' WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)",
    ),
    (
        SessionEffect::AdvisoryLock,
        b'a',
        "SELECT 'a' WHERE EXISTS (SELECT FROM pg_catalog.pg_locks \
         WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
         AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())",
    ),
    (
        SessionEffect::ReplicationSlot,
        b'r',
        "SELECT 'r' WHERE EXISTS (SELECT FROM pg_catalog.pg_replication_slots \
         WHERE temporary AND active_pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())",
    ),
];

/// Custom settings that no library has defined are not among these: they are asked for by name.
const ANY_SETTING: &[u8] =
    b"SELECT 's', pg_catalog.lower(name), pg_catalog.current_setting(name), source \
      FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session' \
      AND name OPERATOR(pg_catalog.!~~) 'transaction\\_%'; ";

/// All kinds of object.
pub(super) fn all_objects() -> Effects {
    OBJECTS.iter().fold(Effects::NONE, |sum, (effect, ..)| sum.with(*effect))
}

/// A question.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Question {
    /// The values of these settings.
    pub(super) names: Vec<Box<[u8]>>,
    /// Whether they may be back at their defaults, which takes longer to find out.
    pub(super) restores: bool,
    /// The values of all settings that are the session's own.
    pub(super) any_setting: bool,
    /// Whether there are objects of these kinds.
    pub(super) objects: Effects,
}

/// A setting, and its value if that is the session's own: not its default.
pub(super) type Found = (Box<[u8]>, Option<Box<[u8]>>);

/// What is known of it so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answers {
    pub(super) values: Vec<Found>,
    /// Kinds of object that are there.
    pub(super) objects: Effects,
    /// A value is too long to move.
    pub(super) has_giant: bool,
}

impl Question {
    /// The query, of one or two statements.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if !self.names.is_empty() {
            self.put_names(&mut text);
        }
        if self.any_setting {
            text.extend_from_slice(ANY_SETTING);
        }
        let parts: Vec<&str> = OBJECTS
            .iter()
            .filter(|(effect, ..)| self.objects.has(*effect))
            .map(|(.., part)| *part)
            .collect();
        text.extend_from_slice(parts.join(" UNION ALL ").as_bytes());
        text
    }

    fn put_names(&self, text: &mut Vec<u8>) {
        let source = if self.restores { "s.source" } else { "'session'" };
        text.extend_from_slice(b"SELECT 's', n, pg_catalog.current_setting(n, true), ");
        text.extend_from_slice(source.as_bytes());
        text.extend_from_slice(b" FROM (VALUES ");
        for (index, name) in self.names.iter().enumerate() {
            text.extend_from_slice(if index == 0 { b"(" } else { b", (" });
            put_quoted(text, name);
            text.push(b')');
        }
        text.extend_from_slice(b") AS v (n)");
        if self.restores {
            text.extend_from_slice(
                b" LEFT JOIN pg_catalog.pg_settings AS s \
                  ON pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) n",
            );
        }
        text.extend_from_slice(b"; ");
    }
}

impl Answers {
    /// Reads a `DataRow` of the answer; `user` is who logged in.
    pub(super) fn read(&mut self, row: &[u8], user: &[u8]) {
        match columns(row).as_slice() {
            [Some(b"s"), Some(name), value, source] => {
                let value = value.filter(|value| is_own(name, value, *source, user));
                self.has_giant |= value.is_some_and(|value| value.len() > VALUE_MAX);
                self.values.push(((*name).into(), value.map(Into::into)));
            }
            [Some([mark])] => {
                let found = OBJECTS.iter().find(|(_, known, _)| known == mark);
                if let Some((effect, ..)) = found {
                    self.objects = self.objects.with(*effect);
                }
            }
            _ => {}
        }
    }
}

/// Whether a setting has a value of the session's own.
fn is_own(name: &[u8], value: &[u8], source: Option<&[u8]>, user: &[u8]) -> bool {
    match name {
        // These are in no catalog.
        b"role" => value != b"none",
        b"session_authorization" => value != user,
        // Custom settings have no default: once cleared they are the empty string.
        _ if is_custom(name) && source.is_none_or(|source| source == b"session") => true,
        _ => source == Some(b"session"),
    }
}

fn columns(row: &[u8]) -> Vec<Option<&[u8]>> {
    let mut cursor = Cursor::new(row);
    let count = cursor.i16().and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    (0..count)
        .map(|_| cursor.i32().and_then(|length| cursor.bytes(usize::try_from(length).ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[Option<&str>]) -> Vec<u8> {
        let mut row = i16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
        for column in columns {
            let length = column.map_or(-1, |text| i32::try_from(text.len()).unwrap());
            row.extend_from_slice(&length.to_be_bytes());
            row.extend_from_slice(column.unwrap_or_default().as_bytes());
        }
        row
    }

    #[test]
    fn only_what_is_needed_is_asked() {
        let names = vec![b"timezone".as_slice().into(), b"app.user".as_slice().into()];
        let question = Question { names, ..Question::default() };
        assert_eq!(
            String::from_utf8(question.text()).unwrap(),
            "SELECT 's', n, pg_catalog.current_setting(n, true), 'session' \
             FROM (VALUES ($s$timezone$s$), ($s$app.user$s$)) AS v (n); "
        );
        let objects = Effects::NONE.with(SessionEffect::Listen).with(SessionEffect::Prepare);
        let question = Question { objects, ..Question::default() };
        let text = String::from_utf8(question.text()).unwrap();
        assert!(text.starts_with("SELECT 'p'") && text.contains(" UNION ALL SELECT 'l'"), "{text}");
    }

    #[test]
    fn what_is_at_its_default_is_nobodys_own() {
        let cases = [
            (["timezone", "UTC", "session"], true),
            (["timezone", "UTC", "configuration file"], false),
            (["role", "none", "session"], false),
            (["role", "bob", "session"], true),
            (["session_authorization", "ann", "session"], false),
            (["session_authorization", "bob", "session"], true),
            (["app.user", "", "session"], true),
            (["app.user", "7", "session"], true),
        ];
        for (columns, expected) in cases {
            let [name, value, source] = columns.map(Some);
            let mut answers = Answers::default();
            answers.read(&row(&[Some("s"), name, value, source]), b"ann");
            assert_eq!(answers.values[0].1.is_some(), expected, "{columns:?}");
        }
        let mut answers = Answers::default();
        answers.read(&row(&[Some("s"), Some("app.user"), Some("7"), None]), b"ann");
        answers.read(&row(&[Some("s"), Some("nothing"), None, Some("session")]), b"ann");
        answers.read(&row(&[Some("a")]), b"ann");
        assert_eq!(answers.values[0].1.as_deref(), Some(&b"7"[..]));
        assert_eq!(answers.values[1].1, None);
        assert!(answers.objects.has(SessionEffect::AdvisoryLock));
        answers.read(b"broken", b"ann");
    }
}
