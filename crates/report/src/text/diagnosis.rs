//! `surgetank diagnose`: the answer on one screen.

use diagnose::finding::{Bin, Diagnosis, DynoTotals, Finding};

use super::lines::{Side, columns, wrap};
use super::{Paint, Style, WIDTH_MIN, sparkline};
use crate::number;
use crate::words::{self, Tone};

/// Causes that are written out; the rest is in the report.
const CAUSES: usize = 3;

/// The diagnosis for a terminal of `width` columns, a newline at the end.
#[must_use]
pub fn diagnosis(diagnosis: &Diagnosis, style: Style, width: usize) -> String {
    let width = width.max(WIDTH_MIN);
    let mut out = Vec::new();
    verdict(diagnosis, style, width, &mut out);
    shape(diagnosis, style, width, &mut out);
    causes(diagnosis, style, width, &mut out);
    dynos(&diagnosis.dynos, style, width, &mut out);
    advice(diagnosis, style, width, &mut out);
    gaps(diagnosis, style, width, &mut out);
    out.push(String::new());
    let next = match diagnosis.top() {
        Some(_) => "next: surgetank report RECORDING -o report.html (all evidence, with charts)",
        None => "next: nothing to mend here; record again under more load",
    };
    out.extend(wrap(next, width, "").iter().map(|line| style.paint(Paint::Dim, line)));
    out.join("\n") + "\n"
}

fn verdict(diagnosis: &Diagnosis, style: Style, width: usize, out: &mut Vec<String>) {
    let (tone, text) = words::verdict(diagnosis);
    let (sign, paint) = match tone {
        Tone::Good => ("✓ ", Paint::Good),
        Tone::Bad => ("✗ ", Paint::Bad),
    };
    out.extend(wrap(&text, width, sign).iter().map(|line| style.paint(paint, line)));
}

/// Failures and waits over time, one line each.
fn shape(diagnosis: &Diagnosis, style: Style, width: usize, out: &mut Vec<String>) {
    let bins = &diagnosis.timeline.bins;
    if !bins.iter().any(|bin| bin.failures > 0) {
        return;
    }
    out.push(String::new());
    let room = width.saturating_sub(10 + 14).max(10);
    let mut line = |name: &str, paint: Paint, most: String, of: &dyn Fn(&Bin) -> f64| {
        let values: Vec<f64> = bins.iter().map(of).collect();
        let blocks = format!("{:<room$}", sparkline(&values, room));
        out.push(format!("{name:<10}{}  {most}", style.paint(paint, &blocks)));
    };
    let failures = bins.iter().map(|bin| bin.failures).max().unwrap_or(0);
    let most = format!("≤ {failures}/bin");
    line("failures", Paint::Bad, most, &|bin| f64::from(bin.failures));
    let wait = bins.iter().map(|bin| bin.wait_p95).max().unwrap_or_default();
    let most = format!("≤ {}", number::span(wait));
    line("wait p95", Paint::Strong, most, &|bin| bin.wait_p95.as_secs_f64());
    let query = bins.iter().map(|bin| bin.query_p95).max().unwrap_or_default();
    let most = format!("≤ {}", number::span(query));
    line("query p95", Paint::Strong, most, &|bin| bin.query_p95.as_secs_f64());
}

fn causes(diagnosis: &Diagnosis, style: Style, width: usize, out: &mut Vec<String>) {
    if diagnosis.findings.is_empty() {
        return;
    }
    heading("causes", style, out);
    for (n, finding) in diagnosis.findings.iter().take(CAUSES).enumerate() {
        cause(n, finding, style, width, out);
    }
    let more = diagnosis.findings.len().saturating_sub(CAUSES);
    if more > 0 {
        out.push(style.paint(Paint::Dim, &format!("   and {more} less likely")));
    }
}

/// A cause in three to four lines; only the first one's fix is written, it is the one to do.
fn cause(n: usize, finding: &Finding, style: Style, width: usize, out: &mut Vec<String>) {
    let culprit = words::culprit(&finding.culprit).unwrap_or_else(|| "no culprit".to_owned());
    let percent = number::percent(finding.confidence);
    let title = format!("{}. {}: {culprit}", n + 1, words::cause(finding.cause));
    let room = width.saturating_sub(percent.chars().count() + 2);
    let title = format!("{:<room$}", words::short(&title, room));
    out.push(format!("{}  {percent}", style.paint(Paint::Strong, &title)));
    let evidence =
        [("   + ", finding.evidence_for.first()), ("   − ", finding.evidence_against.first())];
    for (sign, evidence) in evidence {
        if let Some(evidence) = evidence {
            let text = format!("{}: {}", evidence.claim, evidence.measured);
            out.extend(wrap(&text, width, sign));
        }
    }
    if n == 0 && !finding.fix.is_empty() {
        out.extend(wrap(&format!("fix: {}", finding.fix), width, "   → "));
    }
}

fn dynos(dynos: &[DynoTotals], style: Style, width: usize, out: &mut Vec<String>) {
    if dynos.is_empty() {
        return;
    }
    heading("dynos", style, out);
    let head = ["dyno", "requests", "failed", "rate", "95 %", "db requests", "held", "most"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for dyno in dynos {
        let totals = &dyno.totals;
        let (requests, failed) = if totals.http_requests > 0 {
            (totals.http_requests, totals.http_failures)
        } else {
            (totals.database_requests, totals.database_failures)
        };
        let [low, rate, high] = dyno.failure_rate.map(number::percent);
        rows.push(vec![
            words::short(&dyno.dyno, 20),
            number::count(requests),
            number::count(failed),
            rate,
            format!("{low} to {high}"),
            number::count(totals.database_requests),
            number::fraction(dyno.held_mean),
            dyno.held_max.to_string(),
        ]);
    }
    let [l, r] = [Side::Left, Side::Right];
    out.extend(columns(&rows, &[l, r, r, r, r, r, r, r], width));
}

fn advice(diagnosis: &Diagnosis, style: Style, width: usize, out: &mut Vec<String>) {
    if diagnosis.advice.is_empty() {
        return;
    }
    heading("advice", style, out);
    for advice in &diagnosis.advice {
        out.extend(wrap(&words::action(advice), width, "→ "));
        if let Some(sql) = words::sql(advice) {
            // Not wrapped: it is to be copied.
            out.push(format!("    {}", words::short(sql, width.saturating_sub(4).max(120))));
        }
    }
}

fn gaps(diagnosis: &Diagnosis, style: Style, width: usize, out: &mut Vec<String>) {
    if let Some(first) = diagnosis.gaps.first() {
        heading("not checked", style, out);
        let more = diagnosis.gaps.len() - 1;
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        out.extend(wrap(&format!("{first}{more}"), width, "- "));
    }
}

fn heading(text: &str, style: Style, out: &mut Vec<String>) {
    out.push(String::new());
    out.push(style.paint(Paint::Strong, text));
}
