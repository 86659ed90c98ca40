use diagnose::finding::{Diagnosis, Span, Timeline, Totals};
use expect_test::{Expect, expect};
use trace::Micros;

use super::*;
use crate::sample;

#[track_caller]
fn check(text: &str, width: usize, expected: &Expect) {
    for line in text.lines() {
        assert!(line.chars().count() <= width, "{} columns: {line}", line.chars().count());
    }
    expected.assert_eq(text);
}

fn healthy() -> Diagnosis {
    Diagnosis {
        span: Span { from: Micros(0), to: Micros::from_secs(10) },
        totals: Totals { http_requests: 1_200, database_requests: 4_800, ..Totals::default() },
        dynos: Vec::new(),
        contrast: None,
        coincidence: None,
        blame: Vec::new(),
        findings: Vec::new(),
        advice: Vec::new(),
        timeline: Timeline::default(),
        gaps: Vec::new(),
    }
}

#[test]
fn a_diagnosis_on_one_screen() {
    check(
        &diagnosis(&sample::diagnosis(), Style::Plain, 80),
        80,
        &expect![[r#"
        ✗ web.1 is refused because web.2 keeps the server's connection slots. It
          explains 192 failures (confidence 91 %).

        failures                     █▇█▆█▇                ▆█▆█▇▄██         ≤ 12/bin
        wait p95  ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▇████▇▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁█▇███▇██▁▁▁▁▁▁▁  ≤ 2.8 s
        query p95 ▁▁▁▁▁▁▁▁▁▁▁▁▁███▇█▇█▇▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▅▇████▇▇█▁▁▁▁▁▁▁▁▁▁  ≤ 675 ms

        causes
        1. Connection slots used up: web.2 (max_connections)                        91 %
           + web.2 held the slots when web.1 was refused: 13 of 17, in 192 of 204
             refusals
           − the worker's report ran in part of that time: in 61 of 204 refusals
           → fix: share one limited pool between the dynos (regulate, 12 connections)
        2. Missing index: SELECT '<script>alert(1)</script>' /* "x" & 'y' */ FROM…  34 %
           + rows read for each row returned: 500,000 to 3

        dynos
        dyno      requests  failed   rate            95 %  db requests  held  most
        web.1        1,914     219   11 %    10 % to 13 %        4,301   5.1     7
        web.2        1,926       9  0.5 %  0.2 % to 0.9 %        4,702   8.9    13
        worker.1       117       0    0 %    0 % to 3.2 %          117   1.4     2

        advice
        → create an index on public.orders (customer_id)
            CREATE INDEX CONCURRENTLY ON public.orders (customer_id)
        → regulate: at most 12 server connections for all dynos together

        not checked
        - no samples of locks between 31 s and 33 s

        next: surgetank report RECORDING -o report.html (all evidence, with charts)
    "#]],
    );
}

#[test]
fn a_healthy_recording() {
    check(
        &diagnosis(&healthy(), Style::Plain, 80),
        80,
        &expect![[r#"
        ✓ All 1,200 HTTP requests succeeded.

        next: nothing to mend here; record again under more load
    "#]],
    );
}

#[test]
fn the_story_on_one_screen() {
    let sample = sample::diagnosis();
    let text = story(&sample::story(&sample), Style::Plain, 80);
    assert!(text.lines().count() <= 30, "{} lines", text.lines().count());
    check(
        &text,
        80,
        &expect![[r#"
        storefront: why checkout fails (seed 42)
        ✓ web.1 is refused because web.2 keeps the server's connection slots. With
          index+pool under the same arrivals, none of 3,840 requests failed. Chance is
          ruled out at 99.6 % (asked: 99 %).

        ✓ 1 bug report   24.2 s  203 of 3,840 requests failed, with 3 kinds of stack tr…
        ✓ 2 two dynos     3.1 s  the same command gives 200 on web.2 and 503 on web.1
        ✓ 3 staging      10.0 s  at 10 requests/s nothing fails
        ✓ 4 tracking      0.4 s  failures come when queries take 412 ms instead of 7.9…
        ✓ 5 load         42.0 s  failures grow from 40 requests/s
        ✓ 6 diagnosis     0.1 s  web.2 keeps the connection slots that web.1 needs
        ✓ 7 fix          68.5 s  index and pool together leave no failure
        ✓ 8 proof        31.0 s  8 restarts under load without one failure

        baseline: 203 of 3,840 requests failed (web.1 194 of 1,914, web.2 9 of 1,926)
        load: failures grow from 42 requests/s

        arm         requests  failed  share     p50     p99  restarts failed
        baseline       3,840     203  5.3 %  9.0 ms   4.1 s           6 of 8
        index          3,840      61  1.6 %  4.0 ms   2.2 s           3 of 8
        pool           3,840      12  0.3 %   12 ms  940 ms           1 of 8
        index+pool     3,840       0    0 %  4.0 ms   62 ms           0 of 8

        uptime proof: 31 s without failure, 8 restarts under load, confidence 99.6 %
        (asked 99 %)
        next: surgetank proxy DATABASE_URL --mode observe --record DIR (your own app)
    "#]],
    );
}

#[test]
fn a_story_that_broke_off() {
    let sample = sample::diagnosis();
    let mut broken = sample::story(&sample);
    broken.acts.truncate(3);
    broken.acts[2].ok = false;
    broken.acts[2].sentence = "at 10 requests/s 14 of 300 requests failed already".to_owned();
    broken.acts[2].details = vec!["web.1: FATAL: \x1b[2Jsorry, too many clients".to_owned()];
    (broken.curve, broken.knee, broken.arms, broken.proof) = Default::default();
    check(
        &story(&broken, Style::Plain, 60),
        60,
        &expect![[r#"
        storefront: why checkout fails (seed 42)
        ✗ Act 3 (staging) did not hold: At 10 requests/s 14 of 300
          requests failed already.

        ✓ 1 bug report   24.2 s  203 of 3,840 requests failed, with…
        ✓ 2 two dynos     3.1 s  the same command gives 200 on web.…
        ✗ 3 staging      10.0 s
            at 10 requests/s 14 of 300 requests failed already
            web.1: FATAL: [2Jsorry, too many clients

        baseline: 203 of 3,840 requests failed (web.1 194 of 1,914,
        web.2 9 of 1,926)
    "#]],
    );
}

#[test]
fn colour_changes_nothing_but_colour() {
    let sample = sample::diagnosis();
    let pairs = [
        (diagnosis(&sample, Style::Plain, 80), diagnosis(&sample, Style::Ansi, 80)),
        (
            story(&sample::story(&sample), Style::Plain, 80),
            story(&sample::story(&sample), Style::Ansi, 80),
        ),
    ];
    for (plain, coloured) in pairs {
        assert!(!plain.contains('\x1b'));
        assert!(coloured.contains("\x1b[1m"));
        let mut stripped = coloured;
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m"] {
            stripped = stripped.replace(code, "");
        }
        let trimmed: Vec<&str> = stripped.lines().map(str::trim_end).collect();
        assert_eq!(trimmed, plain.lines().map(str::trim_end).collect::<Vec<_>>());
    }
}

#[test]
fn no_width_breaks_it() {
    let sample = sample::diagnosis();
    for width in [0, 1, 40, 57, 120, 300] {
        let most = width.max(WIDTH_MIN);
        for line in story(&sample::story(&sample), Style::Plain, width).lines() {
            assert!(line.chars().count() <= most, "{width}: {line}");
        }
        assert!(!diagnosis(&sample, Style::Plain, width).is_empty());
    }
}
