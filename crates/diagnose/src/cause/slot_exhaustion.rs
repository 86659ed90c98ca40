//! One dyno's pool holds the server's connection slots; another dyno gets none.
//!
//! Necessary: connects refused with 53300, and holders known for them. The culprit is who held more
//! than its share of the slots while *others* were refused; where nobody did, the pools together
//! are larger than the server, and no single dyno is named.

use std::collections::{BTreeMap, BTreeSet};

use trace::{DynoId, DynoState, Fingerprint, Micros};

use super::{Case, Verdict, largest};
use crate::blame::{Refused, holder_name};
use crate::failures::Lack;
use crate::finding::{Cause, Culprit, Evidence, Finding, HolderState, Resource};
use crate::story::holds::Holder;
use crate::story::process_type;
use crate::words::{evidence, of, p_value, percent, short};

/// With fewer slots held than this share of the usable ones, slots were not what was short.
const FULL: f64 = 0.8;
/// A second holder this close to the first makes it a matter of taste whom to name.
const AS_BAD: f64 = 0.67;
/// A refusal within this time after its dyno's start is one of a restart.
const AFTER_A_START: Micros = Micros::from_secs(60);

/// What the refused connects say together.
struct Slots<'c> {
    refused: &'c [Refused],
    /// Mean number of slots held at a refusal.
    held: f64,
    /// Slots there are; the held ones where the setting is not recorded.
    usable: f64,
    /// One dyno's share of them.
    fair: f64,
    /// Refusals per refused dyno.
    victims: BTreeMap<DynoId, u64>,
    /// By dyno: slots above its share while others were refused, summed, and in how many refusals.
    excess: BTreeMap<DynoId, (f64, u64)>,
}

pub(crate) fn judge(case: &Case<'_, '_>) -> Option<Verdict> {
    let slots = Slots::of(case)?;
    let (claims, explained) =
        case.claim(|row| if row.resource == Resource::ServerSlots { 1.0 } else { 0.0 });
    let culprit = slots.culprit();
    let statement = slots.statement(case, culprit);
    let mut against = Vec::new();
    let doubt = slots.doubt(case, culprit, &mut against);
    let dyno = culprit.map(|dyno| case.story.dyno_name(dyno));
    let finding = Finding {
        cause: Cause::SlotExhaustion,
        culprit: Culprit {
            dyno: dyno.clone(),
            statement: case.story.statement(statement),
            resource: Some("max_connections".to_owned()),
        },
        confidence: case.confidence(explained, doubt),
        failures_explained: explained,
        summary: slots.summary(case, culprit),
        evidence_for: slots.evidence(case, culprit),
        evidence_against: against,
        disproof: disproof(dyno.as_deref(), slots.usable),
        fix:
            "Limit what all dynos together may hold, not what each may hold: regulate mode with a \
              limit below max_connections, so that a restarted dyno shares the open connections at \
              once. Smaller pools in the app help only while their sum stays below the slots."
                .to_owned(),
    };
    Some(Verdict { finding, claims })
}

impl<'c> Slots<'c> {
    fn of(case: &Case<'c, '_>) -> Option<Self> {
        let refused: &'c [Refused] = &case.account.refusals;
        let count = refused.len() as f64;
        let held: f64 = refused.iter().flat_map(|one| one.held.values()).sum::<f64>() / count;
        // Without a refusal, or without a holder for any, there is nothing to say.
        if refused.is_empty() || held <= 0.0 {
            return None;
        }
        let usable = case.story.usable_slots().map_or(held, f64::from);
        let mut victims: BTreeMap<DynoId, u64> = BTreeMap::new();
        for one in refused {
            *victims.entry(one.dyno).or_default() += 1;
        }
        let fair = usable / competing(case, &victims).max(2) as f64;
        let mut slots = Self { refused, held, usable, fair, victims, excess: BTreeMap::new() };
        slots.count_excess();
        Some(slots)
    }

    fn count_excess(&mut self) {
        for one in self.refused {
            for (holder, held) in &one.held {
                if let Holder::Dyno(dyno) = holder
                    && *dyno != one.dyno
                    && *held > self.fair
                {
                    let excess = self.excess.entry(*dyno).or_default();
                    excess.0 += held - self.fair;
                    excess.1 += 1;
                }
            }
        }
    }

    /// Who held most above its share while others were refused.
    fn culprit(&self) -> Option<DynoId> {
        largest(self.excess.iter().map(|(dyno, (slots, _))| (*dyno, *slots))).map(|(dyno, _)| dyno)
    }

