//! What the command line and the environment say, read once at the start.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

/// One process of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve customers.
    Web,
    /// Run the jobs.
    Worker,
    /// Make tables and seed data.
    Setup {
        /// Drop the shop's tables first: every order since is forgotten.
        reset: bool,
    },
}

impl Command {
    /// Reads the words after the program's name.
    ///
    /// # Errors
    /// Anything but `web`, `worker` or `setup [--reset]`.
    pub fn parse(args: impl Iterator<Item = OsString>) -> anyhow::Result<Self> {
        let words: Vec<String> = args.map(|word| word.to_string_lossy().into_owned()).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["web"] => Ok(Self::Web),
            ["worker"] => Ok(Self::Worker),
            ["setup"] => Ok(Self::Setup { reset: false }),
            ["setup", "--reset"] => Ok(Self::Setup { reset: true }),
            other => bail!("`{}`: use web, worker or setup [--reset]", other.join(" ")),
        }
    }
}

/// A job of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// The sales report.
    Report,
    /// Filling the shelves.
    Restock,
}

/// The shop's settings. Each is a config var of the app.
#[derive(Clone, Debug)]
pub struct Config {
    /// `DATABASE_URL`, with `DYNO` as the application name.
    pub database: tokio_postgres::Config,
    /// `DB_POOL`, default 15: most connections this process may hold. Every process takes the same,
    /// so the app as a whole may ask for this times the number of its processes.
    pub pool_size: usize,
    /// `HOST` (default 127.0.0.1) and `PORT` (default 5000).
    pub listen: SocketAddr,
    /// `REPORT_EVERY_SECONDS`, default 8: pause between two sales reports.
    pub report_every: Duration,
    /// `WORKER_JOBS`, default `report,restock`: the jobs this worker runs.
    pub jobs: Vec<Job>,
}

impl Config {
    /// Reads the settings; `var` looks one up, so that tests need no environment.
    ///
    /// # Errors
    /// A variable that is missing or cannot be read, by name. The value of `DATABASE_URL` is never
    /// shown: it holds a password.
    pub fn read(var: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let url = var("DATABASE_URL").context("DATABASE_URL is not set")?;
        let mut database = tokio_postgres::Config::from_str(&url)
            .context("DATABASE_URL is not a PostgreSQL address")?;
        database.connect_timeout(Duration::from_secs(5));
        if let Some(dyno) = var("DYNO") {
            database.application_name(dyno);
        }
        let host = number(&var, "HOST", IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let port = number(&var, "PORT", 5000)?;
        let pool_size = number(&var, "DB_POOL", 15)?;
        ensure!(pool_size > 0, "DB_POOL is 0: the shop needs at least one connection");
        let seconds: f64 = number(&var, "REPORT_EVERY_SECONDS", 8.0)?;
        let report_every = Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|pause| !pause.is_zero())
            .with_context(|| format!("REPORT_EVERY_SECONDS is {seconds}: give a positive time"))?;
        let jobs = jobs(var("WORKER_JOBS").as_deref().unwrap_or("report,restock"))?;
        Ok(Self { database, pool_size, listen: SocketAddr::new(host, port), report_every, jobs })
    }
}

/// The value of a variable, or its default where it is not set.
fn number<T: FromStr>(
    var: &impl Fn(&str) -> Option<String>,
    name: &str,
    default: T,
) -> anyhow::Result<T> {
    match var(name) {
        None => Ok(default),
        Some(text) => text.parse().ok().with_context(|| format!("{name} is `{text}`")),
    }
}

fn jobs(list: &str) -> anyhow::Result<Vec<Job>> {
    let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| match name {
            "report" => Ok(Job::Report),
            "restock" => Ok(Job::Restock),
            other => bail!("WORKER_JOBS: no job `{other}`, use report,restock"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: (&str, &str) = ("DATABASE_URL", "postgres://shop:secret@127.0.0.1:5432/shop");

    fn read(vars: &[(&str, &str)]) -> anyhow::Result<Config> {
        Config::read(|name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn defaults_are_those_of_the_readme() {
        let config = read(&[URL]).unwrap();
        assert_eq!(config.pool_size, 15);
        assert_eq!(config.listen.to_string(), "127.0.0.1:5000");
        assert_eq!(config.report_every, Duration::from_secs(8));
        assert_eq!(config.jobs, [Job::Report, Job::Restock]);
        assert_eq!(config.database.get_application_name(), None);
    }

    #[test]
    fn the_dyno_names_its_connections() {
        let config = read(&[URL, ("DYNO", "web.2")]).unwrap();
        assert_eq!(config.database.get_application_name(), Some("web.2"));
        assert_eq!(config.database.get_password(), Some(&b"secret"[..]));
    }

    #[test]
    fn a_job_can_be_left_out() {
        assert_eq!(read(&[URL, ("WORKER_JOBS", "restock")]).unwrap().jobs, [Job::Restock]);
        assert!(read(&[URL, ("WORKER_JOBS", "")]).unwrap().jobs.is_empty());
    }

    #[test]
    fn a_bad_value_is_told_by_name() {
        let cases = [
            (vec![], "DATABASE_URL is not set"),
            (vec![("DATABASE_URL", "postgres:/%secret%")], "DATABASE_URL is not a PostgreSQL"),
            (vec![URL, ("DB_POOL", "0")], "DB_POOL is 0"),
            (vec![URL, ("DB_POOL", "many")], "DB_POOL is `many`"),
            (vec![URL, ("PORT", "99999")], "PORT is `99999`"),
            (vec![URL, ("REPORT_EVERY_SECONDS", "-1")], "REPORT_EVERY_SECONDS is -1"),
            (vec![URL, ("WORKER_JOBS", "dance")], "no job `dance`"),
        ];
        for (vars, expected) in cases {
            let told = format!("{:#}", read(&vars).unwrap_err());
            assert!(told.contains(expected), "{told}");
            assert!(!told.contains("secret"), "{told}");
        }
    }

    #[test]
    fn commands_are_words() {
        let parse = |text: &str| Command::parse(text.split_whitespace().map(OsString::from));
        assert_eq!(parse("web").unwrap(), Command::Web);
        assert_eq!(parse("worker").unwrap(), Command::Worker);
        assert_eq!(parse("setup --reset").unwrap(), Command::Setup { reset: true });
        assert!(parse("web now").is_err());
        assert!(parse("").is_err());
    }
}
