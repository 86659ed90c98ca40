//! How numbers are written, everywhere the same: units after a space, no false precision, and never
//! rounded up to a certainty that was not measured.

use trace::Micros;

/// `part / whole`; 0 where there is no whole.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// `12,345`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count that may be a fraction, because several holders share one failure: `17`, `3.4`.
pub(crate) fn fraction(n: f64) -> String {
    if n.fract().abs() < 0.05 || n >= 100.0 { format!("{n:.0}") } else { format!("{n:.1}") }
}

/// A share of 1 as per cent: `0 %`, `0.04 %`, `4.2 %`, `42 %`.
pub(crate) fn percent(share: f64) -> String {
    let value = share * 100.0;
    if value == 0.0 || value == 100.0 {
        return format!("{value:.0} %");
    }
    match value {
        v if v < 0.01 => "< 0.01 %".to_owned(),
        v if v < 0.1 => format!("{v:.2} %"),
        9.95..=99.0 => format!("{value:.0} %"),
        v => format!("{:.1} %", v.min(99.9)),
    }
}

/// A round share of 1 for an axis, without idle zeros: `0 %`, `0.5 %`, `5 %`.
pub(crate) fn axis_percent(share: f64) -> String {
    format!("{} %", (share * 1e5).round() / 1e3)
}

/// A confidence as per cent, cut and not rounded: 0.9899 is not 99 %.
pub(crate) fn confidence(value: f64) -> String {
    let value = (value * 100.0).clamp(0.0, 100.0);
    if value >= 99.99 {
        return "> 99.99 %".to_owned();
    }
    // A tenth suffices below 99.9; the small addend undoes the binary fraction of 0.99 * 100.
    let steps = if value >= 99.9 { 100.0 } else { 10.0 };
    let cut = (value * steps + 1e-6).floor() / steps;
    format!("{cut} %")
}

/// A probability with two digits that count: `0.31`, `0.0035`, `1.3e-9`.
pub(crate) fn p_value(p: f64) -> String {
    match p {
        p if p >= 0.1 => format!("{p:.2}"),
        p if p >= 0.01 => format!("{p:.3}"),
        p if p >= 0.001 => format!("{p:.4}"),
        p => format!("{p:.1e}"),
    }
}

/// A span of time: `120 µs`, `4.2 ms`, `240 ms`, `4.2 s`, `42 s`, `3 min 20 s`.
pub(crate) fn span(span: Micros) -> String {
    let seconds = span.as_secs_f64();
    match span.0 {
        0 => "0 ms".to_owned(),
        us @ 1..1_000 => format!("{us} µs"),
        1_000..9_950 => format!("{:.1} ms", seconds * 1e3),
        9_950..999_500 => format!("{:.0} ms", seconds * 1e3),
        999_500..9_950_000 => format!("{seconds:.1} s"),
        9_950_000..120_000_000 => format!("{seconds:.0} s"),
        us => {
            let whole = us / 1_000_000;
            format!("{} min {} s", whole / 60, whole % 60)
        }
    }
}

/// A rate without superfluous digits: `40`, `12.5`.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second.fract().abs() < 0.05 || per_second >= 100.0 {
        format!("{per_second:.0}")
    } else {
        format!("{per_second:.1}")
    }
}

/// `1 request`, `2 requests`.
pub(crate) fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// Wilson's score interval for `part` of `whole` at 95 %: low, estimate, high.
///
/// Used for the whiskers of the load curve; the dynos' intervals come ready from `diagnose`.
/// Wilson, Journal of the American Statistical Association 22 (1927), 209.
pub(crate) fn wilson(part: u64, whole: u64) -> [f64; 3] {
    const Z: f64 = 1.959_964;
    if whole == 0 {
        return [0.0, 0.0, 1.0];
    }
    let n = whole as f64;
    let p = share(part, whole);
    let middle = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    // At the ends the bounds are exact; arithmetic would leave a trace of rounding there.
    let low = if part == 0 { 0.0 } else { ((middle - half) / scale).max(0.0) };
    let high = if part >= whole { 1.0 } else { ((middle + half) / scale).min(1.0) };
    [low, p, high]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_write_them() {
        let spans = [0, 120, 4_200, 240_000, 4_210_000, 42_000_000, 200_000_000];
        let spans: Vec<String> = spans.iter().map(|us| span(Micros(*us))).collect();
        assert_eq!(spans, ["0 ms", "120 µs", "4.2 ms", "240 ms", "4.2 s", "42 s", "3 min 20 s"]);
        let shares: Vec<String> =
            [0.0, 0.000_05, 0.000_4, 0.042, 0.42, 0.9999, 1.0].map(percent).into();
        assert_eq!(shares, ["0 %", "< 0.01 %", "0.04 %", "4.2 %", "42 %", "99.9 %", "100 %"]);
        assert_eq!(
            [0.31, 0.0123, 0.003_497, 1.31e-9].map(p_value),
            ["0.31", "0.012", "0.0035", "1.3e-9"]
        );
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(plural(1, "failure", "failures"), "1 failure");
    }

    #[test]
    fn confidence_is_never_rounded_up() {
        let written: Vec<String> = [0.5, 0.9899, 0.99, 0.9994, 0.999_95].map(confidence).into();
        assert_eq!(written, ["50 %", "98.9 %", "99 %", "99.94 %", "> 99.99 %"]);
    }

    #[test]
    fn wilson_agrees_with_the_textbook() {
        // Newcombe (1998), Table I: 81 of 263 and 0 of 20, both at 95 %.
        let [low, _, high] = wilson(81, 263);
        assert!((low - 0.2553).abs() < 5e-5 && (high - 0.3662).abs() < 5e-5, "{low} {high}");
        let [low, _, high] = wilson(0, 20);
        assert!(low == 0.0 && (high - 0.1611).abs() < 5e-5, "{low} {high}");
    }
}