    /// Mean number of slots that this holder had when others than itself were refused.
    fn mean_held(&self, dyno: DynoId) -> f64 {
        let others = || self.refused.iter().filter(|one| one.dyno != dyno);
        let held: f64 = others().filter_map(|one| one.held.get(&Holder::Dyno(dyno))).sum();
        held / others().count().max(1) as f64
    }

    /// What the culprit's connections executed most when others were refused; what they had run
    /// last if they executed nothing. With no culprit, the same of all holders.
    fn statement(&self, case: &Case<'_, '_>, culprit: Option<DynoId>) -> Fingerprint {
        let rows = case.account.rows.iter().filter(|row| {
            row.resource == Resource::ServerSlots
                && row.key.statement != Fingerprint::NONE
                && culprit.is_none_or(|dyno| row.key.holder == Holder::Dyno(dyno))
        });
        let of = |executing: bool| {
            let wanted =
                rows.clone().filter(|r| (r.key.state == HolderState::Executing) == executing);
            largest(wanted.map(|row| (row.key.statement, row.failures)))
        };
        of(true).or_else(|| of(false)).map_or(Fingerprint::NONE, |(statement, _)| statement)
    }

    fn summary(&self, case: &Case<'_, '_>, culprit: Option<DynoId>) -> String {
        let victims = names(case, self.victims.keys().filter(|dyno| Some(**dyno) != culprit));
        let count: u64 = self.victims.values().sum();
        match culprit {
            Some(dyno) => format!(
                "PostgreSQL refused {count} connections because its slots were taken: {} held \
                 {:.0} of {:.0} when {victims} asked for one.",
                case.story.dyno_name(dyno),
                self.mean_held(dyno),
                self.usable,
            ),
            None => format!(
                "PostgreSQL refused {count} connections of {victims}: all dynos together want more \
                 than its {:.0} slots.",
                self.usable,
            ),
        }
    }

    fn evidence(&self, case: &Case<'_, '_>, culprit: Option<DynoId>) -> Vec<Evidence> {
        let mut list = vec![self.refusals(case), self.fullness()];
        list.extend(culprit.into_iter().flat_map(|dyno| [self.held(case, dyno), used(case, dyno)]));
        list.extend(self.restart(case));
        if let Some(contrast) = case.contrast
            && contrast.p_value < 0.01
        {
            list.push(evidence(
                format!("{} fails, its siblings do not", contrast.dyno),
                format!(
                    "{} against {}, {}",
                    percent(contrast.rate),
                    percent(contrast.rate_of_others),
                    p_value(contrast.p_value)
                ),
                "Fisher's exact test on the requests of each dyno",
            ));
        }
        list
    }

    fn refusals(&self, case: &Case<'_, '_>) -> Evidence {
        let by_dyno: Vec<String> = self
            .victims
            .iter()
            .map(|(dyno, count)| format!("{} {count}", case.story.dyno_name(*dyno)))
            .collect();
        evidence(
            "PostgreSQL refused connections with 53300 (too many connections)",
            by_dyno.join(", "),
            format!("failed connects, {}", case.when(case.failures.lacking(Lack::Slot))),
        )
    }

    fn fullness(&self) -> Evidence {
        evidence(
            "the slots were taken when the connects were refused",
            format!("{:.1} of {:.0} on average", self.held, self.usable),
            "connections opened and closed; max_connections less the reserved ones",
        )
    }

    fn held(&self, case: &Case<'_, '_>, dyno: DynoId) -> Evidence {
        let name = case.story.dyno_name(dyno);
        let refusals = self.excess.get(&dyno).map_or(0, |(_, refusals)| *refusals);
        evidence(
            format!("{name} held more than its share of {:.1} slots meanwhile", self.fair),
            format!(
                "{:.1} slots on average, above its share in {} refusals",
                self.mean_held(dyno),
                of(refusals, self.refused.len())
            ),
            "open server connections at the moment of each refusal",
        )
    }

    /// Refusals soon after the refused dyno had been started.
    fn restart(&self, case: &Case<'_, '_>) -> Option<Evidence> {
        let fresh = |one: &&Refused| {
            let states = case.story.states.get(&one.dyno).map_or(&[][..], Vec::as_slice);
            // What comes first belongs to the beginning of everything.
            let starts = states.iter().skip(1).filter(|(_, state)| *state == DynoState::Starting);
            starts.map(|(at, _)| *at).any(|at| at <= one.at && one.at.since(at) < AFTER_A_START)
        };
        let refused: Vec<&Refused> = self.refused.iter().filter(fresh).collect();
        let dynos: BTreeSet<DynoId> = refused.iter().map(|one| one.dyno).collect();
        (!refused.is_empty()).then(|| {
            evidence(
                format!("{} had just been restarted", names(case, dynos.iter())),
                format!("{} refusals within a minute of it", of(refused.len(), self.refused.len())),
                "the dynos' changes of state",
            )
        })
    }

