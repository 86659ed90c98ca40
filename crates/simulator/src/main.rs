//! `cargo run --release -p simulator`: the table of scenarios and laws.

use std::path::{Path, PathBuf};

use admission::Law;
use clap::Parser;
use simulator::baselines::{Aimd, Climb, Gradient, Vegas};
use simulator::judge::{Judged, Oracle};
use simulator::{Counts, Limiter, Scenario};

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
    /// Print what each static size does, instead.
    #[arg(long)]
    curves: bool,
    /// Only the law, not those of others.
    #[arg(long)]
    law: bool,
}

fn laws(seed: u64, all: bool) -> Vec<(&'static str, Box<dyn Limiter>)> {
    let mut laws: Vec<(_, Box<dyn Limiter>)> = vec![("law", Box::new(Law::new(seed)))];
    if all {
        laws.push(("climb-exec", Box::new(Climb::new(Counts::Executing))));
        laws.push(("climb", Box::new(Climb::new(Counts::Held))));
        laws.push(("aimd-50ms", Box::new(Aimd::new(0.05))));
        laws.push(("aimd-10ms", Box::new(Aimd::new(0.01))));
        laws.push(("vegas", Box::new(Vegas::default())));
        laws.push(("gradient2", Box::new(Gradient::default())));
    }
    laws
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let scenarios = Scenario::folder(&arguments.scenarios)?;
    for scenario in scenarios.iter().filter(|s| s.name.contains(&arguments.only)) {
        let scenario = scenario.clone().shortened(arguments.shorten);
        for seed in 1..=arguments.seeds {
            let oracle = Oracle::ask(&scenario, seed, 1);
            if arguments.curves {
                curve(&scenario, &oracle);
                continue;
            }
            let (size, best) = &oracle.best;
            println!(
                "{}: best static {size}: {:.0}/s, p99 {:.0} ms",
                scenario.name,
                best.total() as f64 / scenario.seconds(),
                best.quantile_ms(0.99),
            );
            for (name, mut limiter) in laws(seed, !arguments.law) {
                row(name, &oracle.judge(&scenario, &mut *limiter, seed));
            }
        }
    }
    Ok(())
}

fn row(law: &str, judged: &Judged) {
    let list =
        |numbers: &[f64]| numbers.iter().map(|n| format!("{n:.1}")).collect::<Vec<_>>().join(" ");
    let adapt: Vec<String> = judged
        .adapt
        .iter()
        .map(|a| a.map_or_else(|| "never".into(), |seconds| format!("{seconds:.1}")))
        .collect();
    let phases: Vec<f64> = judged.phases.iter().map(|share| share * 100.0).collect();
    println!(
        "  {law:<11} {:6.1} %  p99 {:6.0} ms  limits {:<18} phases {:<18} adapt {:<14} reports {:.2}",
        judged.share * 100.0,
        judged.p99_ms,
        list(&judged.limits),
        list(&phases),
        adapt.join(" "),
        judged.reports,
    );
}

fn curve(scenario: &Scenario, oracle: &Oracle) {
    println!("{}", scenario.name);
    for (size, tally) in &oracle.curve {
        let mut from = 0.0;
        let mut rates = Vec::new();
        for phase in &scenario.phases {
            rates.push(format!(
                "{:7.0}",
                tally.rate(from + phase.seconds / 4.0, from + phase.seconds)
            ));
            from += phase.seconds;
        }
        println!("  {size:>4} {} p99 {:6.0} ms", rates.join(" "), tally.quantile_ms(0.99));
    }
}
