//! The end of `surgetank demo`: the whole story on one screen.

use super::lines::{Side, columns, wrap};
use super::{Paint, Style, WIDTH_MIN};
use crate::number;
use crate::story::{ActSummary, StoryReport};
use crate::words::{self, Tone};

/// The story for a terminal of `width` columns, a newline at the end.
#[must_use]
pub fn story(story: &StoryReport<'_>, style: Style, width: usize) -> String {
    let width = width.max(WIDTH_MIN);
    let mut out = Vec::new();
    let title = format!("{} (seed {})", words::short(&story.title, 200), story.seed);
    out.push(style.paint(Paint::Strong, &words::short(&title, width)));
    let (tone, text) = words::story_verdict(story);
    let (sign, paint) = match tone {
        Tone::Good => ("✓ ", Paint::Good),
        Tone::Bad => ("✗ ", Paint::Bad),
    };
    out.extend(wrap(&text, width, sign).iter().map(|line| style.paint(paint, line)));
    out.push(String::new());
    acts(&story.acts, style, width, &mut out);
    baseline(story, width, &mut out);
    arms(story, style, width, &mut out);
    proof(story, width, &mut out);
    if tone == Tone::Good {
        let next = "next: surgetank proxy DATABASE_URL --mode observe --record DIR (your own app)";
        out.extend(wrap(next, width, "").iter().map(|line| style.paint(Paint::Dim, line)));
    }
    out.join("\n") + "\n"
}

/// A line for each act; one that did not hold says why, in full.
fn acts(acts: &[ActSummary], style: Style, width: usize, out: &mut Vec<String>) {
    let names = acts.iter().map(|act| act.name.chars().count()).max().unwrap_or(0);
    for (n, act) in acts.iter().enumerate() {
        let time = format!("{:.1} s", act.seconds);
        let head = format!("{} {:<names$} {time:>8}  ", n + 1, act.name);
        let (sign, paint) = if act.ok { ("✓", Paint::Good) } else { ("✗", Paint::Bad) };
        let room = width.saturating_sub(head.chars().count() + 2).max(10);
        let text = if act.ok { words::short(&act.sentence, room) } else { String::new() };
        out.push(format!("{} {head}{text}", style.paint(paint, sign)).trim_end().to_owned());
        if !act.ok {
            out.extend(wrap(&act.sentence, width, "    "));
            out.extend(act.details.iter().flat_map(|line| wrap(line, width, "    ")));
        }
    }
}

fn baseline(story: &StoryReport<'_>, width: usize, out: &mut Vec<String>) {
    let baseline = &story.baseline;
    if baseline.requests == 0 {
        return;
    }
    let dynos: Vec<String> = baseline
        .by_dyno
        .iter()
        .map(|d| format!("{} {} of {}", d.dyno, number::count(d.failed), number::count(d.requests)))
        .collect();
    let text = format!(
        "baseline: {} of {} requests failed ({})",
        number::count(baseline.failed),
        number::count(baseline.requests),
        dynos.join(", ")
    );
    out.push(String::new());
    out.extend(wrap(&text, width, ""));
    if let Some(knee) = story.knee {
        let text = format!("load: failures grow from {} requests/s", number::rate(knee));
        out.extend(wrap(&text, width, ""));
    }
}

fn arms(story: &StoryReport<'_>, style: Style, width: usize, out: &mut Vec<String>) {
    if story.arms.is_empty() {
        return;
    }
    out.push(String::new());
    let head = ["arm", "requests", "failed", "share", "p50", "p99", "restarts failed"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for arm in &story.arms {
        rows.push(vec![
            arm.name.clone(),
            number::count(arm.requests),
            number::count(arm.failed),
            number::percent(number::share(arm.failed, arm.requests)),
            number::span(arm.p50),
            number::span(arm.p99),
            format!("{} of {}", arm.trials.failed, arm.trials.total),
        ]);
    }
    let [l, r] = [Side::Left, Side::Right];
    let lines = columns(&rows, &[l, r, r, r, r, r, r], width);
    for (n, line) in lines.into_iter().enumerate() {
        out.push(if n == 0 { style.paint(Paint::Strong, &line) } else { line });
    }
}

fn proof(story: &StoryReport<'_>, width: usize, out: &mut Vec<String>) {
    let Some(told) = &story.proof else { return };
    let text = format!(
        "uptime proof: {} without failure, {} restarts under load, confidence {} (asked {})",
        number::span(told.failure_free),
        told.proof.after.total,
        number::confidence(told.proof.confidence),
        number::confidence(told.asked),
    );
    out.push(String::new());
    out.extend(wrap(&text, width, ""));
}
