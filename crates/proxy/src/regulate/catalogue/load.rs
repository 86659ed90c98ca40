//! Reads PostgreSQL's catalogue, on a connection of the pool: once a second whether it has changed,
//! and all of it if it has.

use std::sync::Arc;
use std::time::Duration;

use sql::body_settings;

use super::super::House;
use super::{Catalogue, Changes, name_hash, operator_hash};
use crate::backend::{Backend, OpenError};
use crate::timer::timeout;

/// How long waiting for a connection and for the answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// One row that changes with what is read below. Objects that are not PostgreSQL's own have
/// identifiers from 16384 on (`FirstNormalObjectId`).
const SIGNATURE: &[u8] = b"SELECT pg_catalog.md5(pg_catalog.concat_ws(' ', \
    (SELECT pg_catalog.concat(pg_catalog.count(*), ' ', \
        pg_catalog.sum(pg_catalog.hashint8(xmin::text::bigint # (oid::bigint << 32)))) \
     FROM pg_catalog.pg_proc WHERE oid >= 16384), \
    (SELECT pg_catalog.concat(pg_catalog.count(*), ' ', \
        pg_catalog.sum(pg_catalog.hashint8(xmin::text::bigint # (oid::bigint << 32)))) \
     FROM pg_catalog.pg_trigger WHERE NOT tgisinternal), \
    (SELECT pg_catalog.concat(pg_catalog.count(*), ' ', \
        pg_catalog.sum(pg_catalog.hashint8(xmin::text::bigint # (oid::bigint << 32)))) \
     FROM pg_catalog.pg_rewrite WHERE oid >= 16384), \
    (SELECT pg_catalog.concat(pg_catalog.count(*), ' ', \
        pg_catalog.sum(pg_catalog.hashint8(xmin::text::bigint # (oid::bigint << 32)))) \
     FROM pg_catalog.pg_attrdef), \
    (SELECT pg_catalog.concat(pg_catalog.count(*), ' ', \
        pg_catalog.sum(pg_catalog.hashint8(xmin::text::bigint # (oid::bigint << 32)))) \
     FROM pg_catalog.pg_policy), \
    (SELECT pg_catalog.concat(pg_catalog.count(*), ' ', \
        pg_catalog.sum(pg_catalog.hashint8(xmin::text::bigint # (oid::bigint << 32)))) \
     FROM pg_catalog.pg_constraint WHERE oid >= 16384), \
    (SELECT pg_catalog.concat(pg_catalog.count(*), ' ', \
        pg_catalog.sum(pg_catalog.hashint8(xmin::text::bigint # (inhrelid::bigint << 32)))) \
     FROM pg_catalog.pg_inherits), \
    (SELECT pg_catalog.concat(pg_catalog.count(*), ' ', pg_catalog.max(oid)) \
     FROM pg_catalog.pg_operator WHERE oid >= 16384), \
    (SELECT pg_catalog.concat(pg_catalog.count(*), ' ', pg_catalog.max(oid)) \
     FROM pg_catalog.pg_class WHERE oid >= 16384)))";

