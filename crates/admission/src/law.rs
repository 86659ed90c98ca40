//! The law of the limit: how many statements may execute.
//!
//! It climbs throughput, not latency: a database has no unloaded latency to compare with. Slots of
//! a few hundredths of a second come in pairs, one with a little more than the limit and one with a
//! little less, in an order left to chance; the ratio of their throughputs is one measurement of
//! the elasticity `e = d ln X / d ln n`. The limit is moved until `e` is the small `TARGET`: the
//! *knee*, beyond which more statements only make each slower. When pairs stop deciding anything
//! the law rests; when the load becomes another (`regime`) it forgets and begins anew.
//!
//! What the database is not asked for by clients who wait shows nothing: a slot that was not
//! saturated is no evidence, and the limit stays.
//!
//! A pure function of what it is told, and of the seed. Why each number is what it is:
//! docs/design/006-limit.md.

mod evidence;
mod jam;
mod long;
mod pace;
mod part;
mod probe;
mod regime;
mod watch;

use trace::{LimitCause, LimitChanged, Micros};

use crate::random::Random;
use crate::{Decision, Part, Window};
use evidence::{Evidence, Pair};
use pace::Pace;
use probe::{Outcome, Probe, Sample};
use regime::Regime;

/// The limit on a database that nothing is known of.
const COLD: f64 = 8.0;
/// The elasticity that is sought,
const TARGET: f64 = 0.06;
/// from this limit on. Below, one statement more is a large step that makes nobody wait much, and
/// a limit so small that a core idles between two statements still gains some.
const SMALL: f64 = 6.0;
/// How much of the gap to it one pair closes.
const GAIN: f64 = 0.45;
/// Going down is more urgent than going up: on the far side of the knee everybody waits.
const DOWN: f64 = 1.4;
const STEEP_DOWN: f64 = 2.4;
/// What is guessed of the elasticity below this limit, beyond `TARGET`, per ln; and the standard
/// error of such a guess.
const LIKELY: f64 = 12.0;
const GUESS: f64 = 0.5;
const GUESSED: f64 = 0.4;
/// A pair that moves the limit by less (ln) has decided nothing, if the elasticity is known as
/// well as this.
const STILL: f64 = 0.025;
const KNOWN: f64 = 0.1;
/// The law rests after so many of those,
const STEADY: i32 = 4;
/// for so many slots.
const REST: u32 = 6;
/// And for so many after one that did not count.
const UNBOUND: u32 = 3;
/// A slot counts if for this part of it somebody waited.
const SATURATED: f64 = 0.7;
/// A long statement's loss counts for so much of a short one's gain; at most for `TARGET`.
const RIVALS: f64 = 0.5;
/// At least so many long statements run beside the limit.
const LONG_LEAST: u32 = 2;
/// From this part of backends that wait for locks the limit does not grow, and from that it falls.
const LOCKED: f64 = 0.85;
const JAMMED: f64 = 0.95;
/// What is left of the limit after the server refused a connection.
const REFUSED: f64 = 0.7;
/// Refusals within this time are one.
const REFUSALS: Micros = Micros::from_millis(500);
/// After so long without a saturated slot a limit far above what was used is taken back.
const UNUSED: Micros = Micros::from_secs(600);
/// No limit is ever larger: as many as `max_connections` can be.
const MOST: f64 = 262_143.0;

/// The law of one database.
#[derive(Clone, Debug)]
pub struct Law {
    /// The limit, before it is rounded. Ours, if others share the database.
    centre: f64,
    part: Part,
    /// What was found while no long statement ran, once anything was found.
    clean: Option<f64>,
    /// How many long statements run, and how far their bound was raised.
    long: f64,
    raised: f64,
    ceiling: f64,
    evidence: Evidence,
    regime: Regime,
    pace: Pace,
    probe: Probe,
    steady: i32,
    random: Random,
    usage: Usage,
    refused: Option<Micros>,
    change: LimitChanged,
    untold: bool,
}

/// How much of the limit was needed lately.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    saturated: Option<Micros>,
    most: f64,
}

