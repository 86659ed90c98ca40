//! The only place that draws.
//!
//! A [`Chart`] is made from values and then shown twice from the same drawing code: as an SVG for a
//! page, and in braille for a terminal. The scene and both writers are `kuva`'s; its names stop
//! here, and so does its look: axes, colours and labels are ours.
//!
//! Rules of all charts: failures are always vermilion; a dyno keeps its colour through a report
//! (see [`DynoColours`]); units stand on the axis; a label that has no room is left out, never
//! overlaid; the colours are Okabe and Ito's, told apart also by the colour-blind; light and dark
//! follow the reader's system, paper is always light.

mod arms;
mod canvas;
mod contrast;
mod curve;
mod limit;
mod panel;
mod proof;
mod scale;
mod theme;
mod timeline;

use diagnose::compare::Arm;
use diagnose::finding::{DynoTotals, Timeline};

use crate::story::{CurvePoint, StoryProof};
use crate::text::Style;
use canvas::{Canvas, Medium};
pub use limit::LimitPoint;
pub use theme::DynoColours;

/// A chart, ready to be shown.
#[derive(Clone, Debug)]
pub struct Chart {
    title: String,
    description: String,
    height: f64,
    subject: Subject,
}

#[derive(Clone, Debug)]
enum Subject {
    Timeline(timeline::Overlay),
    Curve(curve::Curve),
    Contrast(contrast::Contrast),
    Arms(arms::Arms),
    Limit(limit::LimitCourse),
    Proof(proof::Uptime),
}

/// Width of every SVG in pixels; a page may scale it down.
const WIDTH: f64 = 880.0;

/// The style sheet with all colours as CSS variables (`--sg-text`, `--sg-fail`, `--sg-dyno-0`, …),
/// for light, dark and paper; it applies within elements of class `sg-page`.
#[must_use]
pub fn colours_css() -> &'static str {
    theme::STYLE
}

/// Failures as bars over waits and query times, with the connections each dyno held beneath;
/// restarts and other marks run through all of it.
#[must_use]
pub fn timeline(timeline: &Timeline, colours: &DynoColours) -> Chart {
    let overlay = timeline::Overlay::new(timeline, colours);
    Chart {
        title: "Failures over waits, query time and held connections".to_owned(),
        description: overlay.description(),
        height: 500.0,
        subject: Subject::Timeline(overlay),
    }
}

/// Failed share against offered rate, with 95 % intervals and the knee.
#[must_use]
pub fn load_curve(points: &[CurvePoint], knee: Option<f64>) -> Chart {
    let curve = curve::Curve::new(points, knee);
    Chart {
        title: "Failures against load".to_owned(),
        description: curve.description(),
        height: 320.0,
        subject: Subject::Curve(curve),
    }
}

/// Failure rate per dyno, each with its 95 % interval.
#[must_use]
pub fn dyno_contrast(dynos: &[DynoTotals], colours: &DynoColours) -> Chart {
    let contrast = contrast::Contrast::new(dynos, colours);
    Chart {
        title: "Failure rate per dyno".to_owned(),
        description: contrast.description(),
        height: contrast.height(),
        subject: Subject::Contrast(contrast),
    }
}

/// Failed share and 99th percentile of latency, arm by arm.
#[must_use]
pub fn arms(arms: &[Arm]) -> Chart {
    let arms = arms::Arms::new(arms);
    Chart {
        title: "Each fix alone and together, under the same arrivals".to_owned(),
        description: arms.description(),
        height: arms.height(),
        subject: Subject::Arms(arms),
    }
}

/// The uptime proof: what chance is left as restart after restart passes without failure.
#[must_use]
pub fn uptime_proof(proof: &StoryProof) -> Chart {
    let uptime = proof::Uptime::new(proof);
    Chart {
        title: "Uptime proof".to_owned(),
        description: uptime.description(),
        height: 300.0,
        subject: Subject::Proof(uptime),
    }
}

/// The limit of executing statements and what it gave, over time; phases by their beginning, name
/// and the throughput to compare with.
#[must_use]
pub fn limit_over_time(points: &[LimitPoint], phases: &[(f64, String, f64)]) -> Chart {
    let course = limit::LimitCourse::new(points, phases);
    Chart {
        title: "The limit and what it gave, over time".to_owned(),
        description: course.description(),
        height: 420.0,
        subject: Subject::Limit(course),
    }
}

impl Chart {
    /// What it shows, for a caption.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The same in a sentence or two with its numbers, for those who cannot see it.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The chart as one self-contained `<svg>` element, for a page or a file.
    ///
    /// `id` names it within its page (letters, digits, hyphens); its title and description get ids
    /// made from it. The element carries its own colours for light, dark and print.
    #[must_use]
    pub fn svg(&self, id: &str) -> String {
        let mut canvas = Canvas::new(Medium::Page, WIDTH, self.height);
        self.draw(&mut canvas);
        canvas.into_svg(id, &self.title, &self.description)
    }

    /// The chart in braille and box-drawing characters, `columns` wide and `rows` high.
    #[must_use]
    pub fn terminal(&self, columns: u16, rows: u16, style: Style) -> String {
        let mut canvas = Canvas::for_terminal(columns, rows);
        self.draw(&mut canvas);
        canvas.into_terminal(columns, rows, style)
    }

    fn draw(&self, canvas: &mut Canvas) {
        match &self.subject {
            Subject::Timeline(overlay) => overlay.draw(canvas),
            Subject::Curve(curve) => curve.draw(canvas),
            Subject::Contrast(contrast) => contrast.draw(canvas),
            Subject::Arms(arms) => arms.draw(canvas),
            Subject::Limit(course) => course.draw(canvas),
            Subject::Proof(uptime) => uptime.draw(canvas),
        }
    }
}

#[cfg(test)]
mod tests;
