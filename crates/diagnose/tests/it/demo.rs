//! The story of DESIGN §1: web.1 is restarted under load and finds the slots taken by web.2.

use diagnose::Diagnosis;
use diagnose::finding::{Action, Cause, HolderState, Resource};
use expect_test::expect_file;
use testkit::golden::{Ask, Story, ms};
use trace::{DynoId, DynoState, Micros, SqlState};

use crate::world::{
    BY_KEY, Dice, LOOKUP, REPORT, causes, culprit_dyno, culprit_statement, diagnose, no_index,
};

const END: Micros = ms(64_000);
const RESTART: Micros = ms(24_000);

/// Whether the worker's report runs, and slows everything down while it does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Report {
    On,
    Off,
}

/// When the report runs: 1.5 s from each of these, not quite regular, as in life.
fn report_runs() -> Vec<Micros> {
    let mut dice = Dice(7);
    (0..7).map(|i| ms(3000 + 8000 * i + dice.roll(900))).collect()
}

fn demo(report: Report) -> Story {
    let mut story = Story::new();
    story.setting("max_connections", "20");
    story.setting("superuser_reserved_connections", "3");
    let (web_1, web_2) = (story.dyno("web.1"), story.dyno("web.2"));
    let worker = story.dyno("worker.1");
    let lookup = story.statement(LOOKUP);
    no_index(&mut story, lookup, END);
    let runs = if report == Report::On { report_runs() } else { Vec::new() };
    let slow = |at: Micros| runs.iter().any(|run| *run <= at && at < *run + ms(1500));
    restart(&mut story, web_1);

    // Before the restart the two share: 8 and 8; then web.2 takes all load and grows to 15.
    pool(&mut story, web_1, 8, ms(0), RESTART, &slow);
    pool(&mut story, web_2, 8, ms(0), END, &slow);
    pool(&mut story, web_2, 7, RESTART + ms(300), END, &slow);
    pool(&mut story, web_1, 1, RESTART + ms(2000), END, &slow);
    let reporter = story.connection(worker, ms(0), END);
    let text = story.statement(REPORT);
    for run in &runs {
        story.request(reporter, Ask::at(*run).of(text).server(ms(1500)).rows(30));
    }
    // Both are refused now and then while both grow.
    for (dyno, at) in [(web_1, 9000), (web_2, 9020), (web_1, 9040), (web_2, 17_000)] {
        fail(&mut story, dyno, ms(at));
    }
    // And web.1 again and again after its restart; more while the report runs.
    story.every(ms(70), RESTART + ms(2100), END - ms(200), |story, at| {
        if slow(at) || at.0 % 3 == 0 {
            fail(story, web_1, at);
        }
    });
    for dyno in [web_1, web_2] {
        story.every(ms(40), ms(5), END, |story, at| story.http(dyno, at, ms(30), "/orders", 200));
    }
    story
}

fn restart(story: &mut Story, dyno: DynoId) {
    for (after, state) in [
        (0, DynoState::Stopping),
        (200, DynoState::Down),
        (500, DynoState::Starting),
        (1900, DynoState::Up),
    ] {
        story.dyno_state(dyno, RESTART + ms(after), state);
    }
}

fn fail(story: &mut Story, dyno: DynoId, at: Micros) {
    story.refused_connect(dyno, at);
    story.http(dyno, at + ms(3), ms(5), "/checkout", 500);
}

/// Connections that run the lookup about two thirds of their time, slower while `slow` says so, and
/// a quick one between.
fn pool(
    story: &mut Story,
    dyno: DynoId,
    count: usize,
    from: Micros,
    to: Micros,
    slow: &dyn Fn(Micros) -> bool,
) {
    let lookup = story.statement(LOOKUP);
    let by_key = story.statement(BY_KEY);
    for (i, connection) in story.connections(count, dyno, from, to).into_iter().enumerate() {
        let mut dice = Dice(1 + i as u64);
        let mut at = from + ms(5 + dice.roll(90));
        while at + ms(300) < to {
            // After the restart more statements execute at once than there are cores.
            let crowd = if at > RESTART { 30 } else { 0 };
            let server = ms(if slow(at) { 130 } else { 60 } + crowd + dice.roll(20));
            story.request(connection, Ask::at(at).of(lookup).server(server).rows(25));
            at = at + server + ms(10);
            story.request(connection, Ask::at(at).of(by_key).server(ms(1)));
            at = at + ms(10 + dice.roll(30));
        }
    }
}

