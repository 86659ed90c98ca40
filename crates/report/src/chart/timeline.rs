//! Failures over waits and query times, with the connections each dyno held beneath.
//!
//! Three panels on one time axis rather than two value axes in one panel: a second axis lets the
//! eye see coincidences that only its scaling made. A veil marks the bins with failures in all
//! panels, so that true coincidence is seen at once.

use diagnose::finding::{Bin, Timeline};
use trace::Micros;

use super::canvas::{Align, Canvas, Face};
use super::panel::{LINE, Panel};
use super::scale::Scale;
use super::theme::{DynoColours, Ink};
use crate::number;
use crate::words;

/// More bins than this are drawn together: a bar must stay wider than a hair.
const BARS_MAX: usize = 240;

/// Rows of labels for marks above the first panel.
const MARK_ROWS: usize = 3;

/// Longest label of a mark, in characters.
const MARK_LABEL_MAX: usize = 32;

/// One bar's width of time.
#[derive(Clone, Debug)]
struct Slot {
    /// Seconds from the start.
    at: f64,
    requests: u64,
    failures: u64,
    wait: Micros,
    query: Micros,
    held: Vec<u32>,
}

/// The chart's data.
#[derive(Clone, Debug)]
pub(super) struct Overlay {
    /// Seconds that a slot covers.
    width: f64,
    slots: Vec<Slot>,
    dynos: Vec<(String, Ink)>,
    /// Seconds from the start, and label.
    marks: Vec<(f64, String)>,
}

impl Overlay {
    pub(super) fn new(timeline: &Timeline, colours: &DynoColours) -> Self {
        let start = timeline.bins.first().map_or(Micros::ZERO, |bin| bin.at);
        let together = timeline.bins.len().div_ceil(BARS_MAX).max(1);
        let slots = timeline.bins.chunks(together).map(|bins| slot(bins, start)).collect();
        let dynos = timeline.dynos.iter().map(|dyno| (dyno.clone(), colours.ink(dyno))).collect();
        let mut marks: Vec<(f64, String)> = timeline
            .marks
            .iter()
            .map(|(at, label)| (at.since(start).as_secs_f64(), words::short(label, MARK_LABEL_MAX)))
            .collect();
        marks.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { width: timeline.width.as_secs_f64() * together as f64, slots, dynos, marks }
    }

    pub(super) fn description(&self) -> String {
        let failed: u64 = self.slots.iter().map(|slot| slot.failures).sum();
        let requests: u64 = self.slots.iter().map(|slot| slot.requests).sum();
        let bins = self.slots.iter().filter(|slot| slot.failures > 0).count();
        let wait = self.slots.iter().map(|slot| slot.wait).max().unwrap_or_default();
        let query = self.slots.iter().map(|slot| slot.query).max().unwrap_or_default();
        format!(
            "{} of {} requests failed, in {bins} of {} bins of {}. Highest 95th percentiles: wait \
             for a connection {}, query time {}. Marks: {}.",
            number::count(failed),
            number::count(requests),
            self.slots.len(),
            self.bin_width(),
            number::span(wait),
            number::span(query),
            self.marks.len()
        )
    }

    fn bin_width(&self) -> String {
        number::span(Micros::from_duration(
            std::time::Duration::try_from_secs_f64(self.width).unwrap_or_default(),
        ))
    }

    pub(super) fn draw(&self, canvas: &mut Canvas) {
        let rows = self.mark_rows(canvas);
        let panels = self.panels(canvas, rows.len());
        let [failures, times, held] = panels;
        self.draw_veils(canvas, &panels);
        self.draw_marks(canvas, &panels, &rows);
        self.draw_failures(canvas, &failures);
        self.draw_times(canvas, &times);
        self.draw_held(canvas, &held);
    }

    /// Seconds that the time axis covers.
    fn span(&self) -> f64 {
        let end = self.slots.last().map_or(0.0, |slot| slot.at + self.width);
        self.marks.iter().map(|(at, _)| *at).fold(end, f64::max).max(self.width).max(1e-3)
    }

