//! One file that shows everything: no script, no font, no picture from elsewhere.
//!
//! Every number in the text links to the table row it comes from, so that a reader who doubts can
//! check. Words from the recording (statements, log lines, names) are escaped by maud's types; the
//! only raw markup is our own style sheet and the SVG of [`chart`](crate::chart).

mod diagnosis;
mod page;
mod sections;
mod story;
mod tables;

pub use diagnosis::diagnosis;
pub use story::story;

#[cfg(test)]
mod tests;
