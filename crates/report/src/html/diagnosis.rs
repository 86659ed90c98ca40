//! `surgetank report RECORDING`: a diagnosis as a page.

use diagnose::finding::Diagnosis;
use maud::{Markup, html};

use super::page::{self, Key, page};
use super::sections;
use crate::chart::DynoColours;
use crate::number::{p_value, percent, span};
use crate::words::{self, Tone};

/// The diagnosis as one self-contained HTML file.
///
/// `title` names the recording; `generated_at` is written as given (this room has no clock).
#[must_use]
pub fn diagnosis(diagnosis: &Diagnosis, title: &str, generated_at: &str) -> String {
    let colours = colours(diagnosis);
    let (tone, sentence) = words::verdict(diagnosis);
    let gaps: Vec<&str> = sections::gap_texts(diagnosis).collect();
    let contents = [
        ("verdict", "Verdict"),
        ("timeline", "When it fails"),
        ("dynos", "Which dyno fails"),
        ("causes", "Why it fails"),
        ("gaps", "What was not checked"),
    ];
    let body = html! {
        (page::verdict(&sentence, tone == Tone::Good, &keys(diagnosis)))
        (sections::timeline(diagnosis, &colours))
        (sections::dynos(diagnosis, &colours, &Markup::default()))
        (sections::causes(diagnosis, &colours))
        (page::gaps(&gaps))
    };
    let length = diagnosis.span.to.since(diagnosis.span.from);
    let subtitle = format!("{generated_at} · a recording of {}", span(length));
    page(title, &subtitle, &contents, &body)
}

/// The colours of all dynos that any part of the diagnosis names.
pub(super) fn colours(diagnosis: &Diagnosis) -> DynoColours {
    let counted = diagnosis.dynos.iter().map(|dyno| dyno.dyno.as_str());
    let drawn = diagnosis.timeline.dynos.iter().map(String::as_str);
    let blamed = diagnosis.blame.iter().map(|share| share.dyno.as_str());
    DynoColours::new(counted.chain(drawn).chain(blamed))
}

fn keys(diagnosis: &Diagnosis) -> Vec<Key> {
    let mut keys = vec![sections::failed_key(diagnosis)];
    keys.extend(sections::cause_key(diagnosis));
    if let Some(contrast) = &diagnosis.contrast {
        keys.push(Key {
            anchor: "contrast".to_owned(),
            value: percent(contrast.rate),
            label: format!(
                "of {} failed, {} of its siblings (p {})",
                contrast.dyno,
                percent(contrast.rate_of_others),
                p_value(contrast.p_value)
            ),
            class: "",
        });
    }
    if let Some(worst) = diagnosis.blame.first() {
        keys.push(Key {
            anchor: "blame-1".to_owned(),
            value: percent(worst.share),
            label: format!("of the blame: {}, {}", worst.dyno, words::state(worst.state)),
            class: "",
        });
    }
    keys
}
