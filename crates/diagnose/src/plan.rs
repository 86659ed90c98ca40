//! Reads plans: which statements look for `column = $n` by reading a whole big table.
//!
//! PostgreSQL is the parser of record: columns and tables are taken from its plan, never from the
//! statement's text.

use serde_json::Value;
use trace::Fingerprint;

use crate::story::Story;

/// A table below this many rows is read faster than an index would be.
const BIG_TABLE: u64 = 10_000;
/// An index pays if at most one row in so many is wanted.
const ROWS_PER_HIT: f64 = 20.0;

/// A scan of a whole table that an index would replace.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scan {
    pub(crate) statement: Fingerprint,
    /// `Seq Scan`, or the kind of index scan that comes to the same.
    pub(crate) node: String,
    /// `public.orders`.
    pub(crate) table: String,
    /// Columns compared with `=`, in the order of the filter.
    pub(crate) columns: Vec<String>,
    /// As PostgreSQL shows it.
    pub(crate) filter: String,
    /// Rows that PostgreSQL expects to be left after the filter.
    pub(crate) rows_wanted: f64,
    /// Rows in the table.
    pub(crate) rows_read: u64,
}

/// The worst such scan of each statement that has a plan in the recording.
pub(crate) fn unindexed(story: &Story<'_>) -> Vec<Scan> {
    let worst = |(statement, seen): (&Fingerprint, &&trace::PlanSeen)| {
        let plan: Value = serde_json::from_str(&seen.json).ok()?;
        let mut scans = Vec::new();
        let mut nodes: Vec<&Value> = roots(&plan);
        while let Some(node) = nodes.pop() {
            nodes.extend(node["Plans"].as_array().into_iter().flatten());
            scans.extend(scan(story, *statement, node));
        }
        // The table with the most rows; of equals, the first by name.
        scans.sort_by(|a, b| b.rows_read.cmp(&a.rows_read).then_with(|| a.table.cmp(&b.table)));
        scans.into_iter().next()
    };
    story.plans.iter().filter_map(worst).collect()
}

/// `EXPLAIN (FORMAT JSON)` answers with a list of objects with a `Plan` each.
fn roots(plan: &Value) -> Vec<&Value> {
    match plan.as_array() {
        Some(list) => list.iter().map(|entry| &entry["Plan"]).collect(),
        None => vec![plan.get("Plan").unwrap_or(plan)],
    }
}

fn scan(story: &Story<'_>, statement: Fingerprint, node: &Value) -> Option<Scan> {
    if !reads_all(node) {
        return None;
    }
    let filter = node["Filter"].as_str()?;
    let columns = equalities(filter);
    let rows_wanted = node["Plan Rows"].as_f64()?;
    let relation = node["Relation Name"].as_str()?;
    let (table, rows_read) = table(story, node["Schema"].as_str(), relation)?;
    let worth = rows_read >= BIG_TABLE && rows_wanted * ROWS_PER_HIT <= rows_read as f64;
    let filter = filter.to_owned();
    let node = node["Node Type"].as_str()?.to_owned();
    (worth && !columns.is_empty()).then_some(Scan {
        statement,
        node,
        table,
        columns,
        filter,
        rows_wanted,
        rows_read,
    })
}

/// Whether the node walks the whole table: in the order of its rows, or (for an `ORDER BY … LIMIT`)
/// in that of an index which it asks for nothing.
fn reads_all(node: &Value) -> bool {
    match node["Node Type"].as_str() {
        Some("Seq Scan") => true,
        Some("Index Scan") => node.get("Index Cond").is_none(),
        _ => false,
    }
}

/// The table's full name and size, from its own statistics. A plan without `VERBOSE` has no schema:
/// then the relation's name must belong to one table only.
fn table(story: &Story<'_>, schema: Option<&str>, relation: &str) -> Option<(String, u64)> {
    let named = |table: &str| match table.split_once('.') {
        Some((of, name)) => name == relation && schema.is_none_or(|schema| schema == of),
        None => table == relation,
    };
    let mut tables = story.tables.iter().filter(|(table, _)| named(table));
    let (name, [_, last]) = tables.next()?;
    tables.next().is_none().then(|| ((*name).to_owned(), last.live_rows))
}

/// The columns that a filter compares with a parameter by `=` (or `= ANY`), if it is a conjunction.
fn equalities(filter: &str) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for conjunct in split(bare(filter), " AND ") {
        let conjunct = bare(conjunct);
        if split(conjunct, " OR ").len() > 1 {
            continue;
        }
        let [left, right] = split(conjunct, " = ")[..] else { continue };
        let column = match (column(left), column(right)) {
            (Some(column), None) if is_parameter(right) => column,
            (None, Some(column)) if is_parameter(left) => column,
            _ => continue,
        };
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

/// Splits where the separator stands outside parentheses and quotes.
fn split<'t>(text: &'t str, separator: &str) -> Vec<&'t str> {
    let mut parts = Vec::new();
    let (mut depth, mut quote, mut start) = (0_i32, None, 0);
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, _) if depth == 0 && i >= start && text[i..].starts_with(separator) => {
                parts.push(&text[start..i]);
                start = i + separator.len();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Without the parentheses around the whole of it.
fn bare(text: &str) -> &str {
    let text = text.trim();
    match text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
        // `(a) AND (b)` begins and ends with parentheses that are not a pair.
        Some(inner) if split(text, " ").len() == 1 => bare(inner),
        _ => text,
    }
}

/// One side of a comparison, without casts and parentheses: `customer_id` of `(customer_id)::text`.
fn operand(text: &str) -> &str {
    bare(split(bare(text), "::")[0])
}

/// The column's name, if the expression is nothing but a column.
fn column(expression: &str) -> Option<String> {
    let expression = operand(expression);
    let name = split(expression, ".").last().copied()?;
    if let Some(quoted) = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        return (!quoted.contains('"')).then(|| name.to_owned());
    }
    let mut letters = name.chars();
    let first = letters.next()?;
    let plain = (first.is_alphabetic() || first == '_')
        && letters.all(|c| c.is_alphanumeric() || c == '_' || c == '$')
        && !["true", "false", "NULL"].contains(&name);
    plain.then(|| name.to_owned())
}

fn is_parameter(expression: &str) -> bool {
    let expression = operand(expression);
    let list = expression.strip_prefix("ANY ").map_or(expression, operand);
    list.strip_prefix('$').is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_as_postgres_writes_them() {
        for (filter, want) in [
            ("(customer_id = $1)", &["customer_id"][..]),
            ("((customer_id = $1) AND (status = $2))", &["customer_id", "status"]),
            ("((customer_id)::text = ($1)::text)", &["customer_id"]),
            ("((o.region = ANY ($2)) AND (created_at > $1))", &["region"]),
            ("($1 = \"Kunde\")", &["\"Kunde\""]),
            ("(customer_id = $1::bigint)", &["customer_id"]),
            ("((a = $1) OR (b = $2))", &[]),
            ("(((a = $1) OR (b = $2)) AND (c = $3))", &["c"]),
            ("(lower(name) = $1)", &[]),
            ("(a = b)", &[]),
            ("(note = 'x AND y = $1'::text)", &[]),
            ("(created_at > $1)", &[]),
        ] {
            assert_eq!(equalities(filter), want, "{filter}");
        }
    }
}
