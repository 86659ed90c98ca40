//! What clients do while instructions are counted: pgbench with a script of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use bench_kit::poolers::Pooler;
use platform::postgres::Cluster;

use crate::Args;

/// One point of the tables: what so many clients do, in one of pgbench's query modes.
#[derive(Clone, Copy)]
pub(crate) struct Point<'a> {
    pub(crate) workload: Workload,
    pub(crate) mode: &'a str,
    pub(crate) clients: u32,
}

impl Point<'_> {
    pub(crate) fn label(&self) -> String {
        format!("{:<12} {:<9} {:>7}", self.workload.name(), self.mode, self.clients)
    }

    /// Transactions of each client in the short run.
    fn each(&self) -> u32 {
        (SHORT_TRANSACTIONS / self.clients).max(SHORT_TRANSACTIONS_MIN)
    }

    /// By how many transactions the two runs differ.
    pub(crate) fn difference(&self) -> f64 {
        f64::from((LONG_FACTOR - 1) * self.each() * self.clients)
    }
}

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Workload {
    /// `pgbench -S`: one row by its key
    Select,
    /// One row into a table with a serial column
    Insert,
    /// BEGIN, UPDATE of one row by its key, COMMIT
    Transaction,
}

impl Workload {
    fn name(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Insert => "insert",
            Self::Transaction => "transaction",
        }
    }

    /// For `pgbench -f`. The first is the script of `pgbench -S`.
    fn script(self) -> &'static str {
        match self {
            Self::Select => {
                "\\set aid random(1, 100000 * :scale)\n\
                 SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"
            }
            Self::Insert => {
                "\\set branch random(1, 1000)\n\
                 INSERT INTO instructions_notes (branch, note) VALUES (:branch, 'a note');\n"
            }
            Self::Transaction => {
                "\\set aid random(1, 100000 * :scale)\n\
                 BEGIN;\n\
                 UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;\n\
                 COMMIT;\n"
            }
        }
    }
}

/// The table of [`Workload::Insert`].
const TABLE: &str =
    "CREATE TABLE instructions_notes (id serial PRIMARY KEY, branch integer, note text)";

/// Clients at most.
const CLIENTS_MAX: u32 = 100;
/// Transactions of all clients in the short run, and of one client at least. The long run has
/// three times as many.
const SHORT_TRANSACTIONS: u32 = 500;
const SHORT_TRANSACTIONS_MIN: u32 = 60;
pub(crate) const LONG_FACTOR: u32 = 3;

/// All points that were asked for.
pub(crate) fn points(args: &Args) -> anyhow::Result<Vec<Point<'_>>> {
    let mut points = Vec::new();
    for workload in &args.workload {
        for mode in &args.mode {
            for clients in args.clients_or(&[1, 16]) {
                if !(1..=CLIENTS_MAX).contains(&clients) {
                    bail!("--instructions is for 1 to {CLIENTS_MAX} clients, not {clients}");
                }
                points.push(Point { workload: *workload, mode, clients });
            }
        }
    }
    Ok(points)
}

/// pgbench with its scripts.
pub(crate) struct Load {
    pgbench: PathBuf,
    scripts: tempfile::TempDir,
}

impl Load {
    pub(crate) fn new(args: &Args, cluster: &Cluster) -> anyhow::Result<Self> {
        let scripts = tempfile::tempdir()?;
        for workload in &args.workload {
            fs::write(scripts.path().join(workload.name()), workload.script())?;
        }
        let mut psql = Command::new(cluster.bin("psql"));
        crate::run(psql.args(["-q", "-c", TABLE, &cluster.superuser_url("postgres")]))?;
        Ok(Self { pgbench: cluster.bin("pgbench"), scripts })
    }

    /// The short run, with `factor` times its transactions.
    pub(crate) fn run(
        &self,
        pooler: &Pooler,
        point: &Point<'_>,
        factor: u32,
    ) -> anyhow::Result<()> {
        let mut command = Command::new(&self.pgbench);
        command
            .args(["-n", "--random-seed=1", "-M", point.mode])
            .args(["-s", "10", "-c", &point.clients.to_string()])
            .args(["-t", &(factor * point.each()).to_string(), "-f"])
            .arg(self.scripts.path().join(point.workload.name()))
            .arg(&pooler.url);
        crate::run(&mut command).with_context(|| format!("pgbench through {}", pooler.name))?;
        Ok(())
    }
}
