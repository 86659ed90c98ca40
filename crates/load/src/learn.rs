//! From a recording to a model: what was requested, how often, and how evenly.

use std::collections::{BTreeMap, HashMap};

use recording::Recording;
use trace::{Event, Fingerprint, HttpServed, Micros, RequestKind};

use crate::model::{HttpClass, PathCount, Range, SqlClass, Values, Workload};
use crate::template::templated;
use crate::{Error, Model};

/// Most classes of a model; what is rarer is left out.
const CLASSES: usize = 200;
/// Most paths that are kept as they were observed, for one class.
const PATHS: usize = 1_000;
/// Most different paths that are counted while learning, for one class.
const PATHS_COUNTED: usize = 100_000;

/// Learns the workload of a recording: HTTP requests as the router saw them, and statements as the
/// proxy did. The mean rate of the whole recording becomes the model's rate.
///
/// A recording holds no values of statements: their parameters are for the caller to fill in
/// ([`SqlClass::parameters`]). Statements are single: what belonged to one transaction does not in
/// the model.
///
/// # Errors
/// [`Error::NothingToLearn`] if the recording has neither.
pub fn learn(recording: &Recording) -> Result<Model, Error> {
    from_events(recording.events(), |fingerprint| recording.statement(fingerprint))
}

fn from_events<'a>(
    events: &'a [Event],
    statement: impl Fn(Fingerprint) -> Option<&'a str>,
) -> Result<Model, Error> {
    let mut http = HttpLearner::default();
    let mut sql = SqlLearner::default();
    for event in events {
        match event {
            Event::HttpServed(served) => http.take(served),
            Event::Request(request) => match request.kind {
                RequestKind::Simple | RequestKind::Extended => {
                    *sql.counts.entry(request.statement).or_default() += 1;
                    sql.arrivals.push((request.arrived, request.statement));
                }
                RequestKind::Connect | RequestKind::Function => {}
            },
            _ => {}
        }
    }
    let model = Model::new(http.workload(), sql.workload(statement));
    if model.http.is_none() && model.sql.is_none() {
        return Err(Error::NothingToLearn);
    }
    Ok(model)
}

// === HTTP ===

#[derive(Default)]
struct HttpLearner {
    arrivals: Vec<Micros>,
    classes: BTreeMap<(Box<str>, String), SeenClass>,
}

#[derive(Default)]
struct SeenClass {
    count: u64,
    /// One for each value of the template; `None` once a value was not a number.
    ranges: Vec<Option<Range>>,
    paths: HashMap<Box<str>, u64>,
}

impl HttpLearner {
    fn take(&mut self, served: &HttpServed) {
        self.arrivals.push(served.at - served.service);
        let found = templated(&served.path);
        let class = self.classes.entry((served.method.clone(), found.template)).or_default();
        if class.count == 0 {
            class.ranges = found.values.iter().map(|value| value.map(Range::only)).collect();
        }
        for (range, value) in class.ranges.iter_mut().zip(&found.values) {
            *range = range.zip(*value).map(|(range, value)| range.with(value));
        }
        class.count += 1;
        if class.paths.len() < PATHS_COUNTED || class.paths.contains_key(&served.path) {
            *class.paths.entry(served.path.clone()).or_default() += 1;
        }
    }

    fn workload(self) -> Option<Workload<HttpClass>> {
        let total = u64::try_from(self.arrivals.len()).ok().filter(|total| *total > 0)?;
        let mut classes: Vec<_> = self.classes.into_iter().collect();
        classes.sort_by(|(a_name, a), (b_name, b)| (b.count, a_name).cmp(&(a.count, b_name)));
        classes.truncate(CLASSES);
        let class = |((method, template), seen): ((Box<str>, String), SeenClass)| HttpClass {
            method: method.into(),
            template,
            share: crate::result::share(seen.count, total),
            values: seen.values(),
        };
        let classes = classes.into_iter().map(class).collect();
        let (rate, dispersion) = rate_and_dispersion(self.arrivals);
        Some(Workload { rate, dispersion, classes })
    }
}

impl SeenClass {
    /// Numbers that hardly repeat are a range; what repeats is kept with its popularity.
    fn values(self) -> Values {
        if self.ranges.is_empty() {
            return Values::Fixed;
        }
        let distinct = self.paths.len();
        let repeats = u64::try_from(distinct).is_ok_and(|distinct| distinct * 2 <= self.count);
        if let Some(ranges) = self.ranges.into_iter().collect::<Option<Vec<Range>>>()
            && (!repeats || distinct > PATHS)
        {
            return Values::Ranges(ranges);
        }
        let mut paths: Vec<PathCount> = self
            .paths
            .into_iter()
            .map(|(path, count)| PathCount { path: path.into(), count })
            .collect();
        paths.sort_by(|a, b| (b.count, &a.path).cmp(&(a.count, &b.path)));
        paths.truncate(PATHS);
        Values::Observed(paths)
    }
}

