//! Colours by role. On a page a colour is a CSS variable, so that light, dark and print are the
//! reader's choice and not ours; in a terminal it is the dark theme's value.
//!
//! The hues are those of Okabe and Ito ("Color Universal Design", 2008), darkened for text and
//! lines on white and lightened on black where contrast asks for it.

/// What a stroke or a fill means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// The ground.
    Paper,
    /// Words and values.
    Text,
    /// Units, ticks, what should stand back.
    Muted,
    /// Grid lines.
    Grid,
    /// Axes and marks.
    Axis,
    /// Failures, always.
    Fail,
    /// What is good, or the line to reach.
    Good,
    /// Waits for a connection.
    Wait,
    /// Time in PostgreSQL.
    Query,
    /// The dyno with this place in [`DynoColours`].
    Dyno(usize),
}

/// How many dynos get a colour of their own before the first colour comes again.
const DYNO_INKS: usize = 6;

impl Ink {
    /// For a page.
    pub(super) fn css(self) -> String {
        match self {
            Self::Paper => "var(--sg-paper)".to_owned(),
            Self::Text => "var(--sg-text)".to_owned(),
            Self::Muted => "var(--sg-muted)".to_owned(),
            Self::Grid => "var(--sg-grid)".to_owned(),
            Self::Axis => "var(--sg-axis)".to_owned(),
            Self::Fail => "var(--sg-fail)".to_owned(),
            Self::Good => "var(--sg-good)".to_owned(),
            Self::Wait => "var(--sg-wait)".to_owned(),
            Self::Query => "var(--sg-query)".to_owned(),
            Self::Dyno(place) => format!("var(--sg-dyno-{})", place % DYNO_INKS),
        }
    }

    /// For a terminal, whose ground we do not know: middle tones, legible on both.
    pub(super) fn terminal(self) -> &'static str {
        match self {
            Self::Paper => "none",
            Self::Text | Self::Wait => "#b8c4cf",
            Self::Muted | Self::Axis => "#8593a0",
            Self::Grid => "#4b5864",
            Self::Fail => "#e8702a",
            Self::Good => "#1fae84",
            Self::Query => "#c873a5",
            Self::Dyno(place) => ["#4ba3db", "#e0a020", "#1fae84", "#7cc3ee", "#c9b82c", "#9aa3ad"]
                [place % DYNO_INKS],
        }
    }
}

/// The variables, for light, dark and paper. Every SVG carries them, so that it stands alone; a
/// page has them through the class `sg-page`.
pub(super) const STYLE: &str = "\
.sg-chart,.sg-page{--sg-paper:#fff;--sg-text:#1d2730;--sg-muted:#5c6873;--sg-grid:#e6eaee;\
--sg-axis:#98a4af;--sg-fail:#d55e00;--sg-good:#00805d;--sg-wait:#1d2730;--sg-query:#a8488a;\
--sg-dyno-0:#0072b2;--sg-dyno-1:#e09600;--sg-dyno-2:#009e73;--sg-dyno-3:#56b4e9;\
--sg-dyno-4:#b8a800;--sg-dyno-5:#7a8691}\
.sg-chart{max-width:100%;height:auto}\
@media screen and (prefers-color-scheme:dark){.sg-chart,.sg-page{--sg-paper:#161c22;\
--sg-text:#e4eaef;--sg-muted:#9eabb7;--sg-grid:#29323a;--sg-axis:#5f6d79;--sg-fail:#f07f38;\
--sg-good:#2fc296;--sg-wait:#e4eaef;--sg-query:#dd8fc0;--sg-dyno-0:#4da6de;--sg-dyno-1:#eeb02e;\
--sg-dyno-2:#2bbd92;--sg-dyno-3:#8fd0f5;--sg-dyno-4:#d6c832;--sg-dyno-5:#a3afba}}";

/// Which dyno has which colour: one table for a whole report, so that `web.2` looks the same in
/// every chart and in the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DynoColours {
    names: Vec<String>,
}

impl DynoColours {
    /// Colours for these dynos, given by the order of their names, not by the order they come in.
    #[must_use]
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        names.sort_by(|a, b| natural(a).cmp(&natural(b)));
        names.dedup();
        Self { names }
    }

    /// The dyno's place, for a class or a variable of the style sheet; a stranger comes last.
    #[must_use]
    pub fn place(&self, dyno: &str) -> usize {
        self.names.iter().position(|name| name == dyno).unwrap_or(self.names.len())
    }

    /// The CSS value of the dyno's colour, valid where [`colours_css`](super::colours_css) applies.
    #[must_use]
    pub fn css(&self, dyno: &str) -> String {
        self.ink(dyno).css()
    }

    pub(super) fn ink(&self, dyno: &str) -> Ink {
        Ink::Dyno(self.place(dyno))
    }
}

/// `web.10` after `web.9`.
fn natural(name: &str) -> (&str, u64, &str) {
    let (kind, number) = name.rsplit_once('.').unwrap_or((name, ""));
    (kind, number.parse().unwrap_or(u64::MAX), name)
}
