//! What the router costs, beside nginx, in one run.
//!
//! Starts one small HTTP server (a web dyno), the router in front of it with its log and recording
//! on, and Debian's nginx (if it is installed) in front of the same server, with an access log that
//! says the same as Heroku's; and lets the same clients ask each in turn, interleaved, so that a
//! noisy machine is equally unkind to all. Prints for each number of clients, with the ratio to
//! nginx: CPU microseconds per request (user + system of the router's process, from /proc; median,
//! least and most), requests a second, and how much later than straight from the server an answer
//! comes (p50 and p99, medians of the rounds). Loopback only; bounded in time.
//!
//! Both routers have one thread. Clients keep their connections. Each request has a connection of
//! its own to the server; what nginx saves by keeping those too is shown in a line of its own.
//!
//! ```text
//! cargo build --release -p bench-router && target/release/bench-router --seconds 2 --rounds 5
//! ```

mod load;
mod nginx;
mod ours;
mod upstream;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bench_kit::cpu::CpuTime;
use bench_kit::{median, say};
use clap::{Parser, Subcommand};

use crate::load::Load;

/// Measure CPU per request and added latency of the router beside nginx.
#[derive(Debug, Parser)]
struct Args {
    /// Seconds of one run
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Runs of each at each point, interleaved
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Numbers of clients
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    clients: Vec<u32>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What this program is when it has started itself.
#[derive(Debug, Subcommand)]
enum Part {
    /// The server behind the routers, on $PORT
    #[command(hide = true)]
    Upstream,
    /// The router of Surgetank, with the server as its dyno
    #[command(hide = true)]
    Router,
}

/// Something that answers requests.
struct Way {
    name: &'static str,
    address: SocketAddr,
    /// Whose CPU time counts; nothing for the server itself.
    pid: Option<u32>,
}

/// One run.
struct Sample {
    cpu_us_per_request: f64,
    requests_per_second: f64,
    p50_us: f64,
    p99_us: f64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args.part {
        Some(Part::Upstream) => runtime.block_on(upstream::serve()),
        Some(Part::Router) => ours::run(),
        None => runtime.block_on(bench(&args)),
    }
}

async fn bench(args: &Args) -> anyhow::Result<()> {
    let ours = ours::Ours::start()?;
    let mut ways = vec![Way { name: "direct", address: ours.dyno, pid: None }];
    let folder = tempfile::tempdir()?;
    let nginx = [
        ("nginx", nginx::Upstream::ConnectionEach),
        ("nginx, connections kept", nginx::Upstream::KeepAlive),
    ];
    let mut servers = Vec::new();
    for (name, upstream) in nginx {
        match nginx::Nginx::start(folder.path(), ours.dyno, upstream)? {
            Some(server) => {
                ways.push(Way { name, address: server.address, pid: Some(server.pid()) });
                servers.push(server);
            }
            None => say("nginx is not installed: nothing to compare with")?,
        }
    }
    ways.push(Way { name: "surgetank", address: ours.router, pid: Some(ours.pid()) });
    say(&format!("{} s a run, {} rounds interleaved", args.seconds, args.rounds))?;
    for clients in &args.clients {
        measure(&ways, *clients, args).await?;
    }
    Ok(())
}

/// All ways at one number of clients; the first router is the base of the ratios.
async fn measure(ways: &[Way], clients: u32, args: &Args) -> anyhow::Result<()> {
    say("\nclients  way                      CPU µs/request  (min … max)   ratio    requests/s  \
         added p50 µs  ratio  added p99 µs  ratio")?;
    let span = Duration::from_secs(args.seconds.into());
    let mut samples: Vec<Vec<Sample>> = ways.iter().map(|_| Vec::new()).collect();
    for round in 0..=args.rounds {
        for (way, samples) in ways.iter().zip(&mut samples) {
            let sample = sample(way, clients, span).await.with_context(|| way.name.to_owned())?;
            // The first is for warming up.
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    let of = |index: usize, what: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = samples[index].iter().map(what).collect();
        (median(&mut values), values[0], values[values.len() - 1])
    };
    let direct = (of(0, |it| it.p50_us).0, of(0, |it| it.p99_us).0);
    let mut base = None;
    for (index, way) in ways.iter().enumerate() {
        let rate = of(index, |it| it.requests_per_second).0;
        if way.pid.is_none() {
            let shown = format!("(p50 {:.0} µs, p99 {:.0} µs)", direct.0, direct.1);
            say(&format!("{clients:>7}  {:<62} {rate:>10.0}  {shown}", way.name))?;
            continue;
        }
        let (cpu, least, most) = of(index, |it| it.cpu_us_per_request);
        let added =
            (of(index, |it| it.p50_us).0 - direct.0, of(index, |it| it.p99_us).0 - direct.1);
        let (cpu_base, p50_base, p99_base) = *base.get_or_insert((cpu, added.0, added.1));
        let spread = format!("({least:.1} … {most:.1})");
        say(&format!(
            "{clients:>7}  {:<23} {cpu:>15.1}  {spread:<14} {:>5.2}×  {rate:>10.0}  {:>12.0}  \
             {:>4.2}×  {:>12.0}  {:>4.2}×",
            way.name,
            cpu / cpu_base,
            added.0,
            added.0 / p50_base,
            added.1,
            added.1 / p99_base,
        ))?;
    }
    Ok(())
}

async fn sample(way: &Way, clients: u32, span: Duration) -> anyhow::Result<Sample> {
    let cpu = || way.pid.map(CpuTime::of).transpose();
    let load = Load::connect(way.address, clients).await?;
    let before = cpu()?;
    let result = load.run(span).await?;
    let used = match (cpu()?, before) {
        (Some(after), Some(before)) => after.since(before)?,
        _ => Duration::ZERO,
    };
    let requests = f64::from(u32::try_from(result.latency_ns.len())?);
    let micros = |quantile| {
        let nanos = result.latency_ns.value_at_quantile(quantile);
        Duration::from_nanos(nanos).as_secs_f64() * 1e6
    };
    Ok(Sample {
        cpu_us_per_request: used.as_secs_f64() * 1e6 / requests,
        requests_per_second: requests / result.took.as_secs_f64(),
        p50_us: micros(0.5),
        p99_us: micros(0.99),
    })
}