impl Range {
    fn only(value: i64) -> Self {
        Self { from: value, to: value }
    }

    fn with(self, value: i64) -> Self {
        Self { from: self.from.min(value), to: self.to.max(value) }
    }
}

// === SQL ===

#[derive(Default)]
struct SqlLearner {
    arrivals: Vec<(Micros, Fingerprint)>,
    counts: BTreeMap<Fingerprint, u64>,
}

impl SqlLearner {
    fn workload<'a>(
        self,
        statement: impl Fn(Fingerprint) -> Option<&'a str>,
    ) -> Option<Workload<SqlClass>> {
        let mut counts: Vec<(Fingerprint, &str, u64)> = self
            .counts
            .iter()
            .filter_map(|(fingerprint, count)| {
                statement(*fingerprint).map(|text| (*fingerprint, text, *count))
            })
            .filter(|(_, text, _)| stands_alone(text))
            .collect();
        counts.sort_by(|a, b| (b.2, a.0).cmp(&(a.2, b.0)));
        counts.truncate(CLASSES);
        let total: u64 = counts.iter().map(|(_, _, count)| count).sum();
        if total == 0 {
            return None;
        }
        let kept = |fingerprint| counts.iter().any(|(kept, _, _)| *kept == fingerprint);
        let arrivals = self.arrivals.iter().filter(|(_, of)| kept(*of)).map(|(at, _)| *at);
        let (rate, dispersion) = rate_and_dispersion(arrivals.collect());
        let class = |&(_, text, count): &(Fingerprint, &str, u64)| SqlClass {
            text: text.to_owned(),
            share: crate::result::share(count, total),
            parameters: vec![None; parameters(text)],
        };
        Some(Workload { rate, dispersion, classes: counts.iter().map(class).collect() })
    }
}

/// Whether a statement makes sense outside the session it was seen in.
fn stands_alone(text: &str) -> bool {
    use sql::Kind::{Delete, Insert, Merge, Select, Update};
    matches!(sql::read(text).kind, Select | Insert | Update | Delete | Merge)
}

/// The highest `$n` of a text without literals.
fn parameters(text: &str) -> usize {
    let number = |after: &str| {
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        after[..digits].parse::<u16>().ok().map(usize::from)
    };
    text.split('$').skip(1).filter_map(number).max().unwrap_or(0)
}

// === arrivals ===

/// Mean rate per second, and index of dispersion of the counts.
///
/// Dispersion is estimated by the Allan factor, half the mean square of the difference between
/// neighbouring counts over their mean (Lowen and Teich, Fractal-Based Point Processes, 3.4): it is
/// 1 for a Poisson process, and unlike variance over mean it does not take a slow change of the
/// rate for bursts. What cannot be told from 1 at three standard errors is 1.
fn rate_and_dispersion(mut arrivals: Vec<Micros>) -> (f64, f64) {
    /// Least number of windows.
    const WINDOWS: f64 = 30.0;
    arrivals.sort_unstable();
    let (Some(first), Some(last)) = (arrivals.first(), arrivals.last()) else { return (0.0, 1.0) };
    let span = last.since(*first).as_secs_f64();
    if span == 0.0 {
        return (crate::result::share(u64::try_from(arrivals.len()).unwrap_or(u64::MAX), 1), 1.0);
    }
    let rate =
        crate::result::share(u64::try_from(arrivals.len() - 1).unwrap_or(u64::MAX), 1) / span;
    let width =
        Micros::from_duration(std::time::Duration::from_secs_f64((span / WINDOWS).min(1.0)));
    let Some(windows) = last.since(*first).0.checked_div(width.0) else { return (rate, 1.0) };
    let mut counts = vec![0.0_f64; usize::try_from(windows).unwrap_or(0)];
    for at in &arrivals {
        let window = usize::try_from(at.since(*first).0 / width.0).unwrap_or(usize::MAX);
        // The last window is cut off by the end of the recording, unless it is whole.
        if let Some(count) = counts.get_mut(window) {
            *count += 1.0;
        }
    }
    (rate, allan_factor(&counts))
}

fn allan_factor(counts: &[f64]) -> f64 {
    let mean = |sum: f64, of: usize| u32::try_from(of).map_or(0.0, |of| sum / f64::from(of));
    let level = mean(counts.iter().sum(), counts.len());
    if counts.len() < 3 || level == 0.0 {
        return 1.0;
    }
    let squares = counts.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum();
    let factor = mean(squares, counts.len() - 1) / (2.0 * level);
    // Variance of the factor under Poisson, neighbouring differences sharing a count.
    let error = mean(3.0, counts.len() - 1).sqrt();
    if (factor - 1.0).abs() <= 3.0 * error { 1.0 } else { factor }
}

#[cfg(test)]
mod tests;