    fn panels(&self, canvas: &Canvas, mark_rows: usize) -> [Panel; 3] {
        let (left, right) = (LINE * 4.0, canvas.width() - LINE);
        let top = LINE * (1.5 + mark_rows as f64);
        let (gap, foot) = (LINE * 2.4, LINE * 2.6);
        let each = ((canvas.height() - top - foot - 2.0 * gap) / 3.0).max(LINE);
        let x = Scale::Linear { from: 0.0, to: self.span() };
        let most = self.slots.iter().map(|slot| slot.failures).max().unwrap_or(0);
        let most_held = self.slots.iter().map(|slot| slot.held.iter().sum::<u32>()).max();
        let scales = [
            Scale::from_zero((most as f64).max(1.0), 3.0),
            self.time_scale(),
            Scale::from_zero(f64::from(most_held.unwrap_or(0)).max(1.0), 3.0),
        ];
        let mut next = top;
        scales.map(|y| {
            let panel = Panel { left, top: next, right, bottom: next + each, x, y };
            next += each + gap;
            panel
        })
    }

    /// Latencies differ by powers of ten between healthy and failing: decades, in milliseconds.
    fn time_scale(&self) -> Scale {
        let values = || {
            let all = self.slots.iter().flat_map(|slot| [slot.wait, slot.query]);
            all.filter(|time| *time > Micros::ZERO).map(Micros::as_millis_f64)
        };
        let (least, most) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
        if most == 0.0 { Scale::decades(1.0, 10.0) } else { Scale::decades(least.max(0.1), most) }
    }

