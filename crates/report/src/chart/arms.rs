//! The arms of an experiment: failed share at the left, 99th percentile at the right, a row each.

use diagnose::compare::Arm;

use super::canvas::{Align, Canvas, Face};
use super::panel::{LINE, Panel};
use super::scale::Scale;
use super::theme::Ink;
use crate::number;

/// Height of an arm's row.
const ROW: f64 = LINE * 2.2;

/// Height of a bar.
const BAR: f64 = LINE;

/// The chart's data.
#[derive(Clone, Debug)]
pub(super) struct Arms {
    arms: Vec<Arm>,
}

impl Arms {
    pub(super) fn new(arms: &[Arm]) -> Self {
        Self { arms: arms.to_vec() }
    }

    pub(super) fn height(&self) -> f64 {
        LINE * 3.0 + ROW * self.arms.len().max(1) as f64
    }

    pub(super) fn description(&self) -> String {
        let arms: Vec<String> = self
            .arms
            .iter()
            .map(|arm| format!("{}: {}, p99 {}", arm.name, failed(arm), number::span(arm.p99)))
            .collect();
        format!("{}.", arms.join("; "))
    }

    pub(super) fn draw(&self, canvas: &mut Canvas) {
        let names = self.arms.iter().map(|arm| canvas.text_width(&arm.name, Face::Strong));
        let left = names.fold(0.0, f64::max) + LINE * 2.0;
        let gap = LINE * 2.0;
        let half = (canvas.width() - left - gap - LINE) / 2.0;
        let share = |arm: &Arm| number::share(arm.failed, arm.requests);
        let p99 = |arm: &Arm| arm.p99.as_millis_f64();
        self.draw_side(canvas, (left, left + half), "Failed requests", &share, failed);
        let right = left + half + gap;
        let value = |arm: &Arm| number::span(arm.p99);
        self.draw_side(canvas, (right, right + half), "99th percentile of latency", &p99, value);
        for (n, arm) in self.arms.iter().enumerate() {
            let place = (left - LINE, row(n));
            canvas.text(place, &arm.name, Align::Right, Face::Strong, Ink::Text);
        }
    }

    fn draw_side(
        &self,
        canvas: &mut Canvas,
        (left, end): (f64, f64),
        heading: &str,
        of: &dyn Fn(&Arm) -> f64,
        value: fn(&Arm) -> String,
    ) {
        let labels = self.arms.iter().map(|arm| canvas.text_width(&value(arm), Face::Plain));
        let room = labels.fold(0.0, f64::max) + LINE;
        let most = self.arms.iter().map(of).fold(0.0, f64::max);
        let panel = Panel {
            left,
            top: LINE * 2.0,
            right: end - room,
            bottom: canvas.height() - LINE * 0.6,
            x: Scale::Linear { from: 0.0, to: if most > 0.0 { most } else { 1.0 } },
            y: Scale::Linear { from: 0.0, to: 1.0 },
        };
        panel.heading(canvas, heading, &[]);
        canvas.line((left, panel.top - 4.0), (left, panel.bottom), Ink::Axis, 1.0);
        let is_failures = heading.starts_with("Failed");
        for (n, arm) in self.arms.iter().enumerate() {
            let (y, x) = (row(n), panel.px(of(arm)));
            let good = is_failures && arm.failed == 0;
            if x > left {
                let ink = if is_failures { Ink::Fail } else { Ink::Axis };
                canvas.rect((left, y - BAR / 2.0), (x - left, BAR), ink);
            }
            let ink = if good { Ink::Good } else { Ink::Text };
            canvas.text((x + LINE * 0.5, y), &value(arm), Align::Left, Face::Plain, ink);
        }
    }
}

fn row(n: usize) -> f64 {
    LINE * 2.2 + ROW * (n as f64 + 0.5)
}

fn failed(arm: &Arm) -> String {
    if arm.failed == 0 {
        return format!("none of {}", number::count(arm.requests));
    }
    let share = number::percent(number::share(arm.failed, arm.requests));
    format!("{share}  ({} of {})", number::count(arm.failed), number::count(arm.requests))
}