fn check_top(diagnosis: &Diagnosis) {
    let top = diagnosis.top().expect("there are failures");
    assert_eq!(top.cause, Cause::SlotExhaustion, "{:#?}", diagnosis.findings);
    assert_eq!(culprit_dyno(diagnosis), Some("web.2"));
    assert_eq!(culprit_statement(diagnosis), Some(LOOKUP));
    assert_eq!(top.culprit.resource.as_deref(), Some("max_connections"));
    assert!(top.confidence > 0.9, "{}", top.confidence);
}

#[test]
fn with_the_report_all_three_causes_are_named_in_order_of_weight() {
    let diagnosis = diagnose(demo(Report::On));
    check_top(&diagnosis);
    assert_eq!(
        causes(&diagnosis),
        [Cause::SlotExhaustion, Cause::MissingIndex, Cause::LongStatement]
    );
    let report = &diagnosis.findings[2];
    assert_eq!(report.culprit.dyno.as_deref(), Some("worker.1"));
    assert_eq!(report.culprit.statement.as_ref().map(|s| &*s.text), Some(REPORT));
    assert!(report.confidence < 0.3, "it contributes a little: {}", report.confidence);
    let coincidence = diagnosis.coincidence.expect("a minute is long enough");
    assert!(
        coincidence.auc > 0.5 && coincidence.query_time_failing > coincidence.query_time_healthy
    );
}

#[test]
fn without_the_report_nobody_blames_it() {
    let diagnosis = diagnose(demo(Report::Off));
    check_top(&diagnosis);
    assert_eq!(causes(&diagnosis), [Cause::SlotExhaustion, Cause::MissingIndex]);
    assert!(!format!("{:?}", diagnosis.findings).contains("worker.1 runs"));
}

#[test]
fn the_sick_dyno_is_told_from_its_healthy_twin() {
    let diagnosis = diagnose(demo(Report::On));
    let contrast = diagnosis.contrast.as_ref().expect("there are two");
    assert_eq!(contrast.dyno, "web.1");
    assert!(contrast.p_value < 1e-6 && contrast.rate > 10.0 * contrast.rate_of_others);
    let most = &diagnosis.blame[0];
    assert_eq!((most.resource, &*most.dyno), (Resource::ServerSlots, "web.2"));
    assert_eq!(most.state, HolderState::Executing);
    let held: Vec<(&str, u32)> = diagnosis.dynos.iter().map(|d| (&*d.dyno, d.held_max)).collect();
    assert_eq!(held, [("web.1", 8), ("web.2", 15), ("worker.1", 1)]);
}

#[test]
fn advice_is_the_index_and_the_limit() {
    let diagnosis = diagnose(demo(Report::On));
    let actions: Vec<&Action> = diagnosis.advice.iter().map(|advice| &advice.action).collect();
    let index = Action::CreateIndex {
        table: "public.orders".to_owned(),
        columns: vec!["customer_id".to_owned()],
        sql: "CREATE INDEX CONCURRENTLY ON public.orders (customer_id)".to_owned(),
    };
    assert_eq!(actions, [&index, &Action::LimitPool { limit: 16 }]);
    let staging = index.staging_sql();
    assert_eq!(staging.as_deref(), Some("CREATE INDEX ON public.orders (customer_id)"));
    assert!(diagnosis.advice.iter().all(|advice| advice.because.len() >= 3));
}

#[test]
fn what_a_reader_sees() {
    let diagnosis = diagnose(demo(Report::On));
    let mut told = String::new();
    for finding in &diagnosis.findings {
        told +=
            &format!("{} {:.2}: {}\n", finding.cause.name(), finding.confidence, finding.summary);
        for (sign, list) in [("+", &finding.evidence_for), ("-", &finding.evidence_against)] {
            for e in list {
                told += &format!("  {sign} {}: {} ({})\n", e.claim, e.measured, e.source);
            }
        }
    }
    expect_file!["demo.txt"].assert_eq(&told);
}

#[test]
fn a_password_error_among_them_changes_nothing() {
    let mut story = demo(Report::Off);
    let worker = story.dyno("worker.2");
    story.failed_connect(worker, Ask::at(ms(30_000)).error(SqlState::INVALID_PASSWORD));
    check_top(&diagnose(story));
}
