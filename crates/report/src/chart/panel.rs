//! A plotting area with its axes: what all charts share.

use super::canvas::{Align, Canvas, Face, Point};
use super::scale::Scale;
use super::theme::Ink;

/// Height of a line of text, and the distance that texts keep from each other.
pub(super) const LINE: f64 = 16.0;

/// A rectangle with a scale along each side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
    pub(super) x: Scale,
    pub(super) y: Scale,
}

impl Panel {
    pub(super) fn px(&self, x: f64) -> f64 {
        self.left + self.x.place(x) * (self.right - self.left)
    }

    pub(super) fn py(&self, y: f64) -> f64 {
        self.bottom - self.y.place(y) * (self.bottom - self.top)
    }

    pub(super) fn point(&self, x: f64, y: f64) -> Point {
        (self.px(x), self.py(y))
    }

    pub(super) fn width(&self) -> f64 {
        self.right - self.left
    }

    pub(super) fn height(&self) -> f64 {
        self.bottom - self.top
    }

    /// Grid lines with their values at the left. `ceiling` ticks at most, fewer in a low panel.
    pub(super) fn y_axis(&self, canvas: &mut Canvas, write: impl Fn(f64) -> String) {
        // Decades are few and far apart; each one deserves its line where there is room.
        let apart = if matches!(self.y, Scale::Log { .. }) { 1.25 } else { 2.0 };
        let about = (self.height() / (LINE * apart)).floor().clamp(1.0, 6.0);
        for tick in self.y.ticks(about) {
            let y = self.py(tick);
            // In a terminal a grid line would be as loud as the data.
            if canvas.is_page() {
                canvas.line((self.left, y), (self.right, y), Ink::Grid, 1.0);
            }
            canvas.text((self.left - 8.0, y), &write(tick), Align::Right, Face::Small, Ink::Muted);
        }
    }

    /// The line at the bottom with its values beneath and, at its right end, what they are. A value
    /// written as nothing gets no tick.
    pub(super) fn x_axis(&self, canvas: &mut Canvas, label: &str, write: impl Fn(f64) -> String) {
        self.base_line(canvas);
        let about = (self.width() / (LINE * 5.0)).floor().clamp(2.0, 12.0);
        let y = self.bottom + LINE;
        for tick in self.x.ticks(about) {
            let (x, value) = (self.px(tick), write(tick));
            if value.is_empty() {
                continue;
            }
            canvas.line((x, self.bottom), (x, self.bottom + 4.0), Ink::Axis, 1.0);
            canvas.text((x, y), &value, Align::Centre, Face::Small, Ink::Muted);
        }
        let place = (self.right, y + LINE + 2.0);
        canvas.text(place, label, Align::Right, Face::Small, Ink::Muted);
    }

    /// The line at the bottom alone.
    pub(super) fn base_line(&self, canvas: &mut Canvas) {
        canvas.line((self.left, self.bottom), (self.right, self.bottom), Ink::Axis, 1.0);
    }

    /// What the panel shows, above its upper left corner, with a key to its colours.
    pub(super) fn heading(&self, canvas: &mut Canvas, text: &str, keys: &[(Ink, String)]) {
        let y = self.top - LINE;
        let mut x = self.left + canvas.text_width(text, Face::Strong) + LINE * 1.5;
        let wide = keys.iter().map(|(_, name)| canvas.text_width(name, Face::Plain) + LINE * 2.2);
        let end = (x + wide.sum::<f64>() - LINE).min(self.right);
        // Marks and veils that run through all panels stand back behind the words.
        canvas.veil((self.left, y - 9.0), (end - self.left, 18.0), Ink::Paper, 0.85);
        canvas.text((self.left, y), text, Align::Left, Face::Strong, Ink::Text);
        for (ink, name) in keys {
            let wide = canvas.text_width(name, Face::Plain) + LINE * 2.2;
            // No room, no key: the description names every series.
            if x + wide > self.right + LINE {
                break;
            }
            canvas.rect((x, y - 4.0), (LINE * 0.7, 8.0), *ink);
            canvas.text((x + LINE, y), name, Align::Left, Face::Plain, Ink::Text);
            x += wide;
        }
    }
}
