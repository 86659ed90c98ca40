//! A frequent statement reads far more rows than it returns.
//!
//! Necessary: PostgreSQL's own plan for the statement reads a whole big table and keeps few of its
//! rows by `column = $n`, and holders were executing that statement while requests failed.

use super::{Case, Verdict, use_part};
use crate::advise;
use crate::blame::Row;
use crate::finding::{Cause, Culprit, Evidence, Finding, HolderState, Resource};
use crate::plan::Scan;
use crate::words::{evidence, percent, short, span};

pub(crate) fn judge(case: &Case<'_, '_>) -> Option<Verdict> {
    let claims = |scan: &Scan| {
        let statement = scan.statement;
        case.claim(move |row| {
            let executing = row.key.state == HolderState::Executing;
            if executing && row.key.statement == statement { use_part(row) } else { 0.0 }
        })
    };
    let mut best: Option<(&Scan, (Vec<f64>, f64))> = None;
    for scan in case.scans {
        let claim = claims(scan);
        if best.as_ref().is_none_or(|(_, (_, explained))| claim.1 > *explained) {
            best = Some((scan, claim));
        }
    }
    let (scan, (claims, explained)) = best?;
    if case.share(explained) < super::WORTH_A_WORD {
        return None;
    }
    let statement = case.story.statement(scan.statement)?;
    let columns = scan.columns.join(", ");
    let mut evidence_for = advise::index_evidence(case.story, case.work, scan);
    evidence_for.insert(0, held(case, scan));
    evidence_for.extend(case.queue());
    let finding = Finding {
        cause: Cause::MissingIndex,
        confidence: case.confidence(explained, 1.0),
        failures_explained: explained,
        summary: format!(
            "\"{}\" reads all {} rows of {} to find about {:.0}: no index serves {columns}. \
             It takes {} each time, and connections are held that much longer.",
            short(&statement),
            scan.rows_read,
            scan.table,
            scan.rows_wanted,
            span(case.work.median_of(scan.statement)),
        ),
        culprit: Culprit {
            dyno: None,
            statement: Some(statement),
            resource: Some(format!("{} ({columns})", scan.table)),
        },
        evidence_for,
        evidence_against: against(case, scan).into_iter().collect(),
        disproof: format!(
            "If the same arrivals fail as often with an index on {} ({columns}), this is wrong.",
            scan.table
        ),
        fix: format!("{};", advise::create_index(scan)),
    };
    Some(Verdict { finding, claims })
}

/// A slot is held by the dyno's pool, however quick its statements are.
fn against(case: &Case<'_, '_>, scan: &Scan) -> Option<Evidence> {
    let of_slots =
        |row: &Row| row.resource == Resource::ServerSlots && row.key.statement == scan.statement;
    case.account.rows.iter().any(of_slots).then(|| {
        evidence(
            "a quicker statement shortens how long a slot is used; the dyno's pool keeps it open \
             anyway",
            "of a slot's blame, half is counted here",
            "the way of app-side pools",
        )
    })
}

fn held(case: &Case<'_, '_>, scan: &Scan) -> Evidence {
    let charged =
        |row: &&Row| row.key.statement == scan.statement && row.key.state == HolderState::Executing;
    let failures: f64 = case.account.rows.iter().filter(charged).map(|row| row.failures).sum();
    evidence(
        "what failed requests lacked was held by this statement executing",
        format!(
            "{} of the blame, {} of all executing while requests failed",
            percent(failures / case.account.charged.max(1.0)),
            percent(case.work.share(scan.statement))
        ),
        "requests on each connection while others waited or were refused",
    )
}
