//! Findings and comparisons as people and programs read them: HTML, terminal text, JSON, charts.
//!
//! ```text
//!   diagnose::Diagnosis ─┐
//!   diagnose::compare    ├──▶ report ──▶ html · text · json
//!   StoryReport (demo)  ─┘       └─ chart ──▶ SVG · braille
//! ```
//!
//! Invariants:
//! * Presentation only: what is true was decided in `diagnose`; nothing here judges a recording.
//! * No clock, no files, no network: everything comes in as values and leaves as a string, so the
//!   same input gives the same bytes.
//! * [`chart`] is the only place that draws, and the drawing library is named nowhere outside it.
//! * A page loads nothing: no script, no font, no image from elsewhere. Text from the recording
//!   (statements, log lines, dyno names) is escaped by type.
//!
//! Start reading at [`story`], then [`html`].

pub mod chart;
pub mod html;
pub mod json;
pub(crate) mod number;
pub mod story;
pub mod text;
pub(crate) mod words;

#[cfg(test)]
pub(crate) mod sample;

pub use story::{
    ActSummary, Baseline, CurvePoint, DynoCount, DynoRun, Part, RecordingFile, RunCompare,
    StoryProof, StoryReport,
};
