//! A strict reader of Prometheus' text format 0.0.4: what it takes, everybody takes.

use std::collections::BTreeMap;

/// What a page says: series by name and labels as written.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Kinds by family.
    pub(super) families: BTreeMap<String, String>,
    series: BTreeMap<String, f64>,
}

/// A line that is a sample: name, labels in order, value.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Page {
    /// Reads a page; panics with what is wrong.
    pub(super) fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends");
        let mut page = Self::default();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let (name, help) = comment(line, "HELP");
            assert!(!help.is_empty(), "{line}");
            let (typed, kind) = comment(lines.next().expect("a TYPE follows a HELP"), "TYPE");
            assert_eq!(name, typed, "HELP and TYPE of one family");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
            let before = page.families.insert(name.to_owned(), kind.to_owned());
            assert!(before.is_none(), "{name} comes twice");
            let mut samples = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                samples.push(sample(line));
                let (series, _) = line.rsplit_once(' ').expect("a value");
                let before =
                    page.series.insert(series.to_owned(), samples[samples.len() - 1].value);
                assert!(before.is_none(), "{series} comes twice");
            }
            match kind {
                "histogram" => histograms(name, &samples),
                _ => assert!(samples.iter().all(|sample| sample.name == name), "{name}"),
            }
            let falls = kind != "gauge" && samples.iter().any(|sample| sample.value < 0.0);
            assert!(!falls, "{name} is below zero");
        }
        page
    }

    /// The value of a series, written as on the page.
    pub(super) fn get(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.series))
    }

    /// What never goes down did not, from this page to a later one.
    pub(super) fn grows_to(&self, later: &Self) {
        for (series, before) in &self.series {
            let name = series.split('{').next().unwrap_or_default();
            let suffixes = ["", "_bucket", "_sum", "_count"];
            let kind = suffixes.iter().find_map(|end| self.families.get(name.strip_suffix(end)?));
            if kind.expect("a family") != "gauge" {
                let after = later.get(series);
                assert!(after >= *before, "{series} went from {before} to {after}");
            }
        }
    }
}

/// Name and rest of `# WORD name rest`.
fn comment<'a>(line: &'a str, word: &str) -> (&'a str, &'a str) {
    let rest = line.strip_prefix("# ").and_then(|rest| rest.strip_prefix(word));
    let rest = rest.and_then(|rest| rest.strip_prefix(' '));
    let (name, rest) = rest.and_then(|rest| rest.split_once(' ')).unwrap_or_else(|| {
        panic!("not a {word}: {line}");
    });
    assert!(is_name(name, ":"), "{line}");
    (name, rest)
}

fn is_name(name: &str, more: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || more.contains(c);
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(good)
}

fn sample(line: &str) -> Sample<'_> {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name, ":"), "{line}");
    let mut labels = Vec::new();
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            let (label, after) = inner.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(label, ""), "{line}");
            let (value, after) = label_value(after, line);
            assert!(labels.iter().all(|(other, _)| other != label), "{label} twice: {line}");
            labels.push((label.to_owned(), value));
            match (after.strip_prefix(','), after.strip_prefix('}')) {
                (Some(more), _) => inner = more,
                (_, Some(after)) => {
                    rest = after;
                    break;
                }
                _ => panic!("labels without end: {line}"),
            }
        }
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no value: {line}"));
    assert!(!value.contains(' '), "a timestamp: {line}");
    Sample { name, labels, value: number(value) }
}

/// A value in which `\\`, `\"` and `\n` are escaped, and what follows its end.
fn label_value<'a>(text: &'a str, line: &str) -> (String, &'a str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, escaped @ ('\\' | '"'))) => escaped,
                other => panic!("{other:?} is escaped: {line}"),
            }),
            other => value.push(other),
        }
    }
    panic!("a value without end: {line}")
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        _ => {
            assert!(text.chars().all(|c| c.is_ascii_digit() || "+-.e".contains(c)), "{text}");
            text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
        }
    }
}

/// Of each histogram the buckets in order, each with the ones below, then sum and count.
fn histograms(name: &str, samples: &[Sample<'_>]) {
    let mut rest = samples;
    while let Some(first) = rest.first() {
        let own = |sample: &&Sample<'_>| {
            sample
                .labels
                .iter()
                .filter(|(label, _)| label != "le")
                .eq(first.labels.iter().filter(|(label, _)| label != "le"))
        };
        let count = rest.iter().take_while(own).count();
        let (one, others) = rest.split_at(count);
        rest = others;
        let (buckets, end) = one.split_at(count - 2);
        let bounds: Vec<f64> = buckets
            .iter()
            .map(|bucket| {
                assert_eq!(bucket.name, format!("{name}_bucket"));
                let le = bucket.labels.iter().find(|(label, _)| label == "le");
                number(&le.expect("a bound").1)
            })
            .collect();
        assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{name}: {bounds:?}");
        assert_eq!(bounds.last(), Some(&f64::INFINITY), "{name}");
        let counts: Vec<f64> = buckets.iter().map(|bucket| bucket.value).collect();
        assert!(counts.is_sorted(), "{name}: {counts:?}");
        let ends = [format!("{name}_sum"), format!("{name}_count")];
        assert_eq!(end.iter().map(|sample| sample.name).collect::<Vec<_>>(), ends);
        assert_eq!(Some(&end[1].value), counts.last(), "{name}");
    }
}