    /// The same times in all panels, so that the eye need not measure. The gaps stay free for
    /// words.
    fn draw_veils(&self, canvas: &mut Canvas, panels: &[Panel; 3]) {
        let failing = |slot: &Slot| slot.failures > 0;
        for run in self.slots.chunk_by(|a, b| failing(a) == failing(b)) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            if !failing(first) {
                continue;
            }
            for panel in panels {
                let (x, end) = (panel.px(first.at), panel.px(last.at + self.width));
                canvas.veil((x, panel.top), (end - x, panel.height()), Ink::Fail, 0.1);
            }
        }
    }

    /// Puts each mark's label into the first row where it has room; `None` where no row has any.
    fn mark_rows(&self, canvas: &Canvas) -> Vec<Vec<(usize, f64)>> {
        let (left, right) = (LINE * 4.0, canvas.width() - LINE);
        let scale = Scale::Linear { from: 0.0, to: self.span() };
        let mut rows: Vec<Vec<(usize, f64)>> = Vec::new();
        let mut ends: Vec<f64> = Vec::new();
        for (n, (at, label)) in self.marks.iter().enumerate() {
            let wide = canvas.text_width(label, Face::Small) + LINE * 0.75;
            let x = (left + scale.place(*at) * (right - left)).min(right - wide + LINE * 0.75);
            let row = ends.iter().position(|end| *end <= x).unwrap_or(ends.len());
            if row == ends.len() {
                if ends.len() == MARK_ROWS {
                    continue;
                }
                ends.push(0.0);
                rows.push(Vec::new());
            }
            ends[row] = x + wide;
            rows[row].push((n, x));
        }
        rows
    }

    fn draw_marks(&self, canvas: &mut Canvas, panels: &[Panel; 3], rows: &[Vec<(usize, f64)>]) {
        let first = panels[0];
        for (row, labels) in rows.iter().enumerate() {
            let y = LINE * (0.7 + row as f64);
            for (n, x) in labels {
                let Some((at, label)) = self.marks.get(*n) else { continue };
                let mark = first.px(*at);
                canvas.line((mark, y + LINE * 0.5), (mark, first.top), Ink::Grid, 1.0);
                canvas.text((*x, y), label, Align::Left, Face::Small, Ink::Muted);
            }
        }
        for (at, label) in &self.marks {
            let x = first.px(*at);
            canvas.with_tip(format!("{label} at {at:.1} s"), |canvas| {
                for panel in panels {
                    canvas.dashes((x, panel.top), (x, panel.bottom), Ink::Axis, 1.0);
                }
            });
        }
    }

    fn draw_failures(&self, canvas: &mut Canvas, panel: &Panel) {
        panel.heading(canvas, &format!("Failed requests per {}", self.bin_width()), &[]);
        panel.y_axis(canvas, |value| format!("{value:.0}"));
        for slot in self.slots.iter().filter(|slot| slot.failures > 0) {
            let (x, end) = (panel.px(slot.at), panel.px(slot.at + self.width));
            let y = panel.py(slot.failures as f64);
            let tip = format!(
                "{:.1} s: {} of {} failed",
                slot.at,
                slot.failures,
                number::plural(slot.requests, "request", "requests")
            );
            canvas.with_tip(tip, |canvas| {
                let wide = (end - x - 1.0).max(1.5);
                canvas.rect((x, y), (wide, panel.bottom - y), Ink::Fail);
            });
        }
        panel.base_line(canvas);
    }

    fn draw_times(&self, canvas: &mut Canvas, panel: &Panel) {
        let keys = [
            (Ink::Wait, "wait for a connection".to_owned()),
            (Ink::Query, "query time".to_owned()),
        ];
        panel.heading(canvas, "95th percentile", &keys);
        panel.y_axis(canvas, millis);
        self.draw_line(canvas, panel, Ink::Query, |slot| slot.query);
        self.draw_line(canvas, panel, Ink::Wait, |slot| slot.wait);
        panel.base_line(canvas);
    }

    /// A line with a gap where nothing was measured; a lone bin becomes a dot.
    fn draw_line(&self, canvas: &mut Canvas, panel: &Panel, ink: Ink, of: fn(&Slot) -> Micros) {
        for run in self.slots.split(|slot| of(slot) == Micros::ZERO) {
            let place =
                |slot: &Slot| panel.point(slot.at + self.width / 2.0, of(slot).as_millis_f64());
            match run {
                [] => {}
                [alone] => canvas.dot(place(alone), 2.5, ink),
                run => canvas.polyline(run.iter().map(place).collect(), ink, 1.75),
            }
        }
    }

    fn draw_held(&self, canvas: &mut Canvas, panel: &Panel) {
        let keys: Vec<(Ink, String)> =
            self.dynos.iter().map(|(dyno, ink)| (*ink, dyno.clone())).collect();
        panel.heading(canvas, "Server connections held", &keys);
        panel.y_axis(canvas, |value| format!("{value:.0}"));
        if canvas.is_page() {
            self.draw_stack(canvas, panel);
        } else {
            self.draw_lines(canvas, panel);
        }
        panel.x_axis(canvas, "seconds from the start of the recording", |value| format!("{value}"));
    }

    /// The dynos on top of each other: their sum is what the server has to give.
    fn draw_stack(&self, canvas: &mut Canvas, panel: &Panel) {
        let mut beneath = vec![0_u32; self.slots.len()];
        for (n, (_, ink)) in self.dynos.iter().enumerate() {
            let lower = self.steps(panel, &beneath);
            for (sum, slot) in beneath.iter_mut().zip(&self.slots) {
                *sum += slot.held.get(n).copied().unwrap_or(0);
            }
            let upper = self.steps(panel, &beneath);
            canvas.area(&upper, &lower, *ink, 0.85);
        }
    }

    /// The dynos side by side: character cells have no half tones for a stack.
    fn draw_lines(&self, canvas: &mut Canvas, panel: &Panel) {
        for (n, (_, ink)) in self.dynos.iter().enumerate() {
            let place = |slot: &Slot| {
                let held = slot.held.get(n).copied().unwrap_or(0);
                panel.point(slot.at + self.width / 2.0, f64::from(held))
            };
            canvas.polyline(self.slots.iter().map(place).collect(), *ink, 1.0);
        }
    }

    /// The stairs over the slots.
    fn steps(&self, panel: &Panel, heights: &[u32]) -> Vec<(f64, f64)> {
        let stairs = self.slots.iter().zip(heights);
        stairs
            .flat_map(|(slot, height)| {
                let y = panel.py(f64::from(*height));
                [(panel.px(slot.at), y), (panel.px(slot.at + self.width), y)]
            })
            .collect()
    }
}

/// Bins drawn as one: counts add up; of percentiles and connections the highest is kept, so that no
/// spike is smoothed away.
fn slot(bins: &[Bin], start: Micros) -> Slot {
    let mut held: Vec<u32> = Vec::new();
    for bin in bins {
        held.resize(held.len().max(bin.held.len()), 0);
        for (most, now) in held.iter_mut().zip(&bin.held) {
            *most = (*most).max(*now);
        }
    }
    Slot {
        at: bins.first().map_or(0.0, |bin| bin.at.since(start).as_secs_f64()),
        requests: bins.iter().map(|bin| u64::from(bin.requests)).sum(),
        failures: bins.iter().map(|bin| u64::from(bin.failures)).sum(),
        wait: bins.iter().map(|bin| bin.wait_p95).max().unwrap_or_default(),
        query: bins.iter().map(|bin| bin.query_p95).max().unwrap_or_default(),
        held,
    }
}

/// Milliseconds for an axis: `0.1 ms`, `100 ms`, `10 s`.
fn millis(value: f64) -> String {
    if value >= 999.0 { format!("{} s", (value / 1e3).round()) } else { format!("{value} ms") }
}
