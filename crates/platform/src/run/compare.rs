//! What differs between the runs of one command in several dynos. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::RunResult;

/// Variables that are different in each dyno because that is what they are for.
const EXPECTED: &[&str] = &["DYNO", "PORT", "PGHOST", "PGHOSTADDR", "PGPORT"];
/// Variables with such a word in their name hold secrets.
const SECRET: &[&str] = &["PASSWORD", "PASSWD", "SECRET", "TOKEN", "PRIVATE", "API_KEY"];
/// What stands in the place of a secret.
const MASK: &str = "***";
/// Times differ if the slowest takes this many times as long as the fastest …
const SLOWER_TIMES: u32 = 2;
/// … and this much longer: below it, it is the noise of starting processes.
const SLOWER_BY: Duration = Duration::from_millis(100);

/// One way in which runs can differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// How they ended.
    Status,
    /// What they wrote.
    Output,
    /// How long they took: the slowest at least twice as long as the fastest, and 100 ms longer.
    Time,
    /// How many database requests the dynos made meanwhile, or how many failed.
    Database,
    /// Sizes, and so limits.
    Size,
    /// Variables that should be the same everywhere.
    Environment,
}

/// A variable that is not the same in all dynos.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentDifference {
    /// Its name.
    pub name: String,
    /// Its value in each dyno, in the order of the results; `None` where it is not set. Secrets
    /// are masked.
    pub values: Vec<Option<String>>,
    /// Whether it is meant to differ (`DYNO`, `PORT`, only the address within a URL).
    pub expected: bool,
}

/// The same command in several dynos, side by side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunComparison {
    /// The command.
    pub command: String,
    /// What each did, with secrets masked in the environments.
    pub results: Vec<RunResult>,
    /// In which ways they differ.
    pub differing: Vec<Aspect>,
    /// Variables that differ, the unexpected ones first.
    pub environment: Vec<EnvironmentDifference>,
}

impl RunComparison {
    /// Compares the results of one command.
    #[must_use]
    pub fn of(command: &str, mut results: Vec<RunResult>) -> Self {
        let environment = environment(&results);
        let mut differing = Vec::new();
        let mut note = |aspect, differs: bool| {
            if differs {
                differing.push(aspect);
            }
        };
        note(Aspect::Status, differ(&results, |result| result.outcome));
        note(Aspect::Output, differ(&results, |result| (&result.stdout, &result.stderr)));
        note(Aspect::Time, times_differ(&results));
        note(Aspect::Database, differ(&results, |result| result.database));
        note(Aspect::Size, differ(&results, |result| result.size));
        note(Aspect::Environment, environment.iter().any(|variable| !variable.expected));
        for (name, value) in results.iter_mut().flat_map(|result| &mut result.environment) {
            *value = masked(name, value);
        }
        Self { command: command.to_owned(), results, differing, environment }
    }

    /// Whether the runs differ in this way.
    #[must_use]
    pub fn differs_in(&self, aspect: Aspect) -> bool {
        self.differing.contains(&aspect)
    }
}

fn differ<'a, T: PartialEq>(results: &'a [RunResult], of: impl Fn(&'a RunResult) -> T) -> bool {
    results.windows(2).any(|pair| of(&pair[0]) != of(&pair[1]))
}

fn times_differ(results: &[RunResult]) -> bool {
    let times = || results.iter().map(|result| result.elapsed);
    let (Some(fastest), Some(slowest)) = (times().min(), times().max()) else { return false };
    slowest >= fastest * SLOWER_TIMES && slowest - fastest >= SLOWER_BY
}

fn environment(results: &[RunResult]) -> Vec<EnvironmentDifference> {
    let all = results.iter().flat_map(|result| &result.environment);
    let names: BTreeSet<&str> = all.map(|(name, _)| name.as_str()).collect();
    let mut differences: Vec<_> =
        names.into_iter().filter_map(|name| difference(name, results)).collect();
    differences.sort_by_key(|difference| difference.expected);
    differences
}

fn difference(name: &str, results: &[RunResult]) -> Option<EnvironmentDifference> {
    let value_in = |result: &RunResult| {
        let variable = result.environment.iter().find(|(variable, _)| variable == name);
        variable.map(|(_, value)| value.clone())
    };
    let values: Vec<Option<String>> = results.iter().map(value_in).collect();
    let same = |values: &[Option<String>]| values.windows(2).all(|pair| pair[0] == pair[1]);
    if same(&values) {
        return None;
    }
    let bare: Vec<_> =
        values.iter().map(|value| value.as_deref().and_then(without_address)).collect();
    let only_address = bare.iter().all(Option::is_some) && same(&bare);
    let expected = EXPECTED.contains(&name) || only_address;
    let masked = |value: Option<String>| value.map(|value| masked(name, &value));
    let values = values.into_iter().map(masked).collect();
    Some(EnvironmentDifference { name: name.to_owned(), values, expected })
}

/// The parts of `scheme://user:password@host:port/rest` (RFC 3986 §3).
struct Url<'a> {
    before: &'a str,
    user_info: Option<&'a str>,
    rest: &'a str,
}

fn url(text: &str) -> Option<Url<'_>> {
    let begin = text.find("://")? + 3;
    let (before, after) = text.split_at(begin);
    let authority = &after[..after.find(['/', '?', '#']).unwrap_or(after.len())];
    // The last one: a password that was not encoded may hold an `@` itself.
    let at = authority.rfind('@');
    let user_info = at.map(|at| &authority[..at]);
    let rest = &after[at.map_or(0, |at| at + 1)..];
    Some(Url { before, user_info, rest })
}

