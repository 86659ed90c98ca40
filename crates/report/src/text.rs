//! For the terminal: one screen that answers the question, then says what to type next.
//!
//! Colour comes only when asked for, and never carries a meaning alone: every mark has its word or
//! sign too. No line is longer than the width given, so nothing wraps where it should not.

mod diagnosis;
mod lines;
mod spark;
mod story;

pub use diagnosis::diagnosis;
pub use spark::sparkline;
pub use story::story;

/// Whether to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// No escape sequences at all: pipes, files, `NO_COLOR`.
    #[default]
    Plain,
    /// ANSI colours.
    Ansi,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Good,
    Bad,
    Strong,
    Dim,
}

impl Style {
    /// The text in its colour. Pad before painting: the sequences have no width but do have length.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        if self == Self::Plain || text.is_empty() {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Good => "32",
            Paint::Bad => "31",
            Paint::Strong => "1",
            Paint::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Narrower than this a table is no table any more; such terminals get this width and wrap.
pub(crate) const WIDTH_MIN: usize = 40;

#[cfg(test)]
mod tests;
