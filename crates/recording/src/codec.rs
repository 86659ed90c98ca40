//! Events to bytes and back: the only place that knows how an event looks in a file.
//!
//! An event is a tag (one byte), the length of its body (`u32`), and the body: the fields in the
//! order of the lists below, each in the form that `fields` gives its type. A reader passes over a
//! tag that it does not know by the length, so that later versions may add events. A known event is
//! never changed: it gets a new tag.

#![deny(clippy::indexing_slicing)]

mod fields;

use trace::Event;

pub(crate) use fields::Corrupt;
use fields::{Bytes, Field};

/// The tags. Never given twice, not even when an event is gone.
mod tag {
    pub(super) const REQUEST: u8 = 1;
    pub(super) const SESSION_OPENED: u8 = 2;
    pub(super) const SESSION_CLOSED: u8 = 3;
    pub(super) const SERVER_OPENED: u8 = 4;
    pub(super) const SERVER_CLOSED: u8 = 5;
    pub(super) const SESSION_PINNED: u8 = 6;
    pub(super) const STATEMENT_SEEN: u8 = 7;
    pub(super) const POOL_SAMPLED: u8 = 8;
    pub(super) const REQUEST_REFUSED: u8 = 9;
    pub(super) const ACTIVITY_SAMPLED: u8 = 10;
    pub(super) const LOCK_WAIT_SAMPLED: u8 = 11;
    pub(super) const STATEMENT_SAMPLED: u8 = 12;
    pub(super) const TABLE_SAMPLED: u8 = 13;
    pub(super) const PLAN_SEEN: u8 = 14;
    pub(super) const SETTING_SEEN: u8 = 15;
    pub(super) const DYNO_NAMED: u8 = 16;
    pub(super) const DYNO_STATE_CHANGED: u8 = 17;
    /// As it was before it had a request id and a trace; read, no longer written.
    pub(super) const HTTP_SERVED_UNTRACED: u8 = 18;
    pub(super) const LINE_LOGGED: u8 = 19;
    pub(super) const MARKED: u8 = 20;
    pub(super) const EVENTS_LOST: u8 = 21;
    pub(super) const SESSION_UNPINNED: u8 = 22;
    pub(super) const LIMIT_CHANGED: u8 = 23;
    pub(super) const REQUEST_TRACED: u8 = 24;
    pub(super) const HTTP_SERVED: u8 = 25;
    pub(super) const DYNO_SIZED: u8 = 26;
    pub(super) const RELEASE_DEPLOYED: u8 = 27;
}

/// Appends an event; `false`, and nothing appended, if its body is longer than a length can say.
pub(crate) fn encode(event: &Event, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.push(0);
    out.extend_from_slice(&[0; 4]);
    let body = out.len();
    let tag = put_body(event, out);
    let Ok(length) = u32::try_from(out.len() - body) else {
        out.truncate(start);
        return false;
    };
    if let Some([tag_byte, length_bytes @ ..]) = out.get_mut(start..body) {
        *tag_byte = tag;
        length_bytes.copy_from_slice(&length.to_le_bytes());
    }
    true
}

fn put_body(event: &Event, out: &mut Vec<u8>) -> u8 {
    /// Writes the fields and gives the tag.
    macro_rules! put {
        ($tag:ident: $($field:expr),+) => {{ $($field.put(out);)+ tag::$tag }};
    }
    match event {
        Event::Request(request) => put!(REQUEST: request),
        Event::RequestTraced(traced) => put!(REQUEST_TRACED: traced),
        Event::SessionOpened { at, session, dyno } => put!(SESSION_OPENED: at, session, dyno),
        Event::SessionClosed { at, session } => put!(SESSION_CLOSED: at, session),
        Event::ServerOpened { at, backend, session } => {
            put!(SERVER_OPENED: at, backend, session)
        }
        Event::ServerClosed { at, backend } => put!(SERVER_CLOSED: at, backend),
        Event::SessionPinned { at, session, cause, statement } => {
            put!(SESSION_PINNED: at, session, cause, statement)
        }
        Event::SessionUnpinned { at, session } => put!(SESSION_UNPINNED: at, session),
        Event::StatementSeen(seen) => put!(STATEMENT_SEEN: seen),
        Event::PoolSampled(sample) => put!(POOL_SAMPLED: sample),
        Event::LimitChanged(change) => put!(LIMIT_CHANGED: change),
        Event::RequestRefused(refusal) => put!(REQUEST_REFUSED: refusal),
        Event::ActivitySampled(sample) => put!(ACTIVITY_SAMPLED: sample),
        Event::LockWaitSampled(sample) => put!(LOCK_WAIT_SAMPLED: sample),
        Event::StatementSampled(sample) => put!(STATEMENT_SAMPLED: sample),
        Event::TableSampled(sample) => put!(TABLE_SAMPLED: sample),
        Event::PlanSeen(plan) => put!(PLAN_SEEN: plan),
        Event::SettingSeen { at, name, value } => put!(SETTING_SEEN: at, name, value),
        Event::DynoNamed { at, dyno, name } => put!(DYNO_NAMED: at, dyno, name),
        Event::DynoSized { at, dyno, size } => put!(DYNO_SIZED: at, dyno, size),
        Event::ReleaseDeployed { at, version, config } => {
            put!(RELEASE_DEPLOYED: at, version, config)
        }
        Event::DynoStateChanged { at, dyno, state } => {
            put!(DYNO_STATE_CHANGED: at, dyno, state)
        }
        Event::HttpServed(served) => put!(HTTP_SERVED: served),
        Event::LineLogged(line) => put!(LINE_LOGGED: line),
        Event::Marked { at, text } => put!(MARKED: at, text),
        Event::EventsLost { at, count } => put!(EVENTS_LOST: at, count),
    }
}

