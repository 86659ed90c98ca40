//! With SURGETANK_SAMPLES=DIR the pages are also written there, to be looked at.

use std::collections::BTreeSet;

use crate::sample;
use crate::story::StoryReport;

fn pages() -> Vec<(&'static str, String)> {
    let diagnosis = sample::diagnosis();
    let mut broken = sample::story(&diagnosis);
    broken.acts[3].ok = false;
    broken.diagnosis = None;
    broken.proof = None;
    broken.curve.clear();
    vec![
        ("story", super::story(&sample::story(&diagnosis))),
        ("broken", super::story(&broken)),
        ("empty", super::story(&StoryReport::default())),
        ("diagnosis", super::diagnosis(&diagnosis, "demo-42/baseline", "2026-11-23 12:00 UTC")),
    ]
}

/// The values of an attribute, in order.
fn attribute<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!(" {name}=\"");
    page.split(start.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn every_link_leads_to_a_row_of_the_same_page() {
    for (name, page) in pages() {
        let ids = attribute(&page, "id");
        let unique: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(unique.len(), ids.len(), "{name}: an id is used twice");
        let links = attribute(&page, "href");
        assert!(!links.is_empty(), "{name}");
        for link in links {
            let target =
                link.strip_prefix('#').unwrap_or_else(|| panic!("{name}: {link} leads out"));
            assert!(unique.contains(target), "{name}: {link} leads nowhere");
        }
        for labels in attribute(&page, "aria-labelledby") {
            assert!(labels.split(' ').all(|label| unique.contains(label)), "{name}: {labels}");
        }
    }
}

#[test]
fn a_page_loads_nothing() {
    for (name, page) in pages() {
        for loader in ["<script", "<link", "<img", "<iframe", "@import", "url(", " src="] {
            assert!(!page.contains(loader), "{name} has {loader}");
        }
        // The only address is the name of SVG's vocabulary, which nobody fetches.
        let outside = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        assert!(!outside.contains("http://") && !outside.contains("https://"), "{name}");
    }
}

#[test]
fn tags_are_balanced() {
    const VOID: [&str; 3] = ["meta", "br", "!DOCTYPE"];
    for (name, page) in pages() {
        let mut open: Vec<&str> = Vec::new();
        // Styles hold `>` as text; comments are kuva's stamp.
        for tag in page.split('<').skip(1).filter(|tag| !tag.starts_with("!--")) {
            let inner = tag.split_once('>').expect("a tag ends").0;
            let word = inner.split([' ', '/']).find(|w| !w.is_empty()).expect("a tag has a name");
            if inner.starts_with('/') {
                assert_eq!(open.pop(), Some(word), "{name}");
            } else if !inner.ends_with('/') && !VOID.contains(&word) {
                open.push(word);
            }
        }
        assert!(open.is_empty(), "{name}: {open:?} left open");
    }
}

#[test]
fn words_of_the_recording_are_escaped() {
    for (name, page) in pages() {
        assert!(!page.contains("alert(1)</script>"), "{name}");
        assert!(!page.contains("<b>FATAL"), "{name}");
    }
    let page = super::diagnosis(&sample::diagnosis(), "<i>t</i>", "now");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("<title>&lt;i&gt;t&lt;/i&gt;</title>"));
}

#[test]
fn tables_have_scopes_and_charts_have_words() {
    for (name, page) in pages() {
        let heads = page.matches("<th ").count() + page.matches("<th>").count();
        assert_eq!(heads, page.matches(" scope=\"").count(), "{name}: a head without scope");
        let charts = page.matches("<svg ").count();
        assert_eq!(charts, page.matches("<desc ").count(), "{name}");
        assert_eq!(charts, page.matches("role=\"img\"").count(), "{name}");
    }
}

#[test]
fn the_story_tells_everything() {
    let (_, page) = pages().swap_remove(0);
    for part in [
        "verdict",
        "acts",
        "baseline",
        "timeline",
        "dynos",
        "run-compare",
        "causes",
        "blame-1",
        "curve",
        "arm-4",
        "proof-numbers",
        "gaps",
        "reproduce",
        "chart-timeline",
        "chart-dynos",
        "chart-curve",
        "chart-arms",
        "chart-proof",
        "cause-1-for-1",
        "cause-1-against-1",
    ] {
        assert!(page.contains(&format!(" id=\"{part}\"")), "{part} is missing");
    }
    for fact in ["none of 3,840", "99.6 %", "13 of 17, in 192 of 204", "max_connections", "15.18"] {
        assert!(page.contains(fact), "{fact} is missing");
    }
    assert!(page.len() < 400_000, "{} bytes", page.len());
}

#[test]
fn a_broken_story_says_where() {
    let (_, page) = pages().swap_remove(1);
    assert!(page.contains("Act 4 (tracking) did not hold"));
    assert!(page.contains("✗ failed") && !page.contains("class=\"verdict good\""));
}

#[test]
fn samples_can_be_looked_at() {
    for (name, page) in pages() {
        assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{name}");
        if let Some(dir) = std::env::var_os("SURGETANK_SAMPLES").map(std::path::PathBuf::from) {
            std::fs::write(dir.join(format!("{name}.html")), page).unwrap();
        }
    }
}