/// A URL without host and port; `None` if it is no URL.
fn without_address(text: &str) -> Option<String> {
    let Url { before, user_info, rest } = url(text)?;
    let path = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
    Some(format!("{before}{}@{path}", user_info.unwrap_or("")))
}

/// A value as it may be shown: without the password of a URL, and not at all where the name says
/// that it is a secret.
fn masked(name: &str, value: &str) -> String {
    let upper = name.to_ascii_uppercase();
    if SECRET.iter().any(|word| upper.contains(word)) {
        return MASK.to_owned();
    }
    let Some(Url { before, user_info: Some(user_info), rest }) = url(value) else {
        return value.to_owned();
    };
    match user_info.split_once(':') {
        Some((user, _)) => format!("{before}{user}:{MASK}@{rest}"),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DatabaseTally, RunOutcome};
    use super::*;
    use crate::dyno::Size;
    use crate::name::DynoName;

    fn result(number: u32, environment: &[(&str, &str)]) -> RunResult {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        RunResult {
            dyno: DynoName::new("web", number),
            outcome: RunOutcome::Exited(0),
            stdout: "200".to_owned(),
            stderr: String::new(),
            truncated: false,
            elapsed: Duration::from_millis(50),
            size: Size::default(),
            environment: environment.iter().map(owned).collect(),
            database: Some(DatabaseTally { requests: 3, failures: 0 }),
        }
    }

    fn differing(change: impl Fn(&mut RunResult)) -> Vec<Aspect> {
        let mut second = result(2, &[("DYNO", "web.2")]);
        change(&mut second);
        RunComparison::of("x", vec![result(1, &[("DYNO", "web.1")]), second]).differing
    }

    #[test]
    fn each_aspect_is_found_and_nothing_else() {
        assert_eq!(differing(|_| ()), []);
        assert_eq!(differing(|run| run.outcome = RunOutcome::Exited(1)), [Aspect::Status]);
        assert_eq!(differing(|run| run.outcome = RunOutcome::TimedOut), [Aspect::Status]);
        assert_eq!(differing(|run| run.size = Size::Standard2X), [Aspect::Size]);
        assert_eq!(differing(|run| run.stdout.push('!')), [Aspect::Output]);
        assert_eq!(differing(|run| run.stderr.push('!')), [Aspect::Output]);
        assert_eq!(differing(|run| run.elapsed = Duration::from_secs(5)), [Aspect::Time]);
        assert_eq!(differing(|run| run.elapsed = Duration::from_millis(130)), []);
        let failures = |run: &mut RunResult| run.database.as_mut().unwrap().failures = 1;
        assert_eq!(differing(failures), [Aspect::Database]);
        let variable = |run: &mut RunResult| run.environment.push(("POOL".into(), "9".into()));
        assert_eq!(differing(variable), [Aspect::Environment]);
    }

    #[test]
    fn one_run_or_none_differs_in_nothing() {
        assert_eq!(RunComparison::of("x", vec![]).differing, []);
        assert_eq!(RunComparison::of("x", vec![result(1, &[])]).differing, []);
    }

    #[test]
    fn what_is_meant_to_differ_is_shown_last_and_does_not_count() {
        let of = |number, port, pool| {
            let url = format!("postgres://app:s3cret@127.77.0.{number}:{port}/shop");
            result(
                number,
                &[
                    ("DATABASE_URL", &url),
                    ("DYNO", &format!("web.{number}")),
                    ("PORT", port),
                    ("RAILS_POOL", pool),
                ],
            )
        };
        let comparison = RunComparison::of("x", vec![of(1, "5001", "5"), of(2, "5002", "7")]);
        assert_eq!(comparison.differing, [Aspect::Environment]);
        let names: Vec<_> =
            comparison.environment.iter().map(|d| (d.name.as_str(), d.expected)).collect();
        assert_eq!(
            names,
            [("RAILS_POOL", false), ("DATABASE_URL", true), ("DYNO", true), ("PORT", true)]
        );
        let json = serde_json::to_string(&comparison).unwrap();
        assert!(!json.contains("s3cret") && json.contains("postgres://app:***@127.77.0.1:5001"));
        assert_eq!(serde_json::from_str::<RunComparison>(&json).unwrap(), comparison);
    }

    #[test]
    fn another_database_or_user_is_no_mere_address() {
        let of = |url: &str| result(1, &[("DATABASE_URL", url)]);
        for (one, other) in [
            ("postgres://a:x@h:1/shop", "postgres://a:x@h:1/stock"),
            ("postgres://a:x@h:1/shop", "postgres://a:y@h:2/shop"),
            ("postgres://h:1/shop", "not a url"),
        ] {
            let comparison = RunComparison::of("x", vec![of(one), of(other)]);
            assert!(comparison.differs_in(Aspect::Environment), "{one} {other}");
        }
    }

    #[test]
    fn secrets_are_masked() {
        assert_eq!(masked("X", "redis://:pw@h:1"), "redis://:***@h:1");
        assert_eq!(masked("X", "postgres://u:p@w@h/d?x=1"), "postgres://u:***@h/d?x=1");
        assert_eq!(masked("X", "postgres://u@h/d"), "postgres://u@h/d");
        assert_eq!(masked("X", "a@b:c"), "a@b:c");
        assert_eq!(masked("Stripe_Api_Key", "sk"), "***");
        assert_eq!(masked("SECRET_KEY_BASE", "x"), "***");
    }
}