    /// What speaks against it; the factor by which it lowers the confidence.
    fn doubt(&self, case: &Case<'_, '_>, dyno: Option<DynoId>, against: &mut Vec<Evidence>) -> f64 {
        let mut doubt = 1.0;
        let full = (self.held / self.usable).min(1.0);
        if case.story.usable_slots().is_none() {
            doubt *= 0.8;
            against.push(evidence(
                "how many slots the server has is not recorded",
                "no setting max_connections",
                "settings",
            ));
        } else if full < FULL {
            doubt *= full;
            against.push(evidence(
                "slots were free when connects were refused: a role's or database's limit, or \
                 clients that the recording does not show",
                format!("{:.1} of {:.0} held", self.held, self.usable),
                "connections opened and closed",
            ));
        }
        let outside = largest(self.refused.iter().flat_map(|one| {
            one.held.iter().filter(|(h, _)| matches!(h, Holder::Outside(_))).map(|(h, n)| (h, *n))
        }));
        if let Some((holder, held)) =
            outside.filter(|(_, n)| *n > self.refused.len() as f64 * self.fair)
        {
            doubt *= 0.7;
            against.push(evidence(
                format!("{} held more than a dyno's share", holder_name(case.story, holder)),
                format!("{:.1} slots on average", held / self.refused.len() as f64),
                "pg_stat_activity",
            ));
        }
        let first = dyno.and_then(|dyno| self.excess.get(&dyno)).map_or(0.0, |(slots, _)| *slots);
        let others = self.excess.iter().filter(|(other, _)| Some(**other) != dyno);
        for (other, (slots, refusals)) in others.filter(|(_, (slots, _))| *slots > AS_BAD * first) {
            doubt *= 0.7;
            against.push(evidence(
                format!("{} too held more than its share", case.story.dyno_name(*other)),
                format!(
                    "in {} refusals, {:.1} slots in all",
                    of(refusals, self.refused.len()),
                    slots
                ),
                "open server connections at the moment of each refusal",
            ));
        }
        doubt
    }
}

/// How many dynos compete for slots: those refused, and their siblings that hold some.
fn competing(case: &Case<'_, '_>, victims: &BTreeMap<DynoId, u64>) -> usize {
    let kind = |dyno: &DynoId| process_type(&case.story.dyno_name(*dyno)).to_owned();
    let kinds: BTreeSet<String> = victims.keys().map(kind).collect();
    let siblings = case.occupancy.keys().filter(|dyno| kinds.contains(&kind(dyno)));
    siblings.chain(victims.keys()).collect::<BTreeSet<_>>().len()
}

fn names<'d>(case: &Case<'_, '_>, dynos: impl Iterator<Item = &'d DynoId>) -> String {
    dynos.map(|dyno| case.story.dyno_name(*dyno)).collect::<Vec<_>>().join(" and ")
}

/// What the culprit's connections were doing meanwhile.
fn used(case: &Case<'_, '_>, dyno: DynoId) -> Evidence {
    let rows = || {
        let all = case.account.rows.iter();
        all.filter(|r| r.resource == Resource::ServerSlots && r.key.holder == Holder::Dyno(dyno))
    };
    let sum = |state| -> f64 { rows().filter(|r| r.key.state == state).map(|r| r.failures).sum() };
    let all: f64 = rows().map(|row| row.failures).sum();
    let executing = rows().filter(|row| row.key.state == HolderState::Executing);
    let most = largest(executing.map(|row| (row.key.statement, row.failures)));
    let most = most.and_then(|(statement, n)| Some((case.story.statement(statement)?, n)));
    let told = most.map_or_else(String::new, |(statement, n)| {
        format!("; {} executing \"{}\"", percent(n / all), short(&statement))
    });
    evidence(
        format!("what {}'s connections did meanwhile", case.story.dyno_name(dyno)),
        format!(
            "executing {}, idle {}, idle in transaction {}{told}",
            percent(sum(HolderState::Executing) / all),
            percent(sum(HolderState::Idle) / all),
            percent(sum(HolderState::IdleInTransaction) / all),
        ),
        "requests on each connection at the moment of each refusal",
    )
}

fn disproof(dyno: Option<&str>, usable: f64) -> String {
    let free = format!("A refusal while fewer than {usable:.0} connections are open");
    match dyno {
        Some(dyno) => {
            format!(
                "{free}, or refusals that go on while {dyno} is stopped, would prove this wrong."
            )
        }
        None => format!("{free} would prove this wrong."),
    }
}
