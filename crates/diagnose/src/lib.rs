//! Recording in, findings out: why do requests fail, who holds what they lacked, and what would end
//! it?
//!
//! ```text
//!   events ─▶ story ─▶ failures ─▶ blame ─┐
//!               │                         ├─▶ cause cards ─▶ rank ─▶ Diagnosis
//!               └─▶ timeline, contrast, coincidence, plans, work ──▶ advice
//! ```
//!
//! Blame is accounted, not correlated: every failure is charged to whoever held what it lacked, by
//! dyno × state × statement (`blame`). Statistics only support or weaken what the account says.
//!
//! Invariants:
//! * Pure: no clock, no randomness, no database. The same events give the same diagnosis, byte for
//!   byte: ordered maps everywhere, permutation tests over *all* shifts.
//! * Nothing is quadratic in the number of events.
//! * A cause is named only if its necessary conditions hold; what fits none is `unknown`.
//!
//! Start reading at `story`, then `blame`, then any file of `cause`.

pub mod compare;
pub mod finding;
pub mod journeys;

mod advise;
mod blame;
mod cause;
mod coincide;
mod contrast;
mod failures;
mod gaps;
mod ledger;
mod occupancy;
mod plan;
mod rank;
mod stats;
mod story;
mod suffered;
mod timeline;
mod words;
mod work;

pub use compare::prove;
pub use finding::Diagnosis;
pub use journeys::{Journey, ToldBy, journeys};

use recording::Recording;

use blame::Account;
use cause::Case;
use failures::Failures;
use finding::Span;
use story::Story;
use work::Work;

/// Why requests fail in this recording. An empty list of findings means that none does.
#[must_use]
pub fn diagnose(recording: &Recording) -> Diagnosis {
    let story = Story::read(recording.events(), recording.span());
    let failures = Failures::of(&story);
    let account = Account::of(&story, &failures);
    let occupancy = occupancy::of(&story);
    let timeline = timeline::of(&story, &occupancy);
    let (totals, dynos) = contrast::count(&story, &occupancy);
    let contrast = contrast::of(&dynos);
    let coincidence = coincide::of(&timeline);
    let scans = plan::unindexed(&story);
    let work = Work::of(&story, &timeline);
    let case = Case {
        story: &story,
        failures: &failures,
        account: &account,
        timeline: &timeline,
        occupancy: &occupancy,
        contrast: contrast.as_ref(),
        coincidence,
        scans: &scans,
        work: &work,
    };
    let mut verdicts = rank::verdicts(&case);
    if let Some(top) = verdicts.first_mut().map(|verdict| &mut verdict.finding) {
        let suffered = suffered::evidence(recording.events(), &story, &failures, top.cause);
        top.evidence_for.extend(suffered);
    }
    let advice = advise::of(&story, &scans, &work, &verdicts);
    Diagnosis {
        span: Span { from: story.from, to: story.to },
        totals,
        blame: account.shares(&story),
        gaps: gaps::of(recording, &story, &failures, &account),
        findings: verdicts.into_iter().map(|verdict| verdict.finding).collect(),
        dynos,
        contrast,
        coincidence,
        advice,
        timeline,
    }
}
