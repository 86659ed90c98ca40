//! With SURGETANK_SAMPLES=DIR the charts are also written there, to be looked at.

use diagnose::compare::{Proof, Trials};
use diagnose::finding::Bin;
use trace::Micros;

use super::*;
use crate::sample;

fn all() -> Vec<(&'static str, Chart)> {
    let diagnosis = sample::diagnosis();
    let story = sample::story(&diagnosis);
    let colours = DynoColours::new(diagnosis.dynos.iter().map(|d| d.dyno.as_str()));
    vec![
        ("timeline", timeline(&diagnosis.timeline, &colours)),
        ("curve", load_curve(&story.curve, story.knee)),
        ("contrast", dyno_contrast(&diagnosis.dynos, &colours)),
        ("arms", arms(&story.arms)),
        ("proof", uptime_proof(&story.proof.unwrap())),
        ("limit", limit_over_time(&course(), &phases())),
    ]
}

/// A limit that follows its load within two seconds.
fn course() -> Vec<LimitPoint> {
    let point = |tenth: u32| {
        let at = f64::from(tenth) / 10.0;
        let (limit, throughput) = match at {
            at if at < 10.0 => (6.0 + f64::from(tenth % 3), 2_300.0),
            at if at < 12.0 => (8.0 + 46.0 * (at - 10.0), 900.0 + 4_000.0 * (at - 10.0)),
            _ => (100.0 + f64::from(tenth % 7), 8_900.0),
        };
        LimitPoint { at, limit, throughput }
    };
    (0..250).map(point).collect()
}

fn phases() -> Vec<(f64, String, f64)> {
    vec![(0.0, "hot rows".to_owned(), 2_400.0), (10.0, "waits".to_owned(), 9_000.0)]
}

/// Charts of nothing, or of next to nothing: a run may end early.
fn bare() -> Vec<(&'static str, Chart)> {
    let colours = DynoColours::default();
    let one = Timeline { width: Micros(1), bins: vec![Bin::default()], ..Timeline::default() };
    let none = Trials::default();
    let proof = Proof { before: none, after: none, p_value: 1.0, confidence: 0.0, needed: None };
    let point = CurvePoint { rate: 0.0, requests: 0, failed: 0 };
    vec![
        ("no-bins", timeline(&Timeline::default(), &colours)),
        ("one-bin", timeline(&one, &colours)),
        ("no-points", load_curve(&[], None)),
        ("one-point", load_curve(&[point], Some(f64::NAN))),
        ("no-dynos", dyno_contrast(&[], &colours)),
        ("no-arms", arms(&[])),
        ("no-looks", limit_over_time(&[], &phases())),
        ("no-trials", uptime_proof(&StoryProof { proof, asked: 0.99, failure_free: Micros::ZERO })),
    ]
}

fn write_sample(name: &str, chart: &Chart) {
    if let Some(dir) = std::env::var_os("SURGETANK_SAMPLES").map(std::path::PathBuf::from) {
        std::fs::write(dir.join(format!("{name}.svg")), chart.svg(name)).unwrap();
        let text = chart.terminal(80, 24, Style::Ansi);
        std::fs::write(dir.join(format!("{name}.txt")), text).unwrap();
    }
}

#[test]
fn every_chart_names_itself() {
    for (name, chart) in all() {
        write_sample(name, &chart);
        let svg = chart.svg(name);
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>"), "{name}");
        let (title, description) = (chart.title(), chart.description());
        assert!(svg.contains(&format!("<title id=\"{name}-title\">{title}</title>")), "{name}");
        assert!(svg.contains(&format!("<desc id=\"{name}-desc\">{description}</desc>")), "{name}");
        assert!(description.chars().any(|c| c.is_ascii_digit()), "{name}: {description}");
        assert!(svg.matches("<text").count() > 5, "{name}");
    }
}

#[test]
fn no_chart_has_a_number_that_is_none() {
    for (name, chart) in all().into_iter().chain(bare()) {
        let svg = chart.svg(name);
        assert!(!svg.contains("NaN") && !svg.contains("\"inf"), "{name}: {svg}");
        assert!(svg.ends_with("</svg>"), "{name}");
        assert!(chart.terminal(80, 24, Style::Plain).ends_with('\n'), "{name}");
    }
}

#[test]
fn every_failing_bin_has_a_bar_with_its_numbers() {
    let timeline_data = sample::timeline();
    let svg = timeline(&timeline_data, &DynoColours::default()).svg("t");
    let failing = timeline_data.bins.iter().filter(|bin| bin.failures > 0).count();
    assert_eq!(svg.matches(" requests failed</title>").count(), failing);
    assert!(svg.contains("<title>20.5 s: 12 of 31 requests failed</title>"));
}

