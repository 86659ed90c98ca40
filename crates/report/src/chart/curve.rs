//! Failed share against offered rate.

use super::canvas::{Align, Canvas, Face};
use super::panel::{LINE, Panel};
use super::scale::Scale;
use super::theme::Ink;
use crate::number;
use crate::story::CurvePoint;

/// The chart's data.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    points: Vec<CurvePoint>,
    knee: Option<f64>,
}

impl Curve {
    pub(super) fn new(points: &[CurvePoint], knee: Option<f64>) -> Self {
        let mut points = points.to_vec();
        points.retain(|point| point.rate.is_finite());
        points.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        Self { points, knee: knee.filter(|knee| knee.is_finite()) }
    }

    pub(super) fn description(&self) -> String {
        let points: Vec<String> = self
            .points
            .iter()
            .map(|p| format!("{} at {}/s", number::percent(p.failed_share()), number::rate(p.rate)))
            .collect();
        let knee = self.knee.map_or("No knee was found.".to_owned(), |knee| {
            format!("Failures grow from {} requests per second.", number::rate(knee))
        });
        format!("Failed share of requests: {}. {knee}", points.join(", "))
    }

    pub(super) fn draw(&self, canvas: &mut Canvas) {
        let panel = self.panel(canvas);
        self.draw_knee(canvas, &panel);
        panel.y_axis(canvas, number::axis_percent);
        panel.heading(canvas, "Failed requests", &[(Ink::Fail, "with 95 % interval".to_owned())]);
        panel.x_axis(canvas, "offered requests per second", number::rate);
        let line = self.points.iter().map(|p| panel.point(p.rate, p.failed_share())).collect();
        canvas.polyline(line, Ink::Fail, 2.0);
        for point in &self.points {
            draw_point(canvas, &panel, point);
        }
    }

    fn panel(&self, canvas: &Canvas) -> Panel {
        let most_rate = self.points.iter().map(|p| p.rate).chain(self.knee).fold(0.0, f64::max);
        // The whiskers may be long; the axis ends at the highest estimate's own whisker.
        let highs = self.points.iter().map(|p| number::wilson(p.failed, p.requests)[2]);
        let most = highs.fold(0.0, f64::max).clamp(0.01, 1.0);
        Panel {
            left: LINE * 4.0,
            top: LINE * 2.5,
            right: canvas.width() - LINE * 1.5,
            bottom: canvas.height() - LINE * 2.6,
            x: Scale::from_zero(most_rate, 8.0),
            y: Scale::from_zero(most, 4.0),
        }
    }

    fn draw_knee(&self, canvas: &mut Canvas, panel: &Panel) {
        let Some(knee) = self.knee else { return };
        let x = panel.px(knee);
        canvas.veil((x, panel.top), (panel.right - x, panel.height()), Ink::Fail, 0.07);
        canvas.dashes((x, panel.top), (x, panel.bottom), Ink::Muted, 1.5);
        let label = format!("knee at {}/s", number::rate(knee));
        // Left of the line, where the curve is still flat, if there is room.
        let room = x - panel.left > canvas.text_width(&label, Face::Strong) + LINE;
        let (x, align) = if room { (x - 8.0, Align::Right) } else { (x + 8.0, Align::Left) };
        canvas.text((x, panel.top + LINE * 0.7), &label, align, Face::Strong, Ink::Text);
    }
}

fn draw_point(canvas: &mut Canvas, panel: &Panel, point: &CurvePoint) {
    let [low, share, high] = number::wilson(point.failed, point.requests);
    let (x, y) = panel.point(point.rate, share);
    let tip = format!(
        "{}/s: {} of {} failed, {} ({} to {})",
        number::rate(point.rate),
        number::count(point.failed),
        number::plural(point.requests, "request", "requests"),
        number::percent(share),
        number::percent(low),
        number::percent(high)
    );
    canvas.with_tip(tip, |canvas| {
        let (from, to) = (panel.py(low), panel.py(high));
        canvas.line((x, from), (x, to), Ink::Fail, 1.5);
        for end in [from, to] {
            canvas.line((x - 4.0, end), (x + 4.0, end), Ink::Fail, 1.5);
        }
        canvas.dot((x, y), 5.0, Ink::Fail);
    });
}
