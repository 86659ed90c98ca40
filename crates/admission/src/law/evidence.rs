//! What pairs of slots have shown of the elasticity: by how much throughput answers to the limit,
//! `d ln X / d ln n`. A line through the origin, fitted with weights that fade.

/// How much of what was known is kept with each new pair.
const KEPT: f64 = 0.9;
/// Of what a pair is further from what was believed than so many standard deviations nothing counts
/// (Huber's estimate: P. J. Huber, Robust Estimation of a Location Parameter, 1964). One half of a
/// pair in which something else had the machine for a moment would outweigh ten others.
const USUAL: f64 = 1.5;
/// So much is known once there are so many pairs; before, their scatter is not known well enough.
const SETTLED: f64 = 4.0;
/// But two pairs in a row that are further than so many, to the same side, contradict it.
const SURPRISE: f64 = 3.5;
/// What is believed before anything was seen, with the weight of a small fraction of a pair.
const PRIOR: Evidence =
    Evidence { xx: 0.002, xy: 0.001, rr: 0.007, weight: 0.3, elasticity: 0.5, surprise: 0.0 };

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
    /// Whether the last pair was a surprise, and to which side.
    surprise: f64,
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
        let deviation = (doubt * self.variance().max(pair.noise)).sqrt();
        let way = (away * pair.limits).signum();
        let surprise = if away.abs() > SURPRISE * deviation { way } else { 0.0 };
        let is_settled = self.weight >= SETTLED;
        let away =
            if is_settled { away.clamp(-USUAL * deviation, USUAL * deviation) } else { away };
        if surprise != 0.0 && (!is_settled || surprise == self.surprise) {
            self.fade(0.25);
        }
        self.surprise = surprise;
        let throughputs = self.elasticity * pair.limits + away;
        self.xx = KEPT * self.xx + pair.limits * pair.limits;
        self.xy = KEPT * self.xy + pair.limits * throughputs;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(throughputs: f64) -> Pair {
        Pair { limits: 0.3, upper: 10.0, throughputs, noise: 1e-4 }
    }

    /// Of twenty pairs that show an elasticity of about 0.2.
    fn settled() -> Evidence {
        let mut evidence = Evidence::none();
        for scatter in [0.02, -0.02].iter().cycle().take(20) {
            evidence.add(pair(0.06 + scatter));
        }
        evidence
    }

    #[test]
    fn one_pair_that_is_far_out_outweighs_no_others() {
        let mut evidence = settled();
        let (before, error) = (evidence.elasticity(), evidence.error());
        evidence.add(pair(-1.0));
        let moved = evidence.elasticity() - before;
        assert!(moved < 0.0 && moved > -0.03, "{before} moved by {moved}");
        assert!(evidence.error() < 1.5 * error, "{error} is {}", evidence.error());
    }

    #[test]
    fn what_several_show_in_a_row_is_believed() {
        let mut evidence = settled();
        for _ in 0..6 {
            evidence.add(pair(-0.2));
        }
        let now = evidence.elasticity();
        assert!(now < -0.5, "{now} after six that show -0.67");
    }
}
