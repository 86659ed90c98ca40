//! Failure rate per dyno: a dot with its interval, a row each.

use diagnose::finding::DynoTotals;

use super::canvas::{Align, Canvas, Face};
use super::panel::{LINE, Panel};
use super::scale::Scale;
use super::theme::{DynoColours, Ink};
use crate::number;

/// Height of a dyno's row.
const ROW: f64 = LINE * 2.2;

#[derive(Clone, Debug)]
struct Row {
    dyno: String,
    ink: Ink,
    rate: [f64; 3],
    failed: u64,
    requests: u64,
}

/// The chart's data.
#[derive(Clone, Debug)]
pub(super) struct Contrast {
    rows: Vec<Row>,
}

impl Contrast {
    pub(super) fn new(dynos: &[DynoTotals], colours: &DynoColours) -> Self {
        let rows = dynos
            .iter()
            .map(|dyno| {
                let totals = &dyno.totals;
                // The rate is of HTTP requests where the dyno serves any (see `DynoTotals`).
                let (failed, requests) = if totals.http_requests > 0 {
                    (totals.http_failures, totals.http_requests)
                } else {
                    (totals.database_failures, totals.database_requests)
                };
                let ink = colours.ink(&dyno.dyno);
                Row { dyno: dyno.dyno.clone(), ink, rate: dyno.failure_rate, failed, requests }
            })
            .collect();
        Self { rows }
    }

    pub(super) fn height(&self) -> f64 {
        LINE * 3.6 + ROW * self.rows.len().max(1) as f64
    }

    pub(super) fn description(&self) -> String {
        let rows: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                let [low, rate, high] = row.rate.map(number::percent);
                format!("{}: {rate} (95 % interval {low} to {high})", row.dyno)
            })
            .collect();
        format!("{}.", rows.join("; "))
    }

    pub(super) fn draw(&self, canvas: &mut Canvas) {
        let name = |row: &Row| canvas.text_width(&row.dyno, Face::Strong);
        let names = self.rows.iter().map(name).fold(0.0, f64::max);
        let values = self.rows.iter().map(|row| canvas.text_width(&value(row), Face::Plain));
        let values = values.fold(0.0, f64::max);
        let most = self.rows.iter().map(|row| row.rate[2]).fold(0.0, f64::max);
        let panel = Panel {
            left: names + LINE * 2.0,
            top: LINE * 0.5,
            right: canvas.width() - values - LINE * 2.0,
            bottom: canvas.height() - LINE * 2.6,
            x: Scale::from_zero(most.clamp(0.001, 1.0), 5.0),
            y: Scale::Linear { from: 0.0, to: 1.0 },
        };
        for tick in panel.x.ticks(5.0) {
            let x = panel.px(tick);
            canvas.line((x, panel.top), (x, panel.bottom), Ink::Grid, 1.0);
        }
        panel.x_axis(canvas, "failed share of requests", number::axis_percent);
        let row_height = panel.height() / self.rows.len().max(1) as f64;
        for (n, row) in self.rows.iter().enumerate() {
            draw_row(canvas, &panel, row, panel.top + row_height * (n as f64 + 0.5));
        }
    }
}

fn draw_row(canvas: &mut Canvas, panel: &Panel, row: &Row, y: f64) {
    let [low, rate, high] = row.rate;
    canvas.text((panel.left - LINE, y), &row.dyno, Align::Right, Face::Strong, Ink::Text);
    let (from, to) = (panel.px(low), panel.px(high));
    canvas.line((from, y), (to, y), row.ink, 3.0);
    for end in [from, to] {
        canvas.line((end, y - 5.0), (end, y + 5.0), row.ink, 2.0);
    }
    canvas.dot((panel.px(rate), y), 7.0, row.ink);
    canvas.text((panel.right + LINE, y), &value(row), Align::Left, Face::Plain, Ink::Text);
}

fn value(row: &Row) -> String {
    let (failed, requests) = (number::count(row.failed), number::count(row.requests));
    format!("{}  ({failed} of {requests})", number::percent(row.rate[1]))
}
