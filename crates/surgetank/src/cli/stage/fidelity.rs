//! How far staging is from production, and whether that matters for what was found there.

use std::collections::BTreeMap;
use std::time::Duration;

use diagnose::finding::Cause;
use platform::Size;

use super::production::Production;

/// What staging turned out to be.
#[derive(Debug, Default)]
pub(crate) struct Actual {
    pub(crate) formation: BTreeMap<String, u32>,
    /// The size of the dynos of each type, where they have no more than that.
    pub(crate) sizes: BTreeMap<String, Size>,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) round_trip: Option<Duration>,
    /// Config vars that are set.
    pub(crate) config: Vec<String>,
    /// Rows of each table, as PostgreSQL estimates them.
    pub(crate) tables: BTreeMap<String, u64>,
}

/// One thing that is compared.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) production: String,
    pub(crate) staging: String,
    pub(crate) matters: Matters,
}

/// Whether a difference matters for the finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matters {
    /// There is none.
    Same,
    /// It bears on what the finding is about.
    Yes,
    /// It does not.
    No,
    /// There is no finding to ask, or its cause is unknown.
    Unknown,
}

impl Matters {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Yes => "YES",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// What a thing that is compared bears on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aspect {
    /// How many connections there may be, and who wants them.
    Slots,
    /// How long a statement takes.
    Execution,
    /// When a wait is given up.
    Patience,
    /// How long locks and transactions are held.
    Holding,
    /// The program itself.
    Version,
}

/// What bears on a cause; nothing if that is not known.
fn bears_on(cause: Cause) -> Option<&'static [Aspect]> {
    Some(match cause {
        Cause::SlotExhaustion => &[Aspect::Slots, Aspect::Holding],
        // What takes long holds a connection long: both what makes it long and what is held.
        Cause::LongStatement => &[Aspect::Execution, Aspect::Slots, Aspect::Patience],
        Cause::MissingIndex => &[Aspect::Execution],
        Cause::LockPileUp => &[Aspect::Holding, Aspect::Patience],
        Cause::IdleInTransaction => &[Aspect::Holding, Aspect::Patience, Aspect::Slots],
        Cause::ServerDown => &[Aspect::Version],
        Cause::Unknown => return None,
    })
}

fn aspect_of_setting(name: &str) -> Aspect {
    match name {
        "max_connections" | "superuser_reserved_connections" | "reserved_connections" => {
            Aspect::Slots
        }
        "statement_timeout"
        | "lock_timeout"
        | "deadlock_timeout"
        | "idle_in_transaction_session_timeout" => Aspect::Patience,
        "default_transaction_isolation" => Aspect::Holding,
        "server_version" | "shared_preload_libraries" => Aspect::Version,
        _ => Aspect::Execution,
    }
}

/// Everything that can be compared, what matters first.
pub(crate) fn compare(production: &Production, actual: &Actual) -> Vec<Row> {
    let finding = production.diagnosis.as_ref().and_then(|diagnosis| diagnosis.top());
    let known = finding.and_then(|finding| bears_on(finding.cause));
    let row = |what: &str, aspect: Aspect, there: Option<String>, here: Option<String>| {
        let (there, here) = (there.unwrap_or_default(), here.unwrap_or_default());
        let matters = match known {
            _ if there == here => Matters::Same,
            Some(aspects) if aspects.contains(&aspect) => Matters::Yes,
            Some(_) => Matters::No,
            None => Matters::Unknown,
        };
        Row { what: what.to_owned(), production: there, staging: here, matters }
    };
    let mut rows = Vec::new();
    for (name, dynos) in &production.formation {
        let here = actual.formation.get(name).copied().unwrap_or(0);
        let (there, here) = (dynos.quantity.to_string(), here.to_string());
        rows.push(row(&format!("{name} dynos"), Aspect::Slots, Some(there), Some(here)));
        if let Some(size) = &dynos.size {
            // By one spelling, where it is a size that we know.
            let there = size.parse().map_or_else(|_| size.clone(), |size: Size| size.to_string());
            let here = actual.sizes.get(name).map_or("as this machine".to_owned(), Size::to_string);
            rows.push(row(&format!("size of {name}"), Aspect::Execution, Some(there), Some(here)));
        }
    }
    for (name, value) in &production.settings {
        let here = actual.settings.get(name).cloned();
        rows.push(row(name, aspect_of_setting(name), Some(value.clone()), here));
    }
    if let Some(there) = production.round_trip {
        let here = actual.round_trip.map(|here| format!("{here:.1?}"));
        rows.push(row("round trip", Aspect::Holding, Some(format!("{there:.1?}")), here));
    }
    for var in production.config.iter().filter(|var| var.required) {
        let here = actual.config.contains(&var.name).then(|| "set".to_owned());
        rows.push(row(&var.name, Aspect::Slots, Some("set".to_owned()), here));
    }
    for (table, there) in largest(&production.tables) {
        let here = actual.tables.get(table).copied();
        let alike = here.is_some_and(|here| is_alike(*there, here));
        let (there, here) = (rough(*there), here.map(rough));
        let here = if alike { Some(there.clone()) } else { here };
        rows.push(row(&format!("rows of {table}"), Aspect::Execution, Some(there), here));
    }
    let rank = |row: &Row| match row.matters {
        Matters::Yes => 0,
        Matters::Unknown => 1,
        Matters::No => 2,
        Matters::Same => 3,
    };
    rows.sort_by_key(rank);
    rows
}

