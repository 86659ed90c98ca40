//! What is asked of the server, and how its answer reads.
//!
//! Only what every role may see: who is connected to what, under which name, and which advisory
//! locks are held. What kind of backend another role's is, is hidden; those that are known to be no
//! clients' are not counted.

use admission::alliance::{Bound, Gossip, Look, Peer};

use crate::backend::{Backend, OpenError};
use crate::settings::Registry;

/// The advisory locks' class: `SURG`. The rung of the ladder is the other half of the key.
const LADDER: u32 = 0x5355_5247;

/// One row. The names are said first, in the same message: so that whoever looks later sees them.
const QUESTION: &str = "WITH a AS MATERIALIZED (\
        SELECT pid, datid, usesysid, application_name, backend_type \
        FROM pg_catalog.pg_stat_activity \
        WHERE datid IS NOT NULL AND usesysid IS NOT NULL \
        AND coalesce(backend_type, 'client backend') = 'client backend'), \
    l AS MATERIALIZED (\
        SELECT pid, locktype, database, classid, objid, objsubid, granted \
        FROM pg_catalog.pg_locks WHERE locktype = 'advisory' OR NOT granted), \
    r AS (SELECT oid, rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user), \
    d AS (SELECT oid, datconnlimit FROM pg_catalog.pg_database \
        WHERE datname = pg_catalog.current_database()) \
    SELECT pg_catalog.pg_backend_pid(), \
    pg_catalog.current_setting('max_connections')::int \
    - pg_catalog.current_setting('superuser_reserved_connections')::int \
    - coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0), \
    (SELECT pg_catalog.count(*) FROM a), \
    r.rolconnlimit, (SELECT pg_catalog.count(*) FROM a WHERE a.usesysid = r.oid), \
    d.datconnlimit, (SELECT pg_catalog.count(*) FROM a WHERE a.datid = d.oid), \
    (SELECT pg_catalog.count(DISTINCT l.pid) FROM l JOIN a USING (pid) \
        WHERE NOT l.granted AND a.datid = d.oid), \
    (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.pid, \
            coalesce((SELECT pg_catalog.max(l.objid::bigint) FROM l WHERE l.pid = a.pid \
                AND l.granted AND l.locktype = 'advisory' AND l.database = d.oid \
                AND l.classid::bigint = 1398100551 AND l.objsubid = 2), -1), \
            (a.usesysid = r.oid)::int, a.application_name), pg_catalog.chr(10)) \
        FROM a WHERE a.datid = d.oid AND a.application_name LIKE 'surgetank/%') \
    FROM r, d";

/// How many columns it has.
const COLUMNS: usize = 9;

/// What takes a rung of the ladder.
pub(super) fn take(rung: u32) -> String {
    format!("SELECT pg_catalog.pg_try_advisory_lock({LADDER}, {rung})")
}

/// What gives it back.
pub(super) fn leave(rung: u32) -> String {
    format!("SELECT pg_catalog.pg_advisory_unlock({LADDER}, {rung})")
}

/// Says this, then looks.
pub(super) async fn ask(
    backend: &mut Backend,
    settings: &Registry,
    said: &Gossip,
) -> Result<Vec<String>, OpenError> {
    let text =
        format!("SELECT pg_catalog.set_config('application_name', '{said}', false); {QUESTION}");
    backend.ask(settings, text.as_bytes()).await
}

/// What the row says, and how many backends of the database wait for locks.
pub(super) fn look_at(row: &[String]) -> Option<(Look, u32)> {
    let [numbers @ .., names] = row else { return None };
    if row.len() != COLUMNS {
        return None;
    }
    let numbers: Vec<i64> = numbers.iter().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let [me, slots, all, role_limit, of_role, database_limit, of_database, blocked] = *numbers
    else {
        return None;
    };
    let count = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
    let bound = |limit: i64, used| Bound { limit: u32::try_from(limit).ok(), used: count(used) };
    let look = Look {
        me: i32::try_from(me).ok()?,
        slots: count(slots),
        all: count(all),
        role: bound(role_limit, of_role),
        database: bound(database_limit, of_database),
        peers: names.lines().filter_map(peer).collect(),
    };
    Some((look, count(blocked)))
}

/// One who speaks; nothing if it is somebody who only bears such a name.
fn peer(line: &str) -> Option<Peer> {
    let mut words = line.splitn(4, ' ');
    let (pid, rung, kin) = (words.next()?, words.next()?, words.next()?);
    Some(Peer {
        pid: pid.parse().ok()?,
        rung: rung.parse().ok(),
        is_kin: kin == "1",
        gossip: Gossip::read(words.next()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(words: [&str; COLUMNS]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_key_is_spelt_the_same_in_all_statements() {
        assert_eq!(LADDER.to_be_bytes(), *b"SURG");
        assert!(QUESTION.contains(&format!("= {LADDER} ")));
        assert_eq!(take(3), format!("SELECT pg_catalog.pg_try_advisory_lock({LADDER}, 3)"));
        assert_eq!(leave(3), format!("SELECT pg_catalog.pg_advisory_unlock({LADDER}, 3)"));
    }

    #[test]
    fn strangers_among_the_names_are_not_heard() {
        let names = "17 0 1 surgetank/1 id=00000a n=1 d=2 o=3 h=4 A=5 F=6\n\
                     19 -1 0 surgetank/1 id=00000b n=1 d=2 o=3 h=4 a=1\n\
                     23 -1 1 surgetank/9 and what not\n\
                     29 -1 1 surgetank/1 id=";
        let row = row(["17", "97", "12", "-1", "5", "20", "6", "1", names]);
        let (look, blocked) = look_at(&row).expect("a whole row");
        assert_eq!((look.me, look.slots, look.all, blocked), (17, 97, 12, 1));
        assert_eq!(look.role, Bound { limit: None, used: 5 });
        assert_eq!(look.database, Bound { limit: Some(20), used: 6 });
        let seen: Vec<_> =
            look.peers.iter().map(|peer| (peer.pid, peer.rung, peer.is_kin)).collect();
        assert_eq!(seen, [(17, Some(0), true), (19, None, false)]);
    }

    #[test]
    fn a_row_of_another_shape_is_none() {
        assert_eq!(look_at(&[]), None);
        assert_eq!(look_at(&row(["17", "", "1", "1", "1", "1", "1", "1", ""])), None);
        let (look, _) = look_at(&row(["1"; COLUMNS])).expect("nobody speaks");
        assert_eq!(look.peers, []);
    }
}
