//! A small, made-up incident for the tests of this room; shaped like the demo's real one.

use diagnose::compare::{Arm, Proof, Trials};
use diagnose::finding::{
    Action, Advice, Bin, BlameShare, Cause, Coincidence, Culprit, Diagnosis, DynoContrast,
    DynoTotals, Evidence, Finding, HolderState, Resource, Span, StatementRef, Timeline, Totals,
};
use trace::{Fingerprint, Micros};

use crate::number::wilson;
use crate::story::{
    ActSummary, Baseline, CurvePoint, DynoCount, DynoRun, Part, RecordingFile, RunCompare,
    StoryProof, StoryReport,
};

/// Text that would break out of markup if anything forgot to escape it.
pub(crate) const HOSTILE: &str =
    "SELECT '<script>alert(1)</script>' /* \"x\" & 'y' */ FROM orders WHERE id = $1 AND a = $2";

const START: Micros = Micros(1_700_000_000_000_000);

/// A fixed, noise-like number from 0 to 1.
fn noise(n: u32) -> f64 {
    f64::from(n.wrapping_mul(2_654_435_761) >> 8) / f64::from(1_u32 << 24)
}

fn millis(value: f64) -> Micros {
    Micros::from_duration(std::time::Duration::from_secs_f64(value / 1e3))
}

fn bin(n: u32) -> Bin {
    let at = f64::from(n) * 0.5;
    let report = (14.0..22.0).contains(&at) || (40.0..49.0).contains(&at);
    let starved = (20.5..26.0).contains(&at) || (44.0..52.5).contains(&at);
    let failures = if starved { 4 + n * 7 % 9 } else { 0 };
    let query = 6.0 + 4.0 * noise(n) + if report { 380.0 + 300.0 * noise(n + 9) } else { 0.0 };
    let wait =
        0.9 + 0.8 * noise(n + 5) + if starved { 1_900.0 + 900.0 * noise(n + 3) } else { 0.0 };
    let down = (20.0..21.0).contains(&at) || (44.0..45.0).contains(&at);
    let one = if down {
        0
    } else if starved {
        2 + n % 2
    } else {
        5 + n % 2
    };
    let two = if starved { 13 } else { 7 + n % 4 };
    Bin {
        at: START + millis(at * 1e3),
        requests: 30 + n % 5,
        failures,
        wait_p95: millis(wait),
        query_p95: millis(query),
        executing: if report { 9 } else { 3 },
        held: vec![one, two, u32::from(report) + 1],
    }
}

pub(crate) fn timeline() -> Timeline {
    let mark = |at: u64, label: &str| (START + Micros::from_millis(at), label.to_owned());
    Timeline {
        width: Micros::from_millis(500),
        bins: (0..120).map(bin).collect(),
        dynos: ["web.1", "web.2", "worker.1"].map(str::to_owned).to_vec(),
        marks: vec![
            mark(14_000, "worker.1 begins its report"),
            mark(20_000, "web.1 restarted"),
            mark(21_000, "web.1 up"),
            mark(40_000, "worker.1 begins its report"),
            mark(44_000, "web.1 restarted"),
            mark(45_000, "web.1 up"),
        ],
    }
}

fn dyno(name: &str, [http, failed, database, refused]: [u64; 4], held: (f64, u32)) -> DynoTotals {
    DynoTotals {
        dyno: name.to_owned(),
        totals: Totals {
            database_requests: database,
            database_failures: refused,
            http_requests: http,
            http_failures: failed,
        },
        failure_rate: if http > 0 { wilson(failed, http) } else { wilson(refused, database) },
        held_mean: held.0,
        held_max: held.1,
    }
}

fn evidence(claim: &str, measured: &str, source: &str) -> Evidence {
    Evidence { claim: claim.to_owned(), measured: measured.to_owned(), source: source.to_owned() }
}

fn report_query() -> StatementRef {
    let text = "SELECT customer_id, sum(total) FROM orders GROUP BY customer_id ORDER BY 2 DESC";
    StatementRef { fingerprint: Fingerprint(0xc0ff_ee00_dead_beef), text: text.to_owned() }
}

