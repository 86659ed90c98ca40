//! Whether the database is still the one that was measured.
//!
//! Three levels are watched, each corrected for what the probes themselves do to it: transactions a
//! second, how long they hold a connection, and work a second. Work alone is not enough, because it
//! does not depend on the mix, and a change of the mix is a change of the knee. Nor are all three:
//! hot rows and waits of 8 ms may be as many, and take as long, at a limit that is right for one of
//! them. So it is watched which statements there are, too.

use crate::mix::Spot;

/// How far each level may be from where it was, as ln: transactions a second, time held, work.
const RATE: f64 = 0.35;
const HELD: f64 = 0.45;
const WORK: f64 = 0.22;
/// How far apart the statements may be: so large a part of them may be others.
const MIX: f64 = 0.4;
/// So far (ln) that it cannot be that the limit moved: a coarse pair moves it by half as much.
const FAR: f64 = 1.0;
/// Work may also wander by so many times its usual deviation, the mix by so many times that of a
/// count.
const WANDER: f64 = 4.0;
/// Or by so many times what a wrong belief of the elasticity explains.
const DOUBT: f64 = 1.2;
/// Weight of a new slot in the level.
const NEW: f64 = 0.15;

/// ln of the three levels, and the mix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Levels {
    pub(super) rate: f64,
    pub(super) held: f64,
    pub(super) work: f64,
    pub(super) mix: Option<Spot>,
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
            ..self
        }
    }

    /// Whether other statements than those of a level are executed.
    fn has_others(&self, level: &Self) -> bool {
        let both = self.mix.zip(level.mix);
        both.is_some_and(|(seen, usual)| {
            seen.apart(&usual) > MIX.max(WANDER * seen.chance.max(usual.chance))
        })
    }

    /// The mix, moved by what was seen.
    fn mixed_with(&self, seen: &Self) -> Option<Spot> {
        match (self.mix, seen.mix) {
            (Some(usual), Some(seen)) => Some(usual.towards(&seen, NEW)),
            (one, other) => one.or(other),
        }
    }
}

/// What a slot looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// As those before, or not certainly unlike them.
    Same,
    /// So unlike them that no wrong belief of the elasticity explains it; but one such slot may be
    /// chance.
    Odd,
    /// Unlike them, and so was the one before: another regime, whose levels are this slot's.
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
    /// The slot before was off.
    suspect: bool,
}

impl Regime {
    /// A slot at the centre, or corrected to it, which may be wrong by so much (`doubt`); `noise`
    /// is the deviation (ln) that counting so few transactions has by itself.
    pub(super) fn look(&mut self, seen: Levels, noise: f64, doubt: f64) -> Look {
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
        let others = seen.has_others(&level);
        let off = others
            || rate.abs() > RATE.max(chance)
            || held.abs() > HELD.max(chance)
            || work.abs() > WORK.max(chance).max(WANDER * self.wander);
        if off && self.suspect {
            *self = Self { level: Some(seen), doubt, ..Self::default() };
            return Look::Another;
        }
        self.suspect = off;
        if off {
            let far = others || rate.abs().max(held.abs()) > FAR.max(chance);
            return if far { Look::Odd } else { Look::Same };
        }
        self.doubt -= NEW * self.doubt;
        self.wander += NEW * (work.abs() - self.wander);
        self.level = Some(Levels {
            rate: level.rate + NEW * rate,
            held: level.held + NEW * held,
            work: level.work + NEW * work,
            mix: level.mixed_with(&seen),
        });
        Look::Same
    }

    /// The same of a slot in which all that was asked for was let in: how many transactions there
    /// are, and how much work, is the clients' affair then; how long each takes is not.
    pub(super) fn look_at_time(&mut self, seen: Levels, noise: f64, doubt: f64) -> Look {
        let Some(level) = self.level else { return Look::Same };
        let look = self.look(Levels { held: seen.held, mix: seen.mix, ..level }, noise, doubt);
        if look == Look::Another {
            // Its rate is not one that a limit has.
            self.forget();
        }
        look
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
