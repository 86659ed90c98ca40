//! Whether the database is still the one that was measured.
//!
//! Three levels are watched, each corrected for what the probes themselves do to it: transactions a
//! second, how long they hold a connection, and work a second. Work alone is not enough, because it
//! does not depend on the mix, and a change of the mix is a change of the knee.

/// How far each level may be from where it was, as ln: transactions a second, time held, work.
const RATE: f64 = 0.35;
const HELD: f64 = 0.45;
const WORK: f64 = 0.22;
/// So far (ln) that it cannot be that the limit moved: a coarse pair moves it by half as much.
const FAR: f64 = 1.0;
/// Work may also wander by so many times its usual deviation.
const WANDER: f64 = 4.0;
/// Or by so many times what a wrong belief of the elasticity explains.
const DOUBT: f64 = 1.2;
/// What is off for no longer, in seconds, may be something else that had the machine for a moment.
const LASTING: f64 = 0.15;
/// But a jam must be seen while it is small.
const LASTING_FAR: f64 = 0.05;
/// Weight of a new slot in the level.
const NEW: f64 = 0.15;

/// ln of the three levels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Levels {
    pub(super) rate: f64,
    pub(super) held: f64,
    pub(super) work: f64,
}

impl Levels {
    /// How far (ln) [`Self::shifted`] may be wrong if the elasticity is not what is believed, but
    /// something between nothing and all.
    pub(super) fn doubt(elasticity: f64, shift: f64) -> f64 {
        shift.abs() * (1.0 - elasticity).max(elasticity)
    }

    /// The levels as they would be with a limit larger by `shift` (ln), at this elasticity: what
    /// does not go into throughput goes into time.
    pub(super) fn shifted(self, elasticity: f64, shift: f64) -> Self {
        Self {
            rate: self.rate + elasticity * shift,
            held: self.held + (1.0 - elasticity) * shift,
            work: self.work + elasticity * shift,
        }
    }
}

/// A slot as it would be at the centre.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) levels: Levels,
    /// How long it was.
    pub(super) seconds: f64,
    /// The deviation (ln) that counting so few transactions has by itself.
    pub(super) noise: f64,
    /// How far (ln) the correction to the centre may be wrong.
    pub(super) doubt: f64,
}

/// What a slot looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// As those before, or not certainly unlike them.
    Same,
    /// So unlike them that no wrong belief of the elasticity explains it; but one such slot may be
    /// chance.
    Odd,
    /// Unlike them, as were those before for a while: another regime, whose levels are this slot's.
    Another,
}

/// The levels of the regime that holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Regime {
    level: Option<Levels>,
    /// How far the level may be wrong because of the slot it began with.
    doubt: f64,
    /// How far work usually is from its level.
    wander: f64,
    /// The slots before were off.
    suspect: Suspicion,
}

/// For how long slots have been off without a break, and to which side each level.
#[derive(Clone, Copy, Debug, Default)]
struct Suspicion {
    seconds: f64,
    sides: [i8; 3],
}

impl Suspicion {
    /// Whether a slot is off as those before were: none of its levels is on the other side.
    fn goes_on(&self, sides: [i8; 3]) -> bool {
        let is_off = sides != [0; 3] && self.sides != [0; 3];
        is_off && sides.iter().zip(self.sides).all(|(now, before)| now * before >= 0)
    }

    fn add(&mut self, sides: [i8; 3], seconds: f64) {
        let before = if self.goes_on(sides) { self.seconds } else { 0.0 };
        *self = Self { seconds: before + seconds, sides };
    }
}

impl Regime {
    /// A slot has ended.
    pub(super) fn look(&mut self, slot: Seen) -> Look {
        let Seen { levels: seen, seconds, noise, doubt } = slot;
        let Some(level) = self.level else {
            *self = Self { level: Some(seen), doubt, ..Self::default() };
            return Look::Same;
        };
        let (rate, held, work) =
            (seen.rate - level.rate, seen.held - level.held, seen.work - level.work);
        // Where pairs are coarse (1 and 3 around 2), a wrong belief makes each half look like
        // another load. If that were believed, no pair would be complete and the belief stay wrong
        // for ever.
        let chance = WANDER * noise + DOUBT * (doubt + self.doubt);
        let sides = [
            side(rate, RATE.max(chance)),
            side(held, HELD.max(chance)),
            side(work, WORK.max(chance).max(WANDER * self.wander)),
        ];
        let is_off = sides != [0; 3];
        let is_second = self.suspect.goes_on(sides);
        self.suspect.add(sides, seconds);
        let is_far = rate.abs().max(held.abs()) > FAR.max(chance);
        let lasting = if is_far { LASTING_FAR } else { LASTING };
        if is_second && self.suspect.seconds > lasting {
            *self = Self { level: Some(seen), doubt, ..Self::default() };
            return Look::Another;
        }
        if is_off {
            return if is_far { Look::Odd } else { Look::Same };
        }
        self.doubt -= NEW * self.doubt;
        self.wander += NEW * (work.abs() - self.wander);
        self.level = Some(Levels {
            rate: level.rate + NEW * rate,
            held: level.held + NEW * held,
            work: level.work + NEW * work,
        });
        Look::Same
    }

    /// The same of a slot in which all that was asked for was let in: how many transactions there
    /// are, and how much work, is the clients' affair then; how long each takes is not.
    pub(super) fn look_at_time(&mut self, slot: Seen) -> Look {
        let Some(level) = self.level else { return Look::Same };
        let look = self.look(Seen { levels: Levels { held: slot.levels.held, ..level }, ..slot });
        if look == Look::Another {
            // Its rate is not one that a limit has.
            self.forget();
        }
        look
    }

    /// Whether the last slot was off.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.sides != [0; 3]
    }

    /// The limit was moved by `shift` (ln): the levels are expected to follow.
    pub(super) fn moved(&mut self, elasticity: f64, shift: f64) {
        self.level = self.level.map(|level| level.shifted(elasticity, shift));
    }

    /// Nothing is known any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Above (1), below (-1) or within what is usual.
fn side(by: f64, usual: f64) -> i8 {
    i8::from(by > usual) - i8::from(by < -usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What slots of 30 ms look like that do so many times (ln) what is usual.
    fn looks<const N: usize>(times: [f64; N]) -> [Look; N] {
        let mut regime = Regime::default();
        let mut look = |by: f64| {
            let levels = Levels { rate: 5.0 + by, held: -3.0 - by, work: 1.0 + by };
            regime.look(Seen { levels, seconds: 0.03, noise: 0.01, doubt: 0.0 })
        };
        for _ in 0..10 {
            assert_eq!(look(0.0), Look::Same);
        }
        times.map(look)
    }

    #[test]
    fn a_moment_is_no_regime() {
        let seen = looks([-0.5, -0.5, -0.5, -0.5, -0.5, 0.0, -0.5, -0.5, 0.0]);
        assert_eq!(seen, [Look::Same; 9]);
        assert_eq!(looks([-0.5; 6])[5], Look::Another, "what lasts is one");
    }

    #[test]
    fn what_is_off_to_one_side_and_then_to_the_other_is_none() {
        assert_eq!(looks([0.5, -0.5, 0.5, -0.5, 0.5, -0.5, 0.5, -0.5]), [Look::Same; 8]);
    }

    #[test]
    fn what_is_far_off_is_seen_sooner() {
        assert_eq!(looks([-1.2, -1.2]), [Look::Odd, Look::Another]);
        assert_eq!(looks([-1.2, 0.0]), [Look::Odd, Look::Same]);
    }
}
