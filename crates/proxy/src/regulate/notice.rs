//! What a client is told without having asked.

use trace::{PinCause, SqlState};

use crate::answer::Answer;

/// The longest name that PostgreSQL keeps, in bytes (`NAMEDATALEN` − 1).
const NAME_MAX: usize = 63;

/// Cuts a name as PostgreSQL does, which tells its client so (42622, `name_too_long`).
pub(super) fn truncate(name: &mut Vec<u8>) -> Option<Answer> {
    if name.len() <= NAME_MAX {
        return None;
    }
    let long = String::from_utf8_lossy(name).into_owned();
    let mut end = NAME_MAX;
    while !long.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    let text = format!("identifier \"{long}\" will be truncated to \"{}\"", &long[..end]);
    Some(Answer::new(SqlState(*b"42622"), text))
}

/// What a pinned session's client is told.
pub(super) fn notice(cause: PinCause, statement: Option<&str>) -> Answer {
    let what = match cause {
        PinCause::Set => "a setting that cannot move",
        PinCause::Prepare => "an SQL-level prepared statement",
        PinCause::Listen => "LISTEN",
        PinCause::TemporaryTable => "a temporary object",
        PinCause::CursorWithHold => "a cursor WITH HOLD",
        PinCause::AdvisoryLock => "a session-level advisory lock",
        PinCause::ReplicationSlot => "a temporary replication slot",
        PinCause::Unknown => "effects that cannot be known",
    };
    let of = statement.map_or_else(String::new, |text| format!("; made by: {text}"));
    let mut answer = Answer::new(
        SqlState(*b"00000"),
        format!("surgetank: this session keeps its server connection because of {what}{of}"),
    );
    "it gives the connection back once that is gone".clone_into(&mut answer.hint);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let mut name = b"web".to_vec();
        assert_eq!(truncate(&mut name), None);
        let mut name = format!("{}é", "x".repeat(62)).into_bytes();
        let notice = truncate(&mut name).expect("it is 64 bytes long");
        assert_eq!(name, "x".repeat(62).into_bytes());
        assert!(notice.message.ends_with(&format!("truncated to \"{}\"", "x".repeat(62))));
    }
}
