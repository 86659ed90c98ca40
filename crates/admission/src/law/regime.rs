//! Whether the database is still the one that was measured.
//!
//! Three levels are watched, each corrected for what the probes themselves do to it: transactions a
//! second, how long they hold a connection, and work a second. Work alone is not enough, because it
//! does not depend on the mix, and a change of the mix is a change of the knee.

/// How far each level may be from where it was, as ln: transactions a second, time held, work.
const RATE: f64 = 0.35;
const HELD: f64 = 0.45;
const WORK: f64 = 0.22;
/// Work may also wander by so many times its usual deviation.
const WANDER: f64 = 4.0;
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

/// The levels of the regime that holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Regime {
    level: Option<Levels>,
    /// How far work usually is from its level.
    wander: f64,
    /// The slot before was off.
    suspect: bool,
}

impl Regime {
    /// A slot at the centre, or corrected to it; `noise` is the deviation (ln) that counting so few
    /// transactions has by itself. True: this is another regime, and twice in a row,
    /// so that it is not one odd slot. Its levels are then those of the new one.
    pub(super) fn changed(&mut self, seen: Levels, noise: f64) -> bool {
        let Some(level) = self.level else {
            self.level = Some(seen);
            return false;
        };
        let (rate, held, work) =
            (seen.rate - level.rate, seen.held - level.held, seen.work - level.work);
        let chance = WANDER * noise;
        let off = rate.abs() > RATE.max(chance)
            || held.abs() > HELD.max(chance)
            || work.abs() > WORK.max(chance).max(WANDER * self.wander);
        if off && self.suspect {
            *self = Self { level: Some(seen), ..Self::default() };
            return true;
        }
        self.suspect = off;
        if !off {
            self.wander += NEW * (work.abs() - self.wander);
            self.level = Some(Levels {
                rate: level.rate + NEW * rate,
                held: level.held + NEW * held,
                work: level.work + NEW * work,
            });
        }
        false
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
