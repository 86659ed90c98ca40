//! The law where several proxies share one database.
//!
//! One of them finds the limit, on what passes through itself: it probes with its own part of the
//! limit, and sees its own throughput. If its part of what executes is `s`, a probe of its own
//! limit `n` moves all that executes by `s` times as much, and shifts throughput from the others to
//! itself; so what it sees is `d ln X_own / d ln n = 1 - s (1 - e)`, from which `e` follows. (Two
//! laws that know nothing of each other would each see that, and grow without end.) Its errors are
//! `1/s` of what it sees: whoever has most of the load should find the limit.
//!
//! The others follow: their limit is their part of what was found, and nothing is learnt.

use trace::{LimitCause, Micros};

use super::{Law, MOST, Probe, round};
use crate::{Decision, Part};

/// The others hear of a new limit only after a while; until then a slot would measure the shift
/// between them and us.
const HEARD_AFTER: Micros = Micros::from_millis(250);

/// So many slots after a change until all have followed it. A pair before that would measure how
/// they do.
pub(super) const FOLLOWED: u32 = 2;

/// No part is smaller: its errors would be the greater.
const LEAST: f64 = 0.01;

/// No database answers more strongly than this; what seems to is error.
const SENSIBLE: f64 = 3.0;

/// If our part changes by more (ln), what is being probed is none of its neighbourhood.
const FAR: f64 = 0.2;

impl Law {
    /// This is our part from now on.
    pub fn take_part(&mut self, part: Part, at: Micros) -> Decision {
        let share = if part.share > LEAST { part.share.min(1.0) } else { LEAST };
        let before = std::mem::replace(&mut self.part, Part { share, ..part });
        match part.led {
            // whoever => follows
            Some(total) => {
                self.clean = None;
                self.long = 0.0;
                self.probe = Probe::rest(1);
                self.set(f64::from(total.max(1)) * share, at, LimitCause::Shared);
            }
            // follows => leads: the limit stays as the best guess, without evidence of ours
            None if before.led.is_some() => {
                self.know_nothing();
                let total = before.led.map_or(self.centre / before.share, f64::from);
                self.set(total * share, at, LimitCause::Shared);
                self.probe_anew();
            }
            // leads => leads
            None => self.rescale(share / before.share, at),
        }
        self.decision()
    }

    /// Our part, and with it all that passes here, is so many times what it was.
    fn rescale(&mut self, times: f64, at: Micros) {
        let shift = times.ln();
        if shift == 0.0 {
            return;
        }
        self.clean = self.clean.map(|clean| clean * times);
        // Not by the elasticity: throughput comes with those who bring it.
        self.set(self.centre * times, at, LimitCause::Shared);
        if shift.abs() > FAR {
            self.regime.forget();
            self.probe_anew();
        }
    }

