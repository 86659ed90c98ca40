//! When requests are due: arrivals of a point process, fixed by a seed before anything is sent.
//!
//! Customers do not wait for each other, so arrivals are open: a Poisson process, or a burstier
//! renewal process with the same mean, at a rate that may change with time. The process is made at
//! unit rate and its points are carried through the inverse of the expected count Λ(t) (time
//! change; Çinlar, Introduction to Stochastic Processes, 4.7): exact, and the n-th arrival of two
//! rates comes from the same random number.

use std::time::Duration;

use rand::SeedableRng;
use rand::distr::Distribution;
use rand_chacha::ChaCha8Rng;
use rand_distr::Gamma;

use crate::mix::{Mix, Request};

/// A stretch of time in which the rate goes from one value to another in a straight line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// How long.
    pub span: Duration,
    /// Requests per second at its start.
    pub from: f64,
    /// Requests per second at its end.
    pub to: f64,
}

impl Segment {
    /// Requests expected in the whole of it.
    fn expected(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.span.as_secs_f64()
    }

    /// Seconds from its start until `expected` requests are expected.
    ///
    /// Root of (s/2)·t² + from·t = expected, with the slope s, in the form that also serves s = 0.
    fn inverse(&self, expected: f64) -> f64 {
        let slope = (self.to - self.from) / self.span.as_secs_f64();
        let root = (self.from * self.from + 2.0 * slope * expected).max(0.0).sqrt();
        2.0 * expected / (self.from + root)
    }
}

/// The rate over time: segments one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ramp {
    segments: Vec<Segment>,
}

impl Ramp {
    /// `rate` requests per second for `span`.
    #[must_use]
    pub fn constant(rate: f64, span: Duration) -> Self {
        Self::linear(rate, rate, span)
    }

    /// From one rate to another in a straight line. A rate below zero counts as zero.
    #[must_use]
    pub fn linear(from: f64, to: f64, span: Duration) -> Self {
        Self { segments: vec![Segment { span, from: from.max(0.0), to: to.max(0.0) }] }
    }

    /// This ramp, followed by another.
    #[must_use]
    pub fn then(mut self, next: Self) -> Self {
        self.segments.extend(next.segments);
        self
    }

    /// Its segments in order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// From its start to its end.
    #[must_use]
    pub fn span(&self) -> Duration {
        self.segments.iter().map(|segment| segment.span).sum()
    }

    /// Requests expected in the whole of it.
    #[must_use]
    pub fn expected(&self) -> f64 {
        self.segments.iter().map(Segment::expected).sum()
    }

    /// Requests per second at a time from the start; zero after the end.
    #[must_use]
    pub fn rate_at(&self, offset: Duration) -> f64 {
        let mut start = Duration::ZERO;
        for segment in &self.segments {
            if offset < start + segment.span {
                let part = (offset - start).as_secs_f64() / segment.span.as_secs_f64();
                return segment.from + (segment.to - segment.from) * part;
            }
            start += segment.span;
        }
        0.0
    }
}

/// A ramp with a seed: fixed arrivals.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    ramp: Ramp,
    seed: u64,
    dispersion: f64,
}

impl Schedule {
    /// Poisson arrivals along `ramp`.
    #[must_use]
    pub fn new(ramp: Ramp, seed: u64) -> Self {
        Self { ramp, seed, dispersion: 1.0 }
    }

    /// Burstier (above 1) or more even (below 1) arrivals than Poisson's, by the index of
    /// dispersion: variance over mean of the number of arrivals in long intervals. Between 0.01 and
    /// 1 000; anything else is brought into that range.
    ///
    /// Gaps are gamma-distributed: a renewal process has the index of dispersion CV² of its gaps
    /// (Cox and Lewis, The Statistical Analysis of Series of Events, 4.5), and a gamma gap of shape
    /// k has CV² = 1/k.
    #[must_use]
    pub fn with_dispersion(mut self, index: f64) -> Self {
        self.dispersion = if index.is_nan() { 1.0 } else { index.clamp(0.01, 1_000.0) };
        self
    }

    /// Its ramp.
    #[must_use]
    pub fn ramp(&self) -> &Ramp {
        &self.ramp
    }

    /// Its seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// When requests are due, from the start of the run; in order.
    #[must_use]
    pub fn offsets(&self) -> Offsets {
        let shape = self.dispersion.recip();
        let gaps = Gamma::new(shape, self.dispersion).expect("a dispersion between 0.01 and 1000");
        Offsets {
            ramp: self.ramp.clone(),
            chance: ChaCha8Rng::seed_from_u64(self.seed),
            gaps,
            segment: 0,
            segment_start: Duration::ZERO,
            into_segment: 0.0,
        }
    }

    /// When which request of `mix` is due, in order. The n-th request is the same at every rate:
    /// what is sent and when it is sent are drawn from separate streams of the seed.
    #[must_use]
    pub fn arrivals<'m>(&self, mix: &'m Mix) -> Arrivals<'m> {
        let mut chance = ChaCha8Rng::seed_from_u64(self.seed);
        chance.set_stream(1);
        Arrivals { offsets: self.offsets(), mix, chance }
    }
}

/// Iterator of [`Schedule::offsets`].
#[derive(Clone, Debug)]
pub struct Offsets {
    ramp: Ramp,
    chance: ChaCha8Rng,
    gaps: Gamma<f64>,
    segment: usize,
    segment_start: Duration,
    /// Expected requests from the segment's start to the latest arrival.
    into_segment: f64,
}

impl Iterator for Offsets {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.into_segment += self.gaps.sample(&mut self.chance);
        loop {
            let segment = self.ramp.segments.get(self.segment)?;
            let expected = segment.expected();
            if self.into_segment < expected {
                let seconds = segment.inverse(self.into_segment);
                let into = Duration::try_from_secs_f64(seconds).unwrap_or(segment.span);
                return Some(self.segment_start + into.min(segment.span));
            }
            // The gap reaches into the next segment; there it goes on at that segment's rate.
            self.into_segment -= expected;
            self.segment_start += segment.span;
            self.segment += 1;
        }
    }
}

/// One due request.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// From the start of the run.
    pub offset: Duration,
    /// What to send.
    pub request: Request,
}

/// Iterator of [`Schedule::arrivals`].
#[derive(Debug)]
pub struct Arrivals<'m> {
    offsets: Offsets,
    mix: &'m Mix,
    chance: ChaCha8Rng,
}

impl Iterator for Arrivals<'_> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let offset = self.offsets.next()?;
        Some(Arrival { offset, request: self.mix.draw(&mut self.chance) })
    }
}

#[cfg(test)]
mod tests;
