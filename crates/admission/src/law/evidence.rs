//! What pairs of slots have shown of the elasticity: by how much throughput answers to the limit,
//! `d ln X / d ln n`. A line through the origin, fitted with weights that fade.

/// How much of what was known is kept with each new pair.
const KEPT: f64 = 0.9;
/// A pair that is further from what was believed than so many standard deviations contradicts it.
const SURPRISE: f64 = 3.5;
/// What is believed before anything was seen, with the weight of a small fraction of a pair.
const PRIOR: Evidence = Evidence { xx: 0.002, xy: 0.001, rr: 0.007, weight: 0.3, elasticity: 0.5 };

/// One pair: the same database a moment apart with a little more and a little less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    /// ln of the ratio of the limits.
    pub(super) limits: f64,
    /// The larger of the two.
    pub(super) upper: f64,
    /// ln of the ratio of the throughputs.
    pub(super) throughputs: f64,
    /// The least variance the second can have had: so few transactions were counted.
    pub(super) noise: f64,
}

/// The fit.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    xx: f64,
    xy: f64,
    rr: f64,
    weight: f64,
    elasticity: f64,
}

impl Evidence {
    /// Nothing was seen.
    pub(super) const fn none() -> Self {
        PRIOR
    }

    /// The elasticity believed.
    pub(super) const fn elasticity(&self) -> f64 {
        self.elasticity
    }

    /// Its standard error.
    pub(super) fn error(&self) -> f64 {
        (self.variance() / self.xx).sqrt()
    }

    /// Of ln throughput ratios around the line.
    fn variance(&self) -> f64 {
        self.rr / self.weight
    }

    /// A pair was measured.
    pub(super) fn add(&mut self, pair: Pair) {
        let away = pair.throughputs - self.elasticity * pair.limits;
        // A pair may be off by its own scatter and by what the belief may be wrong by.
        let doubt = 1.0 + pair.limits * pair.limits / self.xx;
        if away * away > SURPRISE * SURPRISE * doubt * self.variance().max(pair.noise) {
            self.fade(0.25);
        }
        self.xx = KEPT * self.xx + pair.limits * pair.limits;
        self.xy = KEPT * self.xy + pair.limits * pair.throughputs;
        self.rr = KEPT * self.rr + (away * away / doubt).max(pair.noise);
        self.weight = KEPT * self.weight + 1.0;
        self.elasticity = self.xy / self.xx;
    }

    /// It is as if only a part of it had been seen: the belief stays, its certainty goes.
    pub(super) fn fade(&mut self, kept: f64) {
        // Never less than the prior's weight: what is certain of nothing still has an opinion.
        let kept = kept.max(PRIOR.xx / self.xx).min(1.0);
        self.xx *= kept;
        self.xy *= kept;
        self.rr *= kept;
        self.weight *= kept;
    }
}