    /// The limit of all who share the database.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.part.led.unwrap_or_else(|| round(self.centre / self.part.share))
    }

    /// What is worth remembering for [`Law::remembering`]: the limit of all, found while no long
    /// statement ran, if any was found.
    #[must_use]
    pub fn knee(&self) -> Option<u32> {
        self.part.led.or_else(|| self.clean.map(|clean| round((clean / self.part.share).min(MOST))))
    }

    /// By how much the throughput of all answers to the limit of all.
    pub(super) fn elasticity(&self) -> f64 {
        let seen = 1.0 - (1.0 - self.evidence.elasticity()) / self.part.share;
        seen.clamp(-SENSIBLE, SENSIBLE)
    }

    /// The standard error of that.
    pub(super) fn error(&self) -> f64 {
        self.evidence.error() / self.part.share
    }

    /// Whether others share the limit.
    pub(super) fn is_shared(&self) -> bool {
        self.part.share < 1.0
    }

    /// How long a slot is that would be so long if nobody else had to hear of it.
    pub(super) fn at_their_pace(&self, measured: Micros) -> Micros {
        if self.is_shared() { measured.max(HEARD_AFTER) } else { measured }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Window;

    /// Several proxies in front of one database that gains nothing beyond its knee, and loses.
    struct Shared {
        now: Micros,
        knee: f64,
        /// What the others execute.
        others: f64,
    }

    impl Shared {
        fn throughput(&self, executing: f64) -> f64 {
            let Self { knee, .. } = self;
            100.0
                * if executing <= *knee { executing } else { knee * (executing / knee).powf(-0.2) }
        }

        /// The leader's slot: its part of what all do.
        fn window(&mut self, decision: Decision) -> Window {
            self.now = self.now + decision.slot;
            let length = Micros(decision.slot.0 - decision.settle.0);
            let own = f64::from(decision.limit);
            let rate = self.throughput(own + self.others) * own / (own + self.others);
            let seconds = length.as_secs_f64();
            let (done, held) = ((rate * seconds).round().max(1.0), own / rate);
            Window {
                at: self.now,
                length,
                limit: decision.limit,
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "small"
                )]
                done: done as u32,
                work: rate * seconds * 0.01,
                quick: rate * seconds * 0.01,
                executing: own,
                held: done * held,
                held_squares: done * held * held,
                saturated: 1.0,
                ceiling: 200,
                ..Window::default()
            }
        }

        /// The others follow each quarter of a second.
        fn drive(&mut self, law: &mut Law, seconds: u64, corrects: bool) {
            let part = law.part;
            let end = self.now + Micros::from_secs(seconds);
            let mut heard = self.now;
            let mut decision = law.decision();
            while self.now < end {
                let window = self.window(decision);
                if self.now - heard >= HEARD_AFTER {
                    heard = self.now;
                    self.others = law.centre * (1.0 - part.share) / part.share;
                }
                law.part.share = if corrects { part.share } else { 1.0 };
                decision = law.slot_ended(&window);
                law.part = part;
            }
        }
    }

    fn leader(seed: u64, share: f64, knee: f64) -> (Law, Shared) {
        let mut law = Law::new(seed);
        law.take_part(Part { share, led: None }, Micros::ZERO);
        let others = law.centre * (1.0 - share) / share;
        (law, Shared { now: Micros::ZERO, knee, others })
    }

    #[test]
    fn the_knee_of_all_is_found_on_a_part_of_them() {
        for (share, knee) in [(0.5, 40.0), (0.34, 40.0), (0.34, 90.0), (0.6, 24.0), (0.25, 64.0)] {
            for seed in 0..6 {
                let (mut law, mut shared) = leader(seed, share, knee);
                shared.drive(&mut law, 30, true);
                let total = f64::from(law.total());
                let best = shared.throughput(total) / shared.throughput(knee);
                assert!(best > 0.9, "{share} of {knee}, seed {seed}: {total}");
            }
        }
    }

    /// Until all is so congested that it begins anew, to do the same again.
    #[test]
    fn a_law_that_takes_its_part_for_all_grows_far_beyond_the_knee() {
        for seed in 0..4 {
            let (mut law, mut shared) = leader(seed, 0.34, 24.0);
            let mut totals = Vec::new();
            for _ in 0..30 {
                shared.drive(&mut law, 1, false);
                totals.push(law.total());
            }
            assert!(totals.iter().any(|total| *total > 100), "seed {seed}: {totals:?}");
        }
    }

    #[test]
    fn who_follows_learns_nothing_and_goes_on_from_there() {
        let (mut law, mut shared) = leader(1, 0.5, 40.0);
        law.take_part(Part { share: 0.25, led: Some(60) }, Micros(1));
        assert_eq!((law.decision().limit, law.total(), law.knee()), (15, 60, Some(60)));
        assert_eq!((law.change().to, law.change().cause), (15, LimitCause::Shared));
        for _ in 0..50 {
            let window = shared.window(law.decision());
            assert_eq!(law.slot_ended(&window).limit, 15);
        }
        // Nobody is left with nothing.
        law.take_part(Part { share: 0.001, led: Some(20) }, Micros(2));
        assert_eq!(law.decision().limit, 1);
        law.take_part(Part { share: 0.5, led: None }, Micros(3));
        assert_eq!((law.total(), law.change().to), (20, 10));
    }

    #[test]
    fn a_larger_part_is_as_much_larger_a_limit() {
        let mut law = Law::remembering(1, 40);
        law.take_part(Part { share: 0.5, led: None }, Micros(1));
        assert_eq!((law.change().to, law.total()), (20, 40));
        law.take_part(Part { share: 0.25, led: None }, Micros(2));
        assert_eq!((law.change().to, law.total()), (10, 40));
        law.take_part(Part::WHOLE, Micros(3));
        assert_eq!((law.change().to, law.total()), (40, 40));
        for share in [f64::NAN, -1.0, 0.0, f64::INFINITY] {
            let decision = law.take_part(Part { share, led: None }, Micros(4));
            assert!((39..=41).contains(&law.total()) && decision.limit >= 1, "{share}");
        }
    }
}
