//! Prometheus' text format 0.0.4, written. Pure.

use std::fmt::{Display, Write};

use proxy::{BOUNDS, Histogram};
use trace::Micros;

/// What a family's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Never goes down while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many took how long.
    Histogram,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Names and values that tell a family's series apart.
pub(super) type Labels<'a> = [(&'static str, &'a str)];

/// A page, family by family.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

/// A family of the page: its series come next.
pub(super) struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
}

impl Page {
    /// Begins a family.
    pub(super) fn family(&mut self, kind: Kind, name: &'static str, help: &str) -> Family<'_> {
        let help = escaped(help, false);
        let kind = kind.word();
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { page: self, name }
    }

    /// The text.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(text);
    }
}

impl Family<'_> {
    /// A series with one value.
    pub(super) fn value(&mut self, labels: &Labels<'_>, value: impl Display) {
        self.sample("", labels, None, value);
    }

    /// A series with seconds.
    pub(super) fn seconds(&mut self, labels: &Labels<'_>, time: Micros) {
        self.value(labels, Seconds(time.0));
    }

    /// A series of a histogram: its buckets each with the ones below, sum and count.
    pub(super) fn histogram(&mut self, labels: &Labels<'_>, times: &Histogram, sum: Micros) {
        let mut count = 0;
        for (bound, more) in BOUNDS.iter().zip(times.buckets) {
            count += more;
            self.sample("_bucket", labels, Some(&Seconds(*bound)), count);
        }
        self.sample("_bucket", labels, Some(&"+Inf"), times.count());
        self.sample("_sum", labels, None, Seconds(sum.0));
        self.sample("_count", labels, None, times.count());
    }

    fn sample(
        &mut self,
        suffix: &str,
        labels: &Labels<'_>,
        le: Option<&dyn Display>,
        value: impl Display,
    ) {
        self.page.put(format_args!("{}{suffix}", self.name));
        let mut before = '{';
        for (name, value) in labels {
            self.page.put(format_args!("{before}{name}=\"{}\"", escaped(value, true)));
            before = ',';
        }
        if let Some(le) = le {
            self.page.put(format_args!("{before}le=\"{le}\""));
            before = ',';
        }
        let after = if before == ',' { "}" } else { "" };
        self.page.put(format_args!("{after} {value}\n"));
    }
}

/// Microseconds, exactly, as seconds.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, part) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let part = format!("{part:06}");
        write!(f, "{whole}.{}", part.trim_end_matches('0'))
    }
}

/// A text in which what would end it is escaped; quotes are no end of a help text.
fn escaped(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_their_series() {
        let mut page = Page::default();
        let mut family = page.family(Kind::Gauge, "a", "Says \"a\\b\".\nAnd more.");
        family.value(&[], 1);
        family.value(&[("x", "q\"uote\\\n"), ("y", "")], 2);
        family.seconds(&[], Micros(1_250_000));
        let expected = "# HELP a Says \"a\\\\b\".\\nAnd more.\n# TYPE a gauge\na 1\n\
                        a{x=\"q\\\"uote\\\\\\n\",y=\"\"} 2\na 1.25\n";
        assert_eq!(page.into_text(), expected);
    }

    #[test]
    fn buckets_hold_the_ones_below() {
        let mut times = Histogram::default();
        for (index, count) in [(0, 3), (1, 0), (2, 4), (BOUNDS.len(), 5)] {
            times.buckets[index] = count;
        }
        let mut page = Page::default();
        let mut family = page.family(Kind::Histogram, "h", "H.");
        family.histogram(&[("d", "x")], &times, Micros(7));
        let text = page.into_text();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[0], "h_bucket{d=\"x\",le=\"0.0001\"} 3");
        assert_eq!(lines[1], "h_bucket{d=\"x\",le=\"0.00025\"} 3");
        assert_eq!(lines[2], "h_bucket{d=\"x\",le=\"0.0005\"} 7");
        assert_eq!(lines[13], "h_bucket{d=\"x\",le=\"5\"} 7");
        let end = ["h_bucket{d=\"x\",le=\"+Inf\"} 12", "h_sum{d=\"x\"} 0.000007"];
        assert_eq!(lines[14..16], end);
        assert_eq!(lines[16..], ["h_count{d=\"x\"} 12"]);
    }
}
