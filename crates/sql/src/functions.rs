//! PostgreSQL's own functions and views that do something to the session, by name.
//!
//! All other built-in functions leave nothing behind in their session; users' functions are looked
//! up in the catalogue. Versions 14 to 18.

use crate::kind::SessionEffect;

/// What a built-in function or view of this name, in lower case, does to its session.
#[inline]
pub(crate) fn effect(name: &[u8]) -> Option<SessionEffect> {
    // Most words are none: by length and letters they are out before a comparison.
    if name.len() < 6 {
        return None;
    }
    match name[0] {
        b's' if name == b"setval" => Some(SessionEffect::SequenceUse),
        b'p' if name.starts_with(b"pg_") => of_system(name),
        b'c' | b'd' | b'l' | b'n' | b'q' | b's' | b't' => of_others(name),
        _ => None,
    }
}

fn of_system(name: &[u8]) -> Option<SessionEffect> {
    Some(match name {
        b"pg_advisory_lock"
        | b"pg_advisory_lock_shared"
        | b"pg_try_advisory_lock"
        | b"pg_try_advisory_lock_shared" => SessionEffect::AdvisoryLock,
        b"pg_advisory_unlock" | b"pg_advisory_unlock_shared" | b"pg_advisory_unlock_all" => {
            SessionEffect::Release
        }
        b"pg_create_logical_replication_slot"
        | b"pg_create_physical_replication_slot"
        | b"pg_copy_logical_replication_slot"
        | b"pg_copy_physical_replication_slot" => SessionEffect::ReplicationSlot,
        b"pg_drop_replication_slot" => SessionEffect::Release,
        b"pg_prepared_statements" | b"pg_prepared_statement" => SessionEffect::ReadsStatementNames,
        b"pg_replication_origin_session_setup" | b"pg_backup_start" | b"pg_start_backup" => {
            SessionEffect::Unknown
        }
        _ => return None,
    })
}

fn of_others(name: &[u8]) -> Option<SessionEffect> {
    Some(match name {
        b"set_config" => SessionEffect::Set,
        b"current_setting" => SessionEffect::ReadsSettings,
        b"setseed" | b"dblink_connect" | b"dblink_connect_u" => SessionEffect::Unknown,
        b"lastval" | b"currval" => SessionEffect::SequenceRead,
        b"nextval" => SessionEffect::SequenceUse,
        // They run SQL that they are given as text, or read tables that they are given by name.
        b"query_to_xml"
        | b"query_to_xmlschema"
        | b"query_to_xml_and_xmlschema"
        | b"cursor_to_xml"
        | b"cursor_to_xmlschema"
        | b"table_to_xml"
        | b"table_to_xmlschema"
        | b"table_to_xml_and_xmlschema"
        | b"schema_to_xml"
        | b"schema_to_xml_and_xmlschema"
        | b"database_to_xml"
        | b"database_to_xml_and_xmlschema"
        | b"ts_stat"
        | b"ts_rewrite"
        // tablefunc and xml2
        | b"crosstab"
        | b"crosstab2"
        | b"crosstab3"
        | b"crosstab4"
        | b"connectby"
        | b"xpath_table" => SessionEffect::Anything,
        _ => return None,
    })
}