/// Rows of a kind, a name and perhaps a source: `f` functions, `c` functions in C, `r` what reaches
/// a function, `o` operators, `s` relations of which something looks at settings,
/// `q` relations of which something calls `lastval` or `currval`, `l` a function that does, `x`
/// casts.
const CATALOGUE: &[u8] = b"WITH RECURSIVE functions AS ( \
    SELECT p.oid, p.proname, l.lanname, p.prosrc \
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
    WHERE p.oid >= 16384 AND NOT (p.provolatile IN ('i', 's') \
        AND l.lanname IN ('c', 'internal', 'sql') \
        AND EXISTS (SELECT FROM pg_catalog.pg_depend d \
            WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid \
            AND d.deptype = 'e')) \
), builtin AS ( \
    SELECT ':funcid (' || pg_catalog.string_agg(oid::text, '|') || ') ' AS pattern \
    FROM pg_catalog.pg_proc WHERE oid < 16384 AND proname IN ('set_config', 'setseed', \
        'pg_advisory_lock', 'pg_advisory_lock_shared', 'pg_try_advisory_lock', \
        'pg_try_advisory_lock_shared', 'query_to_xml', 'table_to_xml', 'ts_stat', 'ts_rewrite', \
        'pg_create_logical_replication_slot', 'pg_create_physical_replication_slot') \
), reading AS ( \
    SELECT ':funcid (' || pg_catalog.string_agg(oid::text, '|') || ') ' AS pattern \
    FROM pg_catalog.pg_proc WHERE oid < 16384 AND proname = 'current_setting' \
), sequences AS ( \
    SELECT ':funcid (' || pg_catalog.string_agg(oid::text, '|') || ') ' AS pattern \
    FROM pg_catalog.pg_proc WHERE oid < 16384 AND proname IN ('lastval', 'currval') \
), trees AS ( \
    SELECT ev_class AS relation, ev_action::text AS tree FROM pg_catalog.pg_rewrite \
        WHERE oid >= 16384 \
    UNION ALL SELECT adrelid, adbin::text FROM pg_catalog.pg_attrdef \
    UNION ALL SELECT polrelid, pg_catalog.concat(polqual::text, polwithcheck::text) \
        FROM pg_catalog.pg_policy \
    UNION ALL SELECT conrelid, conbin::text FROM pg_catalog.pg_constraint \
        WHERE oid >= 16384 AND conrelid <> 0 AND conbin IS NOT NULL \
), calls AS ( \
    SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN functions f ON d.refobjid = f.oid \
    WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
), types AS ( \
    SELECT t.oid, t.typname FROM pg_catalog.pg_type t WHERE t.oid IN ( \
        SELECT objid FROM calls WHERE classid = 'pg_catalog.pg_type'::pg_catalog.regclass \
        UNION ALL SELECT c.contypid FROM pg_catalog.pg_constraint c JOIN calls ON c.oid = objid \
            WHERE classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass) \
), reached AS ( \
    SELECT w.ev_class AS oid FROM pg_catalog.pg_rewrite w JOIN calls ON w.oid = objid \
        WHERE classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
    UNION SELECT a.adrelid FROM pg_catalog.pg_attrdef a JOIN calls ON a.oid = objid \
        WHERE classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass \
    UNION SELECT c.conrelid FROM pg_catalog.pg_constraint c JOIN calls ON c.oid = objid \
        WHERE classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass \
    UNION SELECT p.polrelid FROM pg_catalog.pg_policy p JOIN calls ON p.oid = objid \
        WHERE classid = 'pg_catalog.pg_policy'::pg_catalog.regclass \
    UNION SELECT t.tgrelid FROM pg_catalog.pg_trigger t JOIN calls ON t.oid = objid \
        WHERE classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass \
    UNION SELECT coalesce(i.indrelid, objid) FROM calls \
        LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = objid \
        WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
    UNION SELECT attrelid FROM pg_catalog.pg_attribute WHERE atttypid IN (SELECT oid FROM types) \
    UNION SELECT relation FROM trees, builtin WHERE tree ~ pattern \
    UNION SELECT next.oid FROM reached r CROSS JOIN LATERAL ( \
        SELECT w.ev_class AS oid FROM pg_catalog.pg_depend d \
            JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid \
            WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
            AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = r.oid \
        UNION ALL SELECT confrelid FROM pg_catalog.pg_constraint \
            WHERE contype = 'f' AND conrelid = r.oid \
            AND (confupdtype IN ('c', 'n', 'd') OR confdeltype IN ('c', 'n', 'd')) \
        UNION ALL SELECT inhparent FROM pg_catalog.pg_inherits WHERE inhrelid = r.oid) next \
), readers AS ( \
    SELECT relation AS oid FROM trees, reading WHERE tree ~ pattern \
    UNION SELECT next.oid FROM readers r CROSS JOIN LATERAL ( \
        SELECT w.ev_class AS oid FROM pg_catalog.pg_depend d \
            JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid \
            WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
            AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = r.oid \
        UNION ALL SELECT inhparent FROM pg_catalog.pg_inherits WHERE inhrelid = r.oid) next \
), numbered AS ( \
    SELECT relation AS oid FROM trees, sequences WHERE tree ~ pattern \
    UNION SELECT next.oid FROM numbered r CROSS JOIN LATERAL ( \
        SELECT w.ev_class AS oid FROM pg_catalog.pg_depend d \
            JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid \
            WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
            AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
            AND d.refobjid = r.oid) next \
) SELECT CASE lanname WHEN 'c' THEN 'c' ELSE 'f' END, proname, \
    CASE WHEN lanname <> 'c' AND prosrc ~* '\\m(set|set_config|reset|execute|discard)\\M' \
    THEN pg_catalog.left(prosrc, 16000) END FROM functions \
UNION ALL SELECT 'r', relname, NULL FROM pg_catalog.pg_class \
    WHERE oid IN (SELECT oid FROM reached) \
UNION ALL SELECT 'r', typname, NULL FROM types \
UNION ALL SELECT 's', relname, NULL FROM pg_catalog.pg_class \
    WHERE oid IN (SELECT oid FROM readers) \
UNION ALL SELECT 'q', relname, NULL FROM pg_catalog.pg_class \
    WHERE oid IN (SELECT oid FROM numbered) \
UNION ALL (SELECT 'l', '', NULL FROM functions \
    WHERE coalesce(prosrc, '') ~* '\\m(lastval|currval)\\M' LIMIT 1) \
UNION ALL SELECT 'o', o.oprname, NULL FROM pg_catalog.pg_operator o JOIN calls ON o.oid = objid \
    WHERE classid = 'pg_catalog.pg_operator'::pg_catalog.regclass \
UNION ALL SELECT 'x', '', NULL FROM calls \
    WHERE classid = 'pg_catalog.pg_cast'::pg_catalog.regclass";

/// A row: what a name is, the name, and a source.
type Row = Vec<Option<String>>;

