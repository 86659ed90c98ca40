//! The limit of executing statements and the throughput it gave, over time.
//!
//! Two panels on one time axis, as in [`timeline`](super::timeline) and for its reason: a second
//! axis in one panel would show coincidences that only its scaling made.

use super::canvas::{Align, Canvas, Face};
use super::panel::{LINE, Panel};
use super::scale::Scale;
use super::theme::Ink;
use crate::number;

/// One look at a proxy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitPoint {
    /// Seconds from the start.
    pub at: f64,
    /// How many statements might execute.
    pub limit: f64,
    /// Transactions a second.
    pub throughput: f64,
}

/// The chart's data.
#[derive(Clone, Debug)]
pub(super) struct LimitCourse {
    points: Vec<LimitPoint>,
    /// Where a phase begins, its name, and the throughput to compare with.
    phases: Vec<(f64, String, f64)>,
}

impl LimitCourse {
    pub(super) fn new(points: &[LimitPoint], phases: &[(f64, String, f64)]) -> Self {
        let sound = |point: &&LimitPoint| {
            [point.at, point.limit, point.throughput].iter().all(|value| value.is_finite())
        };
        Self { points: points.iter().filter(sound).copied().collect(), phases: phases.to_vec() }
    }

    pub(super) fn description(&self) -> String {
        let phases: Vec<String> = self
            .phases
            .iter()
            .enumerate()
            .map(|(nth, (from, name, _))| {
                let to = self.phases.get(nth + 1).map_or(f64::MAX, |(at, ..)| *at);
                let within: Vec<&LimitPoint> =
                    self.points.iter().filter(|point| point.at >= *from && point.at < to).collect();
                let mean = |of: fn(&LimitPoint) -> f64| {
                    within.iter().map(|point| of(point)).sum::<f64>() / within.len().max(1) as f64
                };
                let (limit, rate) = (mean(|point| point.limit), mean(|point| point.throughput));
                format!("{name}: limit {limit:.1}, {}/s", number::rate(rate))
            })
            .collect();
        format!("Means of {} looks. {}.", self.points.len(), phases.join("; "))
    }

    pub(super) fn draw(&self, canvas: &mut Canvas) {
        let [above, below] = self.panels(canvas);
        above.heading(
            canvas,
            "Transactions a second",
            &[(Ink::Query, "adaptive".to_owned()), (Ink::Good, "best static size".to_owned())],
        );
        above.y_axis(canvas, |value| format!("{value:.0}"));
        below.heading(canvas, "Limit of executing statements", &[]);
        below.y_axis(canvas, |value| format!("{value:.0}"));
        self.draw_phases(canvas, &above, &below);
        let line = |of: fn(&LimitPoint) -> f64, panel: &Panel| {
            self.points.iter().map(|point| panel.point(point.at, of(point))).collect()
        };
        canvas.polyline(line(|point| point.throughput, &above), Ink::Query, 1.5);
        canvas.polyline(line(|point| point.limit, &below), Ink::Dyno(0), 1.5);
        above.base_line(canvas);
        below.x_axis(canvas, "seconds", |value| format!("{value}"));
    }

    fn draw_phases(&self, canvas: &mut Canvas, above: &Panel, below: &Panel) {
        for (nth, (from, name, best)) in self.phases.iter().enumerate() {
            let to = self.phases.get(nth + 1).map_or(self.span(), |(at, ..)| *at);
            let y = above.py(*best);
            canvas.dashes((above.px(*from), y), (above.px(to), y), Ink::Good, 1.5);
            if nth > 0 {
                for panel in [above, below] {
                    let x = panel.px(*from);
                    canvas.dashes((x, panel.top), (x, panel.bottom), Ink::Axis, 1.0);
                }
            }
            let room = above.px(to) - above.px(*from);
            if canvas.text_width(name, Face::Small) + LINE < room {
                let place = (above.px(*from) + LINE * 0.4, below.top + LINE * 0.6);
                canvas.text(place, name, Align::Left, Face::Small, Ink::Muted);
            }
        }
    }

    fn span(&self) -> f64 {
        self.points.iter().map(|point| point.at).fold(0.0, f64::max).max(1e-3)
    }

    fn panels(&self, canvas: &Canvas) -> [Panel; 2] {
        let (left, right) = (LINE * 4.0, canvas.width() - LINE);
        let (top, gap, foot) = (LINE * 2.5, LINE * 2.4, LINE * 2.6);
        let each = ((canvas.height() - top - gap - foot) / 2.0).max(LINE);
        let x = Scale::Linear { from: 0.0, to: self.span() };
        let most = |of: fn(&LimitPoint) -> f64| self.points.iter().map(of).fold(0.0, f64::max);
        let bests = self.phases.iter().map(|(.., best)| *best).fold(0.0, f64::max);
        let scales = [
            Scale::from_zero(most(|point| point.throughput).max(bests), 4.0),
            Scale::from_zero(most(|point| point.limit) * 1.1, 4.0),
        ];
        let mut next = top;
        scales.map(|y| {
            let panel = Panel { left, top: next, right, bottom: next + each, x, y };
            next += each + gap;
            panel
        })
    }
}
