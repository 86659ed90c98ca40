//! A short signature of the settings that a new session of a kind would begin with.
//!
//! It has two parts, for two kinds of change:
//!
//! * the settings of the role and the database (`pg_db_role_setting`), which are applied at login.
//!   The row versions (`xmin`) are in it, so that a change is seen that changes nothing else;
//! * what PostgreSQL reports at login. A session's own `SET` is not in it: `reset_val` is the value
//!   that the session began with, or that the configuration files gave since.
//!
//! Every role may read all of it. Only hashes are sent, so that the session's `client_encoding` has
//! no part in it.

use trace::Micros;

use crate::backend::{Backend, OpenError};
use crate::settings::Registry;

/// What one connection says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    /// Of the settings of the role and the database.
    pub(super) role_settings: Box<str>,
    /// Of what is reported at login.
    pub(super) values: Box<str>,
}

/// Before and after the time at which the connection had read the configuration files when it was
/// last asked. `pg_settings` takes ten times as long as all the rest (1 ms): only if they were read
/// since. (`server_version` and others that no session ever sees changed are left out; the
/// connection asked is of one server.)
const QUESTION: [&str; 2] = [
    "SELECT (SELECT pg_catalog.sum(pg_catalog.hashtext(pg_catalog.concat_ws(' ', \
         s.xmin, s.setdatabase, s.setrole, s.setconfig))) \
         FROM pg_catalog.pg_db_role_setting s \
         WHERE s.setdatabase IN (0, a.datid) AND s.setrole IN (0, a.usesysid)), \
     pg_catalog.concat_ws(' ', pg_catalog.pg_is_in_recovery(), \
         (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.oid = a.usesysid)), \
     l.loaded, CASE WHEN l.loaded = '",
    "' THEN NULL ELSE (SELECT pg_catalog.sum(pg_catalog.hashtext(\
         pg_catalog.concat_ws(' ', s.name, s.reset_val))) \
         FROM pg_catalog.pg_settings s WHERE s.name IN ('DateStyle', 'IntervalStyle', 'TimeZone', \
             'client_encoding', 'default_transaction_read_only', 'scram_iterations', \
             'search_path', 'standard_conforming_strings')) END \
     FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a, \
     (SELECT extract(epoch FROM pg_catalog.pg_conf_load_time())::text AS loaded) l",
];

/// Asks a connection that serves nobody at the moment.
pub(super) async fn ask(
    backend: &mut Backend,
    settings: &Registry,
    at: Micros,
) -> Result<Signature, OpenError> {
    let question = QUESTION.join(&backend.asked.loaded);
    backend.asked.at = at;
    let row = backend.ask(settings, question.as_bytes()).await?;
    let [role_settings, state, loaded, values] = <[String; 4]>::try_from(row)
        .map_err(|_| OpenError::Impossible("no sense in the answer".to_owned()))?;
    let asked = &mut backend.asked;
    if *asked.loaded != *loaded {
        // It becomes a part of the next question.
        if !loaded.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(OpenError::Impossible(format!("{loaded:?} is not a time")));
        }
        (asked.loaded, asked.values) = (loaded.into(), values.into());
    }
    let values = format!("{state} {}", asked.values);
    Ok(Signature { role_settings: role_settings.into(), values: values.into() })
}
