//! Act 6. The cause is named, with the culprit, evidence for and against, and what would disprove
//! it.
//!
//! What must come out is known from act 1, not from the recording: web.1 was restarted, so web.2
//! is the dyno that stayed and took the slots.

use diagnose::finding::{Cause, Finding};

use super::super::{Shown, Tale};

/// The dyno that was not restarted in act 1.
const STAYED: &str = "web.2";

pub(crate) fn play(tale: &Tale) -> Shown {
    let findings = tale.diagnosis.iter().flat_map(|diagnosis| &diagnosis.findings);
    let findings: Vec<&Finding> = findings.collect();
    let Some(top) = findings.first() else {
        return Shown { ok: false, sentence: "no cause was found".into(), details: vec![] };
    };
    let names_the_truth = top.cause == Cause::SlotExhaustion
        && top.culprit.dyno.as_deref() == Some(STAYED)
        && !top.evidence_for.is_empty()
        && !top.disproof.is_empty();
    let line = |finding: &&Finding| {
        format!(
            "{} ({:.0} %): {}",
            finding.cause.name(),
            finding.confidence * 100.0,
            finding.summary
        )
    };
    Shown {
        ok: names_the_truth,
        sentence: top.summary.clone(),
        details: findings.iter().map(line).collect(),
    }
}
