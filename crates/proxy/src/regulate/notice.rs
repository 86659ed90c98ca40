//! Why a session is pinned, in words for its client.

use trace::{PinCause, SqlState};

use crate::answer::Answer;

/// What a pinned session's client is told.
pub(super) fn notice(cause: PinCause, statement: Option<&str>) -> Answer {
    let what = match cause {
        PinCause::Set => "a setting that cannot move",
        PinCause::Prepare => "an SQL-level prepared statement",
        PinCause::Listen => "LISTEN",
        PinCause::TemporaryTable => "a temporary object",
        PinCause::CursorWithHold => "a cursor WITH HOLD",
        PinCause::AdvisoryLock => "a session-level advisory lock",
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