fn slots() -> Finding {
    Finding {
        cause: Cause::SlotExhaustion,
        culprit: Culprit {
            dyno: Some("web.2".to_owned()),
            statement: None,
            resource: Some("max_connections".to_owned()),
        },
        confidence: 0.91,
        failures_explained: 192.0,
        summary: "web.1 is refused because web.2 keeps the server's connection slots".to_owned(),
        evidence_for: vec![
            evidence(
                "web.2 held the slots when web.1 was refused",
                "13 of 17, in 192 of 204 refusals",
                "connections opened and closed, 20.5 s to 52.5 s",
            ),
            evidence("the refusals say so", "192 × SQLSTATE 53300", "outcome of connects"),
        ],
        evidence_against: vec![evidence(
            "the worker's report ran in part of that time",
            "in 61 of 204 refusals",
            "samples of pg_stat_activity",
        )],
        disproof: "a refusal of web.1 while fewer than 17 connections are open".to_owned(),
        fix: "share one limited pool between the dynos (regulate, 12 connections)".to_owned(),
    }
}

fn index() -> Finding {
    Finding {
        cause: Cause::MissingIndex,
        culprit: Culprit {
            dyno: None,
            statement: Some(StatementRef { fingerprint: Fingerprint(7), text: HOSTILE.to_owned() }),
            resource: None,
        },
        confidence: 0.34,
        failures_explained: 12.0,
        summary: "the customer lookup reads the whole table".to_owned(),
        evidence_for: vec![evidence(
            "rows read for each row returned",
            "500,000 to 3",
            "statement statistics, 0 s to 60 s",
        )],
        evidence_against: Vec::new(),
        disproof: "the same refusals with the index in place".to_owned(),
        fix: "create the index".to_owned(),
    }
}

pub(crate) fn diagnosis() -> Diagnosis {
    let timeline = timeline();
    let failed: u64 = timeline.bins.iter().map(|bin| u64::from(bin.failures)).sum();
    let requests: u64 = timeline.bins.iter().map(|bin| u64::from(bin.requests)).sum();
    Diagnosis {
        span: Span { from: START, to: START + Micros::from_secs(60) },
        totals: Totals {
            database_requests: 9_120,
            database_failures: 204,
            http_requests: requests,
            http_failures: failed,
        },
        dynos: vec![
            dyno("web.1", [1_914, failed - 9, 4_301, 196], (5.1, 7)),
            dyno("web.2", [requests - 1_914, 9, 4_702, 8], (8.9, 13)),
            dyno("worker.1", [0, 0, 117, 0], (1.4, 2)),
        ],
        contrast: Some(DynoContrast {
            dyno: "web.1".to_owned(),
            rate: 0.114,
            rate_of_others: 0.004_7,
            p_value: 3.1e-41,
        }),
        coincidence: Some(Coincidence {
            auc: 0.87,
            p_value: 0.004,
            query_time_failing: Micros::from_millis(412),
            query_time_healthy: Micros(7_900),
        }),
        blame: blame(),
        findings: vec![slots(), index()],
        advice: advice(),
        timeline,
        gaps: vec!["no samples of locks between 31 s and 33 s".to_owned()],
    }
}

fn blame() -> Vec<BlameShare> {
    let share = |dyno: &str, state, statement, failures: f64, share| BlameShare {
        resource: Resource::ServerSlots,
        dyno: dyno.to_owned(),
        state,
        statement,
        waited: Micros::from_millis(41_200),
        failures,
        share,
    };
    let hostile = StatementRef { fingerprint: Fingerprint(7), text: HOSTILE.to_owned() };
    vec![
        share("web.2", HolderState::Idle, None, 141.3, 0.69),
        share("web.2", HolderState::Executing, Some(hostile), 46.0, 0.23),
        share("worker.1", HolderState::Executing, Some(report_query()), 16.7, 0.08),
    ]
}

fn advice() -> Vec<Advice> {
    vec![
        Advice {
            action: Action::CreateIndex {
                table: "public.orders".to_owned(),
                columns: vec!["customer_id".to_owned()],
                sql: "CREATE INDEX CONCURRENTLY ON public.orders (customer_id)".to_owned(),
            },
            because: vec![evidence("sequential scans of orders", "412", "pg_stat_user_tables")],
        },
        Advice { action: Action::LimitPool { limit: 12 }, because: Vec::new() },
    ]
}

