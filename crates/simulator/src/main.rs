//! `cargo run --release -p simulator`: the table of scenarios and laws.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use admission::Law;
use clap::Parser;
use simulator::baselines::{Aimd, Climb, Gradient, Vegas};
use simulator::judge::{Judged, Oracle};
use simulator::{Counts, Limiter, Rule, Scenario, random};

/// Scenarios with numbers from here on are held out: no law was tuned on them.
const HELD_OUT: u64 = 1000;

/// Runs scenarios under the law and under those that others use, and prints what came of it.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only scenarios whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// The folder with the scenarios.
    #[arg(long, default_value_os_t = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"))]
    scenarios: PathBuf,
    /// How many seeds, from 1.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Phases of at most so many seconds.
    #[arg(long, default_value_t = f64::INFINITY)]
    shorten: f64,
    /// Instead: so many scenarios drawn at random, and the mean and the worst of them.
    #[arg(long, default_value_t = 0)]
    held_out: u64,
    /// Print what each static size does, instead.
    #[arg(long)]
    curves: bool,
    /// Only the law, not those of others.
    #[arg(long)]
    law: bool,
}

/// The laws of the table.
const LAWS: [&str; 7] =
    ["law", "climb, executing", "climb", "AIMD 50 ms", "AIMD 10 ms", "Vegas", "Gradient2"];

/// One law's run, compared with the static sizes.
fn judge(law: &str, oracle: &Oracle, scenario: &Scenario, seed: u64) -> Judged {
    let mut limiter: Box<dyn Limiter> = match law {
        "law" => return oracle.judge_law(scenario, Law::new(seed), seed),
        "climb, executing" => Box::new(Climb::new(Counts::Executing)),
        "climb" => Box::new(Climb::new(Counts::Held)),
        "AIMD 50 ms" => Box::new(Aimd::new(0.05)),
        "AIMD 10 ms" => Box::new(Aimd::new(0.01)),
        "Vegas" => Box::new(Vegas::default()),
        _ => Box::new(Gradient::default()),
    };
    oracle.judge(scenario, Rule::Pool(&mut *limiter), seed)
}

fn main() -> anyhow::Result<()> {
    match run(&Arguments::parse()) {
        // Whoever read the table has seen enough of it (`| head`).
        Err(error) if is_unread(&error) => Ok(()),
        result => result,
    }
}

fn is_unread(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let scenarios = if arguments.held_out > 0 {
        (HELD_OUT..HELD_OUT + arguments.held_out).map(random::scenario).collect()
    } else {
        Scenario::folder(&arguments.scenarios)?
    };
    let mut shares: Vec<(&str, Vec<f64>)> = Vec::new();
    for scenario in scenarios.iter().filter(|s| s.name.contains(&arguments.only)) {
        let scenario = scenario.clone().shortened(arguments.shorten);
        for seed in 1..=arguments.seeds {
            let oracle = Oracle::ask(&scenario, seed, 1);
            say(&if arguments.curves {
                curve(&scenario, &oracle)
            } else {
                head(&scenario, &oracle)
            })?;
            if arguments.curves {
                continue;
            }
            for name in LAWS.iter().take(if arguments.law { 1 } else { LAWS.len() }) {
                let judged = judge(name, &oracle, &scenario, seed);
                say(&row(name, &judged))?;
                if *name == "law" {
                    for failure in judged.failures(&scenario) {
                        say(&format!("    NOT AS EXPECTED: {failure}\n"))?;
                    }
                }
                match shares.iter_mut().find(|(law, _)| law == name) {
                    Some((_, shares)) => shares.push(judged.share),
                    None => shares.push((name, vec![judged.share])),
                }
            }
        }
    }
    say("\nshare of the best static size's throughput\n")?;
    for (name, shares) in &mut shares {
        shares.sort_by(f64::total_cmp);
        let percent = |nth: usize| shares.get(nth).map_or(f64::NAN, |share| share * 100.0);
        let (median, worst) = (percent(shares.len() / 2), percent(0));
        say(&format!("  {name:<16} median {median:6.1} %  worst {worst:6.1} %\n"))?;
    }
    Ok(())
}

fn say(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())
}

fn head(scenario: &Scenario, oracle: &Oracle) -> String {
    let (size, best) = &oracle.best;
    let rate = best.total() as f64 / scenario.seconds();
    let p99 = best.quantile_ms(0.99);
    format!("{}: best static {size}: {rate:.0}/s, p99 {p99:.0} ms\n", scenario.name)
}

fn row(law: &str, judged: &Judged) -> String {
    let list =
        |numbers: &[f64]| numbers.iter().map(|n| format!("{n:.1}")).collect::<Vec<_>>().join(" ");
    let seconds = |a: &Option<f64>| a.map_or_else(|| "never".into(), |s| format!("{s:.1}"));
    let adapt: Vec<String> = judged.adapt.iter().map(seconds).collect();
    let phases: Vec<f64> = judged.phases.iter().map(|share| share * 100.0).collect();
    let start = format!("  {law:<16} {:6.1} %  p99 {:6.0} ms", judged.share * 100.0, judged.p99_ms);
    let (limits, phases, adapt) = (list(&judged.limits), list(&phases), adapt.join(" "));
    let reports = judged.reports;
    format!(
        "{start}  limits {limits:<18} phases {phases:<18} adapt {adapt:<14} reports {reports:.2}\n"
    )
}

fn curve(scenario: &Scenario, oracle: &Oracle) -> String {
    let mut text = format!("{}\n", scenario.name);
    for (size, tally) in &oracle.curve {
        let mut from = 0.0;
        let mut rates = Vec::new();
        for phase in &scenario.phases {
            let to = from + phase.seconds;
            rates.push(format!("{:7.0}", tally.rate(from + phase.seconds / 4.0, to)));
            from = to;
        }
        let p99 = tally.quantile_ms(0.99);
        let _ = writeln!(text, "  {size:>4} {} p99 {p99:6.0} ms", rates.join(" "));
    }
    text
}
