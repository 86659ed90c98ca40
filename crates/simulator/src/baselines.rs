//! Laws that others use, written from their published descriptions. All count held connections, as
//! they do there; slots are 100 ms, which is kinder than some of them are to themselves.
//!
//! *Time* here is what a transaction holds its connection for.

use admission::{Decision, Window};
use trace::Micros;

use crate::limiter::{Counts, Limiter};

const SLOT: Micros = Micros::from_millis(100);
const FIRST: f64 = 10.0;
const MOST: f64 = 200.0;

fn decision(limit: f64, slot: Micros) -> Decision {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 200")]
    let limit = limit.round().clamp(1.0, MOST) as u32;
    Decision { limit, long: 0, slot, settle: Micros::ZERO }
}

/// Mean time that a transaction held its connection, in seconds, and how many were held.
fn held(window: &Window) -> Option<(f64, f64)> {
    let done = f64::from(window.done);
    (window.done > 0).then(|| (window.held / done, window.executing + window.long + window.idle))
}

/// A fixed size.
#[derive(Clone, Copy, Debug)]
pub struct Static(pub u32);

impl Limiter for Static {
    fn first(&mut self) -> Decision {
        decision(f64::from(self.0), SLOT)
    }

    fn slot_ended(&mut self, _: &Window) -> Decision {
        self.first()
    }
}

/// One more as long as time is below a threshold, a tenth less when it is above.
#[derive(Clone, Copy, Debug)]
pub struct Aimd {
    limit: f64,
    threshold: f64,
}

impl Aimd {
    /// With this threshold in seconds.
    #[must_use]
    pub const fn new(threshold: f64) -> Self {
        Self { limit: FIRST, threshold }
    }
}

impl Limiter for Aimd {
    fn first(&mut self) -> Decision {
        decision(self.limit, SLOT)
    }

    fn slot_ended(&mut self, window: &Window) -> Decision {
        if let Some((time, in_flight)) = held(window) {
            if time > self.threshold {
                self.limit = (self.limit * 0.9).max(1.0);
            } else if in_flight * 2.0 >= self.limit {
                self.limit = (self.limit + 1.0).min(MOST);
            }
        }
        self.first()
    }
}

/// TCP Vegas' idea (Brakmo, Peterson 1995) as Netflix has it for services: the queue inside is what
/// the time exceeds the least time ever seen by; it is kept between two logarithms of the limit.
#[derive(Clone, Copy, Debug)]
pub struct Vegas {
    limit: f64,
    least: f64,
    slots: f64,
}

impl Default for Vegas {
    fn default() -> Self {
        Self { limit: FIRST, least: f64::INFINITY, slots: 0.0 }
    }
}

impl Limiter for Vegas {
    fn first(&mut self) -> Decision {
        decision(self.limit, SLOT)
    }

    fn slot_ended(&mut self, window: &Window) -> Decision {
        let Some((time, in_flight)) = held(window) else { return self.first() };
        self.slots += 1.0;
        if self.slots > 30.0 * self.limit {
            (self.slots, self.least) = (0.0, time);
        }
        self.least = self.least.min(time);
        if in_flight * 2.0 < self.limit {
            return self.first();
        }
        let queue = (self.limit * (1.0 - self.least / time)).ceil();
        let unit = self.limit.log10().max(1.0);
        if queue <= unit {
            self.limit += 6.0 * unit;
        } else if queue < 3.0 * unit {
            self.limit += unit;
        } else if queue > 6.0 * unit {
            self.limit -= unit;
        }
        self.limit = self.limit.clamp(1.0, MOST);
        self.first()
    }
}

/// Netflix' second gradient: the limit follows the ratio of a long mean of the time to the present
/// one, and a constant more.
#[derive(Clone, Copy, Debug)]
pub struct Gradient {
    limit: f64,
    usual: f64,
    slots: f64,
}

impl Default for Gradient {
    fn default() -> Self {
        Self { limit: FIRST, usual: 0.0, slots: 0.0 }
    }
}

impl Limiter for Gradient {
    fn first(&mut self) -> Decision {
        decision(self.limit, SLOT)
    }

    fn slot_ended(&mut self, window: &Window) -> Decision {
        let Some((time, in_flight)) = held(window) else { return self.first() };
        self.slots = (self.slots + 1.0).min(600.0);
        // A plain mean at first, then one that fades over six hundred slots.
        let weight = if self.slots < 10.0 { 1.0 / self.slots } else { 2.0 / 601.0 };
        self.usual += weight * (time - self.usual);
        if self.usual / time > 2.0 {
            self.usual *= 0.95;
        }
        if in_flight * 2.0 < self.limit {
            return self.first();
        }
        let gradient = (1.5 * self.usual / time).clamp(0.5, 1.0);
        self.limit = (0.8 * self.limit + 0.2 * (self.limit * gradient + 4.0)).clamp(1.0, MOST);
        self.first()
    }
}

/// Each second a seventh up or down; turns round when throughput fell.
#[derive(Clone, Copy, Debug)]
pub struct Climb {
    limit: f64,
    up: bool,
    before: f64,
    counts: Counts,
}

impl Climb {
    /// Of held connections, as a pool would, or of executing statements.
    #[must_use]
    pub const fn new(counts: Counts) -> Self {
        Self { limit: FIRST, up: true, before: 0.0, counts }
    }

    fn decision(&self) -> Decision {
        let mut decision = decision(self.limit, Micros::from_secs(1));
        decision.long = decision.limit.max(2);
        decision
    }
}

impl Limiter for Climb {
    fn counts(&self) -> Counts {
        self.counts
    }

    fn first(&mut self) -> Decision {
        self.decision()
    }

    fn slot_ended(&mut self, window: &Window) -> Decision {
        if window.saturated >= 0.7 {
            let rate = f64::from(window.done) / window.length.as_secs_f64().max(1e-6);
            if rate < self.before {
                self.up = !self.up;
            }
            self.before = rate;
            let step = (self.limit / 7.0).max(1.0);
            self.limit = (self.limit + if self.up { step } else { -step }).clamp(1.0, MOST);
        }
        self.decision()
    }
}
