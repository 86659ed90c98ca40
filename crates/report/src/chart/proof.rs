//! The uptime proof as a curve: what chance is left after each restart without failure.
//!
//! One point per trial is the honest picture: the proof is won trial by trial, and the curve shows
//! how far beyond the asked confidence it went, or how much is missing.

use diagnose::compare::{Trials, prove};

use super::canvas::{Align, Canvas, Face};
use super::panel::{LINE, Panel};
use super::scale::Scale;
use super::theme::Ink;
use crate::number;
use crate::story::StoryProof;

/// More trials than this are not drawn one by one.
const TRIALS_MAX: u32 = 400;

/// The chart's data.
#[derive(Clone, Debug)]
pub(super) struct Uptime {
    story: StoryProof,
    /// Chance left after 0, 1, 2 … failure-free trials.
    path: Vec<f64>,
}

impl Uptime {
    pub(super) fn new(story: &StoryProof) -> Self {
        let done = story.proof.after.total;
        let last = done.max(story.proof.needed.unwrap_or(0)).min(TRIALS_MAX);
        let path = (0..=last).map(|total| chance_left(story, total)).collect();
        Self { story: *story, path }
    }

    pub(super) fn description(&self) -> String {
        let proof = &self.story.proof;
        format!(
            "Before the fix {} of {} restarts under load had failures, after it {} of {}. The \
             chance of this had the fix changed nothing is {}; asked was {} or less.",
            proof.before.failed,
            proof.before.total,
            proof.after.failed,
            proof.after.total,
            number::p_value(proof.p_value),
            number::p_value(1.0 - self.story.asked)
        )
    }

    pub(super) fn draw(&self, canvas: &mut Canvas) {
        let asked = (1.0 - self.story.asked).max(1e-9);
        let least = self.path.iter().copied().fold(self.story.proof.p_value, f64::min);
        let last = self.path.len().saturating_sub(1).max(1);
        let panel = Panel {
            left: LINE * 4.5,
            top: LINE * 2.5,
            right: canvas.width() - LINE * 1.5,
            bottom: canvas.height() - LINE * 2.6,
            x: Scale::Linear { from: 0.0, to: last as f64 },
            y: Scale::decades(least.clamp(1e-9, asked) / 2.0, 1.0),
        };
        panel.heading(canvas, "Chance that the fix changed nothing", &[]);
        panel.y_axis(canvas, chance);
        self.draw_asked(canvas, &panel, asked);
        self.draw_path(canvas, &panel);
        panel.x_axis(canvas, "restarts under load without failure, after the fix", |trial| {
            if trial.fract() == 0.0 { format!("{trial:.0}") } else { String::new() }
        });
    }

    fn draw_asked(&self, canvas: &mut Canvas, panel: &Panel, asked: f64) {
        let y = panel.py(asked);
        canvas.dashes((panel.left, y), (panel.right, y), Ink::Good, 1.5);
        let label = format!("{} confidence", number::confidence(self.story.asked));
        let place = (panel.right, y - LINE * 0.7);
        canvas.text(place, &label, Align::Right, Face::Strong, Ink::Good);
        draw_goal(canvas, panel, y);
    }

    fn draw_path(&self, canvas: &mut Canvas, panel: &Panel) {
        let after = self.story.proof.after;
        let done = usize::try_from(after.total).unwrap_or(usize::MAX);
        let point = |n: usize, p: f64| panel.point(n as f64, p);
        if after.failed == 0 {
            let path: Vec<_> =
                self.path.iter().enumerate().map(|(n, p)| point(n, *p)).take(done + 1).collect();
            canvas.polyline(path.clone(), Ink::Wait, 2.0);
            if path.len() <= 60 {
                path.iter().for_each(|place| canvas.dot(*place, 3.5, Ink::Wait));
            }
        }
        let ahead: Vec<_> =
            self.path.iter().enumerate().skip(done).map(|(n, p)| point(n, *p)).collect();
        for pair in ahead.windows(2) {
            canvas.dashes(pair[0], pair[1], Ink::Axis, 1.5);
        }
        self.draw_result(canvas, panel);
    }

    /// The result itself, as `diagnose` gave it, labelled on the side that has room.
    fn draw_result(&self, canvas: &mut Canvas, panel: &Panel) {
        let proof = &self.story.proof;
        let reached = proof.confidence >= self.story.asked;
        let ink = if reached { Ink::Good } else { Ink::Fail };
        let (x, y) = panel.point(f64::from(proof.after.total), proof.p_value);
        canvas.dot((x, y), 6.0, ink);
        let label = format!("reached {}", number::confidence(proof.confidence));
        // The curve falls from the left: below the dot is the free side, but not over the edge.
        let right = x > panel.left + panel.width() / 2.0;
        let align = if right { Align::Right } else { Align::Left };
        let y = (y + LINE).min(panel.bottom - LINE * 0.6);
        canvas.text((x, y), &label, align, Face::Strong, ink);
    }
}

/// The chance left after so many failure-free trials, as `diagnose` judges it.
fn chance_left(story: &StoryProof, total: u32) -> f64 {
    prove(story.proof.before, Trials { total, failed: 0 }, story.asked).p_value
}

/// Below the line is where the proof wants to be.
fn draw_goal(canvas: &mut Canvas, panel: &Panel, y: f64) {
    canvas.veil((panel.left, y), (panel.width(), panel.bottom - y), Ink::Good, 0.07);
}

/// A probability for the axis, as per cent.
fn chance(value: f64) -> String {
    if value >= 0.000_999 {
        number::axis_percent(value)
    } else {
        format!("{:.0e} %", value * 100.0)
    }
}