/// Reads all events of a frame's payload into `events`; those of unknown tags are passed over.
///
/// # Errors
/// At the first byte that cannot be; what came before stays in `events`.
pub(crate) fn decode_all(payload: &[u8], events: &mut Vec<Event>) -> Result<(), Corrupt> {
    let mut payload = Bytes::new(payload);
    while !payload.is_empty() {
        let tag = u8::take(&mut payload)?;
        let length = u32::take(&mut payload)?;
        let mut body = Bytes::new(payload.bytes(length)?);
        if let Some(event) = take_body(tag, &mut body)? {
            if !body.is_empty() {
                return Err(Corrupt("an event is longer than its fields"));
            }
            events.push(event);
        }
    }
    Ok(())
}

/// `None` for an unknown tag.
fn take_body(tag: u8, body: &mut Bytes<'_>) -> Result<Option<Event>, Corrupt> {
    /// Reads the named fields, in the order in which they are given.
    macro_rules! take {
        ($variant:ident { $($field:ident),+ }) => {
            Event::$variant { $($field: Field::take(body)?),+ }
        };
    }
    Ok(Some(match tag {
        tag::REQUEST => Event::Request(Field::take(body)?),
        tag::REQUEST_TRACED => Event::RequestTraced(Field::take(body)?),
        tag::SESSION_OPENED => take!(SessionOpened { at, session, dyno }),
        tag::SESSION_CLOSED => take!(SessionClosed { at, session }),
        tag::SERVER_OPENED => take!(ServerOpened { at, backend, session }),
        tag::SERVER_CLOSED => take!(ServerClosed { at, backend }),
        tag::SESSION_PINNED => take!(SessionPinned { at, session, cause, statement }),
        tag::SESSION_UNPINNED => take!(SessionUnpinned { at, session }),
        tag::STATEMENT_SEEN => Event::StatementSeen(Field::take(body)?),
        tag::POOL_SAMPLED => Event::PoolSampled(Field::take(body)?),
        tag::LIMIT_CHANGED => Event::LimitChanged(Field::take(body)?),
        tag::REQUEST_REFUSED => Event::RequestRefused(Field::take(body)?),
        tag::ACTIVITY_SAMPLED => Event::ActivitySampled(Field::take(body)?),
        tag::LOCK_WAIT_SAMPLED => Event::LockWaitSampled(Field::take(body)?),
        tag::STATEMENT_SAMPLED => Event::StatementSampled(Field::take(body)?),
        tag::TABLE_SAMPLED => Event::TableSampled(Field::take(body)?),
        tag::PLAN_SEEN => Event::PlanSeen(Field::take(body)?),
        tag::SETTING_SEEN => take!(SettingSeen { at, name, value }),
        tag::DYNO_NAMED => take!(DynoNamed { at, dyno, name }),
        tag::DYNO_SIZED => take!(DynoSized { at, dyno, size }),
        tag::RELEASE_DEPLOYED => take!(ReleaseDeployed { at, version, config }),
        tag::DYNO_STATE_CHANGED => take!(DynoStateChanged { at, dyno, state }),
        tag::HTTP_SERVED_UNTRACED => {
            Event::HttpServed(Box::new(fields::http_served_untraced(body)?))
        }
        tag::HTTP_SERVED => Event::HttpServed(Field::take(body)?),
        tag::LINE_LOGGED => Event::LineLogged(Field::take(body)?),
        tag::MARKED => take!(Marked { at, text }),
        tag::EVENTS_LOST => take!(EventsLost { at, count }),
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests;