/// Tables whose rows are compared.
const TABLES: usize = 5;

fn largest(tables: &BTreeMap<String, u64>) -> Vec<(&String, &u64)> {
    let mut tables: Vec<_> = tables.iter().filter(|(_, rows)| **rows > 0).collect();
    tables.sort_by_key(|(_, rows)| std::cmp::Reverse(**rows));
    tables.truncate(TABLES);
    tables
}

/// Whether two counts of rows are of one size: within a fifth.
fn is_alike(there: u64, here: u64) -> bool {
    there.abs_diff(here) <= there / 5
}

fn rough(rows: u64) -> String {
    match rows {
        0..10_000 => rows.to_string(),
        10_000..10_000_000 => format!("{} thousand", rows / 1000),
        _ => format!("{} million", rows / 1_000_000),
    }
}

/// The table for a terminal.
pub(crate) fn table(production: &Production, rows: &[Row]) -> String {
    let finding = production.diagnosis.as_ref().and_then(|diagnosis| diagnosis.top());
    let about = match finding {
        Some(finding) => format!("for {}: {}", finding.cause.name(), finding.summary),
        None if production.diagnosis.is_some() => "no failure in it to compare for".to_owned(),
        None => "no finding to compare for".to_owned(),
    };
    let mut lines = vec![format!("Fidelity to {} ({about})", production.source)];
    let head = ["", "production", "staging", "matters"].map(str::to_owned);
    let body = rows.iter().map(|row| {
        let or_none = |text: &String| if text.is_empty() { "–".to_owned() } else { text.clone() };
        [
            row.what.clone(),
            or_none(&row.production),
            or_none(&row.staging),
            row.matters.word().into(),
        ]
    });
    let cells: Vec<[String; 4]> = std::iter::once(head).chain(body).collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max();
    let widths = [0, 1, 2].map(|column| width(column).unwrap_or(0));
    for [what, there, here, matters] in &cells {
        let [a, b, c] = widths;
        lines.push(format!("  {what:<a$}  {there:<b$}  {here:<c$}  {matters}"));
    }
    lines.extend(production.notes.iter().map(|note| format!("  note: {note}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::production::{ConfigVar, Dynos};
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_matters_comes_first_and_what_is_the_same_last() {
        let mut production = Production {
            source: "there".to_owned(),
            settings: settings(&[("max_connections", "120"), ("work_mem", "4MB")]),
            round_trip: Some(Duration::from_micros(1500)),
            tables: [("public.orders".to_owned(), 1_200_000), ("public.old".to_owned(), 0)].into(),
            config: vec![ConfigVar { name: "KEY".to_owned(), value: None, required: true }],
            ..Production::default()
        };
        production.formation.insert("web".to_owned(), Dynos { quantity: 2, size: None });
        let mut actual = Actual {
            formation: [("web".to_owned(), 2)].into(),
            settings: settings(&[("max_connections", "20"), ("work_mem", "4MB")]),
            tables: [("public.orders".to_owned(), 1_100_000)].into(),
            ..Actual::default()
        };
        let told = |production: &Production, actual: &Actual| {
            let rows = compare(production, actual);
            rows.into_iter().map(|row| (row.what, row.matters)).collect::<Vec<_>>()
        };
        let own = |what: &str, matters| (what.to_owned(), matters);
        // Nothing is known of the finding.
        assert_eq!(told(&production, &actual)[0], own("max_connections", Matters::Unknown));
        production.diagnosis = Some(of_slots());
        assert_eq!(
            told(&production, &actual),
            [
                own("max_connections", Matters::Yes),
                own("round trip", Matters::Yes),
                own("KEY", Matters::Yes),
                own("web dynos", Matters::Same),
                own("work_mem", Matters::Same),
                own("rows of public.orders", Matters::Same),
            ]
        );
        actual.tables.clear();
        assert!(told(&production, &actual).contains(&own("rows of public.orders", Matters::No)));
        let table = table(&production, &compare(&production, &actual));
        let line = |what: &str| table.lines().find(|line| line.trim_start().starts_with(what));
        let cells: Vec<_> = line("max_connections").unwrap().split_whitespace().collect();
        assert_eq!(cells, ["max_connections", "120", "20", "YES"], "{table}");
        assert!(table.starts_with("Fidelity to there (for slot_exhaustion: "), "{table}");
    }

    /// The diagnosis of a recording in which one dyno has all the slots.
    fn of_slots() -> diagnose::Diagnosis {
        use testkit::golden::{Story, ms};
        let mut story = Story::new();
        story.setting("max_connections", "10");
        story.setting("superuser_reserved_connections", "3");
        let (hog, other) = (story.dyno("web.1"), story.dyno("web.2"));
        for _ in 0..7 {
            story.connection(hog, ms(0), ms(60_000));
        }
        for at in 1..40 {
            story.refused_connect(other, ms(at * 1000));
        }
        diagnose::diagnose(&recording::Recording::from_events(story.events()))
    }
}