impl Law {
    /// Of a database that nothing is known of. `seed`: of the chance in the order of probes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::starting(seed, COLD, LimitCause::Started)
    }

    /// Of a database on which an earlier law found this limit ([`Law::knee`]).
    #[must_use]
    pub fn remembering(seed: u64, knee: u32) -> Self {
        Self::starting(seed, f64::from(knee).clamp(1.0, MOST), LimitCause::Remembered)
    }

    fn starting(seed: u64, centre: f64, cause: LimitCause) -> Self {
        let limit = round(centre);
        let mut law = Self {
            centre,
            part: Part::WHOLE,
            clean: None,
            long: 0.0,
            raised: 1.0,
            ceiling: MOST,
            evidence: Evidence::none(),
            regime: Regime::default(),
            pace: Pace::new(),
            probe: Probe::rest(1),
            steady: 0,
            random: Random::new(seed),
            usage: Usage::default(),
            refused: None,
            change: LimitChanged {
                at: Micros::ZERO,
                from: limit,
                to: limit,
                cause,
                elasticity_milli: 0,
                error_milli: 0,
            },
            untold: true,
        };
        law.probe_anew();
        law
    }

    /// What holds now.
    #[must_use]
    pub fn decision(&self) -> Decision {
        let (measured, settle) = self.pace.slot();
        let most = round(self.ceiling);
        Decision {
            limit: self.probe.limit(self.centre).min(most),
            long: round(self.clean.unwrap_or(self.centre)).max(LONG_LEAST).min(most),
            slot: self.at_their_pace(measured) + settle,
            settle,
        }
    }

    /// A slot has ended; says what holds in the next. A window that makes no sense (no length,
    /// numbers that are none) is no evidence.
    pub fn slot_ended(&mut self, window: &Window) -> Decision {
        self.ceiling = f64::from(window.ceiling).clamp(1.0, MOST);
        if self.centre > self.ceiling {
            self.set(self.ceiling, window.at, LimitCause::Ceiling);
        }
        if self.part.led.is_some() {
            return self.decision();
        }
        self.note_long(window);
        self.note_usage(window);
        match Sample::of(window) {
            Some(sample) if window.saturated >= SATURATED => self.learn(window, sample),
            // Not all that was let in was asked for, but as many as the pair needs: what that gave
            // is evidence of as many as executed.
            Some(sample)
                if window.executing <= MOST
                    && self.probe.is_shown_by(window.executing, self.centre) =>
            {
                self.learn(window, Sample { limit: window.executing, ..sample });
            }
            sample => {
                if window.done == 0 && window.saturated >= SATURATED {
                    // Everybody waits for what takes longer than a slot.
                    self.pace.lengthen(2.0);
                }
                self.watch(window, sample);
            }
        }
        self.decision()
    }

    /// The server refused a connection (53300, or none could be made): there were fewer to be had
    /// than thought. The window's ceiling says how many; this is for the time until it does.
    pub fn refused(&mut self, at: Micros) -> Decision {
        if self.refused.is_none_or(|before| at.since(before) >= REFUSALS) {
            self.refused = Some(at);
            self.set(self.centre * REFUSED, at, LimitCause::Refused);
            self.probe_anew();
        }
        self.decision()
    }

    /// The server was restarted: it may have other settings, and its caches are cold. The limit
    /// stays where it was as the best guess, without anything to hold it there.
    pub fn restarted(&mut self, at: Micros) -> Decision {
        self.know_nothing();
        self.long = 0.0;
        self.set(self.clean.unwrap_or(self.centre), at, LimitCause::Restarted);
        self.probe_anew();
        self.decision()
    }

    /// The last change of the limit, and why.
    #[must_use]
    pub const fn change(&self) -> LimitChanged {
        self.change
    }

    /// The last change, if it was not told yet; the first limit counts as one. Changes that came
    /// in between are told as one, with the last one's cause.
    pub fn untold(&mut self) -> Option<LimitChanged> {
        std::mem::take(&mut self.untold).then_some(self.change)
    }

    /// The limit is a guess from now on.
    fn know_nothing(&mut self) {
        self.evidence = Evidence::none();
        self.regime.forget();
        self.pace = Pace::new();
        self.steady = 0;
    }

    /// A saturated slot: evidence.
    fn learn(&mut self, window: &Window, sample: Sample) {
        if !self.is_as_before(window, sample, Regime::look) {
            return;
        }
        self.pace.observe(window, sample.seconds);
        match self.probe.ended(sample) {
            Outcome::Open => {}
            Outcome::Rested => self.probe_anew(),
            Outcome::Pair(pair) => self.decide(window, pair),
        }
    }

    /// A pair is complete: moves the limit.
    fn decide(&mut self, window: &Window, pair: Pair) {
        self.evidence.add(pair);
        let (e, error) = self.belief();
        // More short statements take from the long ones what they gain themselves.
        let rivals = self.long;
        let taken = (RIVALS * rivals / (rivals + f64::from(window.limit))).min(TARGET);
        let gap = (e - taken - self.target()).clamp(-1.0, 1.0);
        let sure = gap.abs() / (1.5 * error);
        let urgency = if e < -0.05 {
            STEEP_DOWN
        } else if gap < 0.0 {
            DOWN
        } else {
            1.0
        };
        let mut step = GAIN * gap * sure.min(1.0) * urgency;
        let mut cause = LimitCause::Measured;
        let locked = self.locked(window, sure);
        if locked > LOCKED && step > 0.0 {
            (step, cause) = (0.0, LimitCause::Locked);
        }
        if locked > JAMMED && step > -0.1 {
            (step, cause) = (-0.1, LimitCause::Locked);
        }
        if sure >= 1.0 {
            self.pace.shorten();
        } else {
            self.pace.lengthen(1.25);
        }
        if step.abs() >= STILL {
            self.steady = (self.steady - 2).max(0);
        } else if error < KNOWN {
            self.steady += 1;
        }
        // Down from what was executing, if not all that the limit lets in was asked for.
        let from = if step < 0.0 { self.centre.min(pair.upper) } else { self.centre };
        self.set(from * step.exp(), window.at, cause);
        self.evidence.fade((-2.5 * step.abs()).exp());
        if !self.is_long() {
            self.clean = Some(self.centre);
        } else if sure >= 1.0 && step > 0.0 {
            self.raise_long();
        }
        if self.steady >= STEADY {
            self.probe = Probe::rest(REST);
        } else if self.is_shared() && step.abs() >= STILL {
            self.probe = Probe::rest(part::FOLLOWED);
        } else {
            self.probe_anew();
        }
    }

    /// The elasticity to go by, and its standard error: what pairs have shown and, below the likely
    /// limit, as far as they leave it open, a guess that leads there. Where others use the machine,
    /// pairs show little for long, and the limit wanders; too little costs far more then than too
    /// much.
    fn belief(&self) -> (f64, f64) {
        let (e, error) = (self.elasticity(), self.error());
        let guess = TARGET + GUESS * (LIKELY * self.part.share / self.centre).ln();
        if guess <= e.max(TARGET) {
            return (e, error);
        }
        // Each counts by the inverse of its variance.
        let (shown, guessed) = ((error * error).recip(), (GUESSED * GUESSED).recip());
        let all = shown + guessed;
        ((shown * e + guessed * guess) / all, all.recip().sqrt())
    }

    /// The elasticity that is sought where the limit of all is as large as now.
    fn target(&self) -> f64 {
        TARGET * (self.centre / self.part.share / SMALL).min(1.0)
    }

    fn note_usage(&mut self, window: &Window) {
        let since = *self.usage.saturated.get_or_insert(window.at);
        if window.saturated >= SATURATED {
            self.usage = Usage { saturated: Some(window.at), most: 0.0 };
        } else if window.executing > self.usage.most {
            self.usage.most = window.executing;
        }
        if window.at.since(since) >= UNUSED {
            self.evidence = Evidence::none();
            let tested = (2.0 * self.usage.most).max(COLD);
            if self.centre > tested {
                self.set(tested, window.at, LimitCause::Unused);
            }
            self.usage = Usage { saturated: Some(window.at), most: 0.0 };
        }
    }

    /// Begins a pair, the larger or the smaller limit first.
    fn probe_anew(&mut self) {
        let error = self.error();
        self.probe = Probe::pair(self.centre, error, self.ceiling, self.random.coin());
    }

    /// Moves the limit within its bounds, and remembers why.
    fn set(&mut self, to: f64, at: Micros, cause: LimitCause) {
        let (mut most, mut bound) = (self.ceiling, LimitCause::Ceiling);
        if let Some(long) = self.long_bound().filter(|long| *long < most) {
            (most, bound) = (long.max(1.0), LimitCause::Long);
        }
        let cause = if to > most { bound } else { cause };
        // Of all together at least one executes, and here, if our part of that is less.
        let to = to.min(most).max(self.part.share);
        self.regime.moved(self.elasticity(), to.ln() - self.centre.ln());
        self.centre = to;
        let limit = round(to);
        let before = self.change;
        if limit != before.to || cause == LimitCause::Restarted {
            let from = if self.untold { before.from } else { before.to };
            let elasticity_milli = milli(self.elasticity());
            let error_milli = milli(self.error()).unsigned_abs();
            self.change =
                LimitChanged { at, from, to: limit, cause, elasticity_milli, error_milli };
            self.untold = true;
        }
    }
}

/// A limit is a whole number, at least 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to u32's")]
fn round(limit: f64) -> u32 {
    limit.round().clamp(1.0, MOST) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to i32's; NaN becomes 0")]
fn milli(value: f64) -> i32 {
    (value * 1e3).round().clamp(-1e9, 1e9) as i32
}

#[cfg(test)]
mod tests;