impl House {
    /// Looks at the catalogue, if there is a reason to. Cancellation safe.
    pub(crate) async fn look_at_catalogue(self: &Arc<Self>, worker: usize) {
        let look = self.reaches.begin();
        let found = timeout(PATIENCE, self.read_catalogue(worker)).await;
        if let Ok(Some(found)) = found {
            self.reaches.end(look, found);
        }
    }

    /// Looks at the catalogue on a connection that serves nobody at the moment, if nothing can be
    /// said without. `false` if the connection cannot be used any more.
    pub(in crate::regulate) async fn look_if_outdated(&self, backend: &mut Backend) -> bool {
        if !self.reaches.is_outdated() {
            return true;
        }
        let look = self.reaches.begin();
        match timeout(PATIENCE, self.ask_for_catalogue(backend)).await {
            Ok(Ok(found)) => {
                self.reaches.end(look, found);
                true
            }
            Ok(Err(OpenError::Impossible(_))) => true,
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// The catalogue, if it is another than the one that is known.
    async fn ask_for_catalogue(
        &self,
        backend: &mut Backend,
    ) -> Result<Option<Catalogue>, OpenError> {
        let known = self.reaches.signature();
        let signature = backend.ask(&self.settings, SIGNATURE).await?.pop().unwrap_or_default();
        if known.as_deref() == Some(&*signature) {
            return Ok(None);
        }
        let rows = backend.ask_all(&self.settings, CATALOGUE).await?;
        Ok(Some(Catalogue::of(signature, &rows)))
    }

    /// The catalogue, if it is another than before; nothing if it could not be read.
    async fn read_catalogue(&self, worker: usize) -> Option<Option<Catalogue>> {
        let mut borrowed = self.gate.borrow().await?;
        let backend = borrowed.adopt(worker)?;
        let answered = self.ask_for_catalogue(backend).await;
        match answered {
            Ok(found) => {
                borrowed.give_back();
                Some(found)
            }
            Err(error) => {
                tracing::debug!(?error, "the catalogue was not read");
                if let OpenError::Impossible(_) = error {
                    borrowed.give_back();
                }
                None
            }
        }
    }
}

impl Catalogue {
    fn of(signature: String, rows: &[Row]) -> Self {
        let mut catalogue = Self { signature, is_ascii: true, ..Self::default() };
        let mut all = Changes::default();
        let mut relations = Vec::new();
        for row in rows {
            let [Some(kind), Some(name), source] = row.as_slice() else { continue };
            catalogue.is_ascii &= name.is_ascii();
            match kind.as_str() {
                "f" => {
                    let changes = source.as_deref().map(Changes::of_source).unwrap_or_default();
                    all = all.with(&changes);
                    catalogue.add(name, &changes);
                }
                "c" => catalogue.add(name, &Changes { any_setting: true, ..Changes::default() }),
                "r" => relations.push(name),
                "s" => {
                    catalogue.readers.insert(name_hash(name));
                }
                "q" => {
                    catalogue.sequence_readers.insert(name_hash(name));
                }
                "l" => catalogue.functions_read_sequences = true,
                "o" => {
                    catalogue.reached.insert(operator_hash(name), Arc::default());
                }
                _ => catalogue.casts = true,
            }
        }
        // Functions call others, which is not told: each may do what any of them does.
        let all = Arc::new(Changes { any_setting: true, ..all });
        for changes in catalogue.reached.values_mut() {
            *changes = Arc::clone(&all);
        }
        for name in relations {
            catalogue.reached.insert(name_hash(name), Arc::clone(&all));
        }
        catalogue
    }

    /// Functions of the same name add up.
    fn add(&mut self, name: &str, changes: &Changes) {
        let known = self.reached.entry(name_hash(name)).or_default();
        *known = Arc::new(known.with(changes));
    }
}

impl Changes {
    /// What the source of a function names.
    fn of_source(source: &str) -> Self {
        let touched = body_settings(source);
        let settings = touched.names.iter().map(|name| name.as_bytes().into()).collect();
        let is_restored = touched.restored == sql::Restored::Everything;
        let any_setting = touched.unknown || is_restored;
        Self { settings, any_setting, unknowable: touched.computed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_say_what_is_reached() {
        let row = |kind: &str, name: &str, source: Option<&str>| -> Row {
            vec![Some(kind.into()), Some(name.into()), source.map(Into::into)]
        };
        let rows = [
            row("f", "f", Some("begin perform set_config('app.x', '1', false); end")),
            row("f", "f", Some("begin execute what; end")),
            row("r", "t", None),
            row("o", "<->", None),
            row("s", "v", None),
        ];
        let catalogue = Catalogue::of("1".into(), &rows);
        let of = |hash| catalogue.reached.get(&hash).map(|changes| (**changes).clone());
        let settings = vec![b"app.x"[..].into()];
        let all = Changes { settings, any_setting: true, unknowable: false };
        assert_eq!(of(name_hash("f")), Some(all.clone()));
        assert_eq!(of(name_hash("t")), Some(all));
        assert!(of(operator_hash("<->")).is_some());
        assert!(catalogue.readers.contains(&name_hash("v")) && !catalogue.casts);
    }
}
