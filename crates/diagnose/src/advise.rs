//! What could be done, each piece of advice with its evidence. Proven only by an experiment.

use std::collections::BTreeMap;

use crate::cause::Verdict;
use crate::finding::{Action, Advice, Cause, Evidence};
use crate::plan::Scan;
use crate::story::Story;
use crate::timeline::is_observer;
use crate::words::{evidence, short, span};
use crate::work::Work;

/// All advice: indexes by the executing time they would save, then the pool.
pub(crate) fn of(
    story: &Story<'_>,
    scans: &[Scan],
    work: &Work,
    verdicts: &[Verdict],
) -> Vec<Advice> {
    let mut advice = indexes(story, scans, work);
    let slots = verdicts.iter().any(|verdict| verdict.finding.cause == Cause::SlotExhaustion);
    advice.extend(if slots { pool(story) } else { None });
    advice
}

/// `CREATE INDEX` as a user in production should run it: without blocking writers.
pub(crate) fn create_index(scan: &Scan) -> String {
    format!("CREATE INDEX CONCURRENTLY ON {} ({})", scan.table, scan.columns.join(", "))
}

fn indexes(story: &Story<'_>, scans: &[Scan], work: &Work) -> Vec<Advice> {
    let seconds = |scan: &Scan| work.statements.get(&scan.statement).map_or(0.0, |w| w.seconds);
    // A plan of a statement that nobody ran is no reason for an index.
    let mut executed: Vec<&Scan> = scans.iter().filter(|scan| seconds(scan) > 0.0).collect();
    executed.sort_by(|a, b| seconds(b).total_cmp(&seconds(a)));
    let mut advice: Vec<Advice> = Vec::new();
    let mut known: BTreeMap<(&str, &[String]), usize> = BTreeMap::new();
    for scan in executed {
        let because = index_evidence(story, work, scan);
        let key = (&*scan.table, &*scan.columns);
        if let Some(same) = known.get(&key) {
            advice[*same].because.extend(because);
            continue;
        }
        known.insert(key, advice.len());
        let action = Action::CreateIndex {
            table: scan.table.clone(),
            columns: scan.columns.clone(),
            sql: create_index(scan),
        };
        advice.push(Advice { action, because });
    }
    advice
}

/// What PostgreSQL's plan and statistics say of a scan that an index would replace.
pub(crate) fn index_evidence(story: &Story<'_>, work: &Work, scan: &Scan) -> Vec<Evidence> {
    let statement = story.statement(scan.statement);
    let text = statement.as_ref().map_or_else(String::new, short);
    let mut list = vec![evidence(
        format!("PostgreSQL reads all of {} for \"{text}\"", scan.table),
        format!(
            "{}, Filter: {}; {:.0} of {} rows wanted",
            scan.node, scan.filter, scan.rows_wanted, scan.rows_read
        ),
        "EXPLAIN (generic plan); pg_stat_user_tables.n_live_tup",
    )];
    if let Some([first, last]) = story.tables.get(&*scan.table) {
        let scans = last.seq_scans.saturating_sub(first.seq_scans);
        let rows = last.seq_rows_read.saturating_sub(first.seq_rows_read);
        if let Some(per_scan) = rows.checked_div(scans) {
            list.push(evidence(
                format!("{} is read row by row, again and again", scan.table),
                format!(
                    "{scans} sequential scans of {per_scan} rows, {} index scans meanwhile",
                    last.index_scans.saturating_sub(first.index_scans)
                ),
                "pg_stat_user_tables, last sample less first",
            ));
        }
    }
    if let Some([first, last]) = story.samples.get(&scan.statement) {
        let calls = last.calls.saturating_sub(first.calls);
        if let Some(time) = last.exec.since(first.exec).0.checked_div(calls) {
            let per_call = |all: u64| all as f64 / calls as f64;
            list.push(evidence(
                "the statement is slow for what it returns",
                format!(
                    "{calls} calls, {} each, {:.0} blocks for {:.1} rows",
                    span(trace::Micros(time)),
                    per_call(last.blocks.saturating_sub(first.blocks)),
                    per_call(last.rows.saturating_sub(first.rows))
                ),
                "pg_stat_statements, last sample less first",
            ));
        }
    }
    if let Some(work) = work.statements.get(&scan.statement) {
        list.push(evidence(
            "the time it keeps connections busy",
            format!(
                "{} executions, half of them above {}, {:.1} s in all",
                work.runs.len(),
                span(work.median),
                work.seconds
            ),
            "executions on server connections",
        ));
    }
    list
}

/// A limit that leaves every other client of the server its connections.
fn pool(story: &Story<'_>) -> Option<Advice> {
    let most = story.setting("max_connections")?;
    let usable = story.usable_slots()?;
    let others = others(story);
    let limit = usable.saturating_sub(others).max(1);
    let because = vec![
        evidence(
            "so many slots an ordinary role can have",
            format!("{usable} = max_connections {most} less {} reserved", most - usable),
            "settings",
        ),
        evidence(
            "so many of them others than the dynos need",
            format!("{others} (clients outside Surgetank at most, its own observer included)"),
            "pg_stat_activity",
        ),
        evidence(
            "with all dynos below that sum, PostgreSQL has a slot for each connection that is \
             opened",
            format!(
                "{usable} − {others} = {limit}; who finds none waits in a queue, and is not refused"
            ),
            "arithmetic",
        ),
    ];
    Some(Advice { action: Action::LimitPool { limit }, because })
}

/// Connections that do not come from dynos, at most. At least one: our own observer needs it, even
/// where it does not show itself.
fn others(story: &Story<'_>) -> u32 {
    let mut most = 0;
    for sample in &story.activity {
        let outside = sample.backends.iter().filter(|backend| {
            is_observer(&backend.application) || !story.holds.is_ours(backend.pid)
        });
        most = most.max(outside.count());
    }
    u32::try_from(most).unwrap_or(u32::MAX).max(1)
}