fn arm(name: &str, failed: u64, p50: u64, p99: u64, restarts: u32) -> Arm {
    Arm {
        name: name.to_owned(),
        requests: 3_840,
        failed,
        p50: Micros::from_millis(p50),
        p99: Micros::from_millis(p99),
        trials: Trials { total: 8, failed: restarts },
    }
}

fn run(dyno: &str, status: i32, output: &str, failed_tries: u32) -> DynoRun {
    DynoRun {
        dyno: dyno.to_owned(),
        status,
        output: output.to_owned(),
        elapsed: Micros::from_millis(if failed_tries > 0 { 2_040 } else { 38 }),
        database_requests: 6,
        database_failures: u64::from(failed_tries),
        environment: vec![("PORT".to_owned(), format!("{}", 5_000 + status))],
        tries: 10,
        failed_tries,
    }
}

fn acts() -> Vec<ActSummary> {
    let act = |name: &str, seconds, sentence: &str, evidence| ActSummary {
        name: name.to_owned(),
        ok: true,
        seconds,
        sentence: sentence.to_owned(),
        details: Vec::new(),
        evidence: Some(evidence),
    };
    let mut acts = vec![
        act(
            "bug report",
            24.2,
            "203 of 3,840 requests failed, with 3 kinds of stack trace",
            Part::Baseline,
        ),
        act(
            "two dynos",
            3.1,
            "the same command gives 200 on web.2 and 503 on web.1",
            Part::RunCompare,
        ),
        act("staging", 10.0, "at 10 requests/s nothing fails", Part::Curve),
        act(
            "tracking",
            0.4,
            "failures come when queries take 412 ms instead of 7.9 ms",
            Part::Timeline,
        ),
        act("load", 42.0, "failures grow from 40 requests/s", Part::Curve),
        act("diagnosis", 0.1, "web.2 keeps the connection slots that web.1 needs", Part::Causes),
        act("fix", 68.5, "index and pool together leave no failure", Part::Arms),
        act("proof", 31.0, "8 restarts under load without one failure", Part::Proof),
    ];
    acts[0].details = vec!["<b>FATAL</b>: sorry, too many clients already".to_owned()];
    acts
}

pub(crate) fn story(diagnosis: &Diagnosis) -> StoryReport<'_> {
    let count =
        |dyno: &str, requests, failed| DynoCount { dyno: dyno.to_owned(), requests, failed };
    let point = |rate, requests, failed| CurvePoint { rate, requests, failed };
    let (before, after) = (Trials { total: 8, failed: 6 }, Trials { total: 8, failed: 0 });
    StoryReport {
        title: "storefront: why checkout fails".to_owned(),
        seed: 42,
        generated_at: "2026-11-23 12:00 UTC".to_owned(),
        acts: acts(),
        baseline: Baseline {
            requests: 3_840,
            failed: 203,
            by_dyno: vec![count("web.1", 1_914, 194), count("web.2", 1_926, 9)],
        },
        run_compare: Some(RunCompare {
            command: "curl -s -o /dev/null -w '%{http_code}' localhost:$PORT/checkout".to_owned(),
            runs: vec![run("web.1", 503, "503", 7), run("web.2", 200, "200", 0)],
        }),
        curve: vec![
            point(10.0, 300, 0),
            point(20.0, 600, 0),
            point(30.0, 900, 1),
            point(40.0, 1_200, 9),
            point(60.0, 1_800, 131),
            point(80.0, 2_400, 402),
            point(100.0, 3_000, 780),
        ],
        knee: Some(42.0),
        diagnosis: Some(diagnosis),
        arms: vec![
            arm("baseline", 203, 9, 4_120, 6),
            arm("index", 61, 4, 2_210, 3),
            arm("pool", 12, 12, 940, 1),
            arm("index+pool", 0, 4, 62, 0),
        ],
        proof: Some(StoryProof {
            proof: Proof {
                before,
                after,
                p_value: 0.003_497,
                confidence: 0.996_503,
                needed: Some(7),
            },
            asked: 0.99,
            failure_free: Micros::from_secs(31),
        }),
        gaps: vec!["TLS between app and proxy was not exercised".to_owned()],
        reproduce: vec!["surgetank demo --seed 42 --report report.html".to_owned()],
        versions: vec![("PostgreSQL".to_owned(), "15.18".to_owned())],
        recordings: vec![RecordingFile {
            name: "baseline".to_owned(),
            path: "demo-42/baseline".to_owned(),
        }],
    }
}