#[test]
fn long_recordings_keep_their_sums_and_spikes() {
    let quiet = |n: u64| Bin { at: Micros::from_millis(n * 100), requests: 3, ..Bin::default() };
    let mut bins: Vec<Bin> = (0..5_000).map(quiet).collect();
    bins[1_234].failures = 1;
    bins[1_234].wait_p95 = Micros::from_secs(7);
    let long = Timeline { width: Micros::from_millis(100), bins, ..Timeline::default() };
    let chart = timeline(&long, &DynoColours::default());
    assert!(chart.description().starts_with("1 of 15,000 requests failed, in 1 of"));
    assert!(chart.description().contains("wait for a connection 7.0 s"));
    assert!(chart.svg("t").len() < 100_000);
}

#[test]
fn labels_of_marks_do_not_overlap() {
    let mut crowded = sample::timeline();
    let start = crowded.bins[0].at;
    crowded.marks = (0..40)
        .map(|n| {
            (start + Micros::from_millis(n * 1_500), format!("web.{n} restarted by the platform"))
        })
        .collect();
    let svg = timeline(&crowded, &DynoColours::default()).svg("t");
    // Those without room keep their line and their tip.
    assert_eq!(svg.matches(" restarted by the platform at ").count(), 40);
    let mut rows: std::collections::BTreeMap<String, Vec<(f64, usize)>> = Default::default();
    for text in svg.split("<text ").skip(1).filter(|t| t.contains("restarted")) {
        let attribute = |name: &str| {
            let (_, rest) = text.split_once(&format!("{name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        let label = text.split_once('>').unwrap().1.split_once('<').unwrap().0;
        let x = attribute("x").parse().unwrap();
        rows.entry(attribute("y")).or_default().push((x, label.chars().count()));
    }
    assert_eq!(rows.len(), 3, "three rows are full");
    for labels in rows.values() {
        // 5.5 pixels a character is narrower than any usual font at 12 pixels.
        let clear = |pair: &[(f64, usize)]| pair[0].0 + pair[0].1 as f64 * 5.5 < pair[1].0;
        assert!(labels.windows(2).all(clear), "{labels:?}");
    }
}

#[test]
fn words_from_outside_stay_words() {
    let mut hostile = sample::timeline();
    hostile.marks[0].1 = "</svg><script>x</script> & $1 \x1b[31m".to_owned();
    hostile.dynos[0] = "<web.1>".to_owned();
    let chart = timeline(&hostile, &DynoColours::default());
    let svg = chart.svg("a\"b<c");
    assert_eq!(svg.matches("<script").count(), 0);
    assert_eq!(svg.matches("</svg>").count(), 1);
    assert!(svg.contains("&lt;/svg&gt;&lt;script&gt;x&lt;/script&gt; &amp; $1"));
    assert!(svg.contains("id=\"a-b-c\"") && svg.contains("&lt;web.1&gt;"));
    assert!(!chart.terminal(80, 24, Style::Plain).contains('\x1b'));
}

#[test]
fn a_dyno_keeps_its_colour_whatever_is_drawn() {
    let colours = DynoColours::new(["worker.1", "web.10", "web.2", "web.1", "web.2"]);
    let places = ["web.1", "web.2", "web.10", "worker.1"].map(|dyno| colours.place(dyno));
    assert_eq!(places, [0, 1, 2, 3]);
    assert_eq!(colours.css("web.2"), "var(--sg-dyno-1)");
    let diagnosis = sample::diagnosis();
    for chart in
        [timeline(&diagnosis.timeline, &colours), dyno_contrast(&diagnosis.dynos, &colours)]
    {
        assert!(chart.svg("c").contains("fill=\"var(--sg-dyno-3)\""), "{}", chart.title());
    }
}

#[test]
fn all_colours_are_defined_for_light_and_dark() {
    let (light, dark) = colours_css().split_once("@media").unwrap();
    for (name, chart) in all() {
        for variable in chart.svg(name).split("var(").skip(1) {
            let variable = format!("{}:", variable.split_once(')').unwrap().0);
            assert!(light.contains(&variable) && dark.contains(&variable), "{name}: {variable}");
        }
    }
}

#[test]
fn the_curve_in_a_terminal() {
    let diagnosis = sample::diagnosis();
    let story = sample::story(&diagnosis);
    let chart = load_curve(&story.curve, story.knee);
    let (title, drawn) = (chart.title(), chart.terminal(60, 14, Style::Plain));
    expect_test::expect![[r#"
        Failures against load

                Failed requests   ██with 95 % interval
           30 %                     ╷
                       knee at 42/s │                           ╶┐
                                    │                       ⢀⠤⠒⠉╶┘
           20 %                     │                 ╶┐⢀⡠⠔⠊⠁
                                    │                ⣀╶┘⠁
                                    │            ⢀⡠⠒⠉
           10 %                     │       ╶┐⡠⠔⠊⠁
                                    │    ⣀⡠⠔╶┘⠂
                                   ┌┤⡠⠔⠒⠉
            0 % ├───┼────┼────┼────┴┴───┼────────────────────────┤
                0                      50                       100
                                      offered requests per second
    "#]]
    // The first line holds the left edge, which the comparison would else cut off.
    .assert_eq(&format!("{title}\n{drawn}"));
}
