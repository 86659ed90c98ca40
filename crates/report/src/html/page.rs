//! The sheet of paper: head, style, and the pieces that every section uses.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::chart::{self, Chart, DynoColours};

/// A part of the page in its table of contents: anchor and name.
pub(super) type Entry = (&'static str, &'static str);

/// A complete page.
pub(super) fn page(title: &str, subtitle: &str, contents: &[Entry], body: &Markup) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(chart::colours_css())) (PreEscaped(include_str!("style.css"))) }
            }
            body.sg-page {
                header {
                    h1 { (title) }
                    @if !subtitle.is_empty() { p.quiet { (subtitle) } }
                    nav aria-label="Contents" {
                        @for (anchor, name) in contents { a href={ "#" (anchor) } { (name) } }
                    }
                }
                main { (body) }
                footer { p { "Made by Surgetank. This page loads nothing from elsewhere." } }
            }
        }
    };
    markup.into_string()
}

/// A chart under its caption.
pub(super) fn figure(chart: &Chart, id: &str) -> Markup {
    html! {
        figure {
            figcaption { (chart.title()) }
            (PreEscaped(chart.svg(id)))
        }
    }
}

/// A number that links to the row it comes from.
pub(super) fn number(anchor: &str, text: &str) -> Markup {
    // A number stays with its unit; a phrase may wrap.
    let whole = text.chars().count() <= 24;
    html! { a.n.w[whole] href={ "#" (anchor) } { (text) } }
}

/// A dyno's name with its colour.
pub(super) fn dyno(name: &str, colours: &DynoColours) -> Markup {
    html! {
        span.sw style={ "background:" (colours.css(name)) } aria-hidden="true" {}
        (name)
    }
}

/// A mark with its word, so that colour is not needed to tell them apart.
pub(super) fn mark(ok: bool) -> Markup {
    html! {
        @if ok { span.ok { "✓ ok" } } @else { span.no { "✗ failed" } }
    }
}

/// A big number of the verdict.
pub(super) struct Key {
    /// Where it comes from.
    pub(super) anchor: String,
    /// The number.
    pub(super) value: String,
    /// What it counts.
    pub(super) label: String,
    /// `good`, `bad` or nothing.
    pub(super) class: &'static str,
}

/// The verdict with its numbers.
pub(super) fn verdict(sentence: &str, good: bool, keys: &[Key]) -> Markup {
    html! {
        section #verdict.verdict.good[good] aria-label="Verdict" {
            p { (sentence) }
            ul.keys {
                @for key in keys {
                    li class=(key.class) {
                        a href={ "#" (key.anchor) } { (key.value) }
                        (key.label)
                    }
                }
            }
        }
    }
}

/// What was not checked.
pub(super) fn gaps(gaps: &[&str]) -> Markup {
    html! {
        section #gaps {
            h2 { "What was not checked" }
            @if gaps.is_empty() {
                p { "The recording has no gap that we know of." }
            } @else {
                ul { @for gap in gaps { li { (gap) } } }
            }
        }
    }
}
