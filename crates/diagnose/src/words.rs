//! How numbers and names are said in evidence: one way for all cause cards.

use trace::{Fingerprint, Micros};

use crate::finding::{Evidence, StatementRef};
use crate::story::Story;

/// "412 of 420".
pub(crate) fn of(part: impl std::fmt::Display, whole: impl std::fmt::Display) -> String {
    format!("{part} of {whole}")
}

/// "84 %".
pub(crate) fn percent(share: f64) -> String {
    // A sum of nothing is −0 in floating point; people know one zero only.
    let percent = share * 100.0 + 0.0;
    if percent > 0.0 && percent < 1.0 { "below 1 %".to_owned() } else { format!("{percent:.0} %") }
}

/// "1.4 s" or "37 ms".
pub(crate) fn span(time: Micros) -> String {
    if time >= Micros::from_secs(1) {
        format!("{:.1} s", time.as_secs_f64())
    } else if time >= Micros::from_millis(10) {
        format!("{:.0} ms", time.as_millis_f64())
    } else {
        format!("{:.1} ms", time.as_millis_f64())
    }
}

/// "p = 0.003", never "p = 0".
pub(crate) fn p_value(p: f64) -> String {
    if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") }
}

/// A statement on one line, cut where it gets long.
pub(crate) fn short(statement: &StatementRef) -> String {
    const MOST: usize = 100;
    let line = statement.text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MOST {
        return line;
    }
    line.chars().take(MOST).chain(['…']).collect()
}

/// One measured statement.
pub(crate) fn evidence(
    claim: impl Into<String>,
    measured: impl Into<String>,
    source: impl Into<String>,
) -> Evidence {
    Evidence { claim: claim.into(), measured: measured.into(), source: source.into() }
}

impl Story<'_> {
    /// "12.3 s to 40.1 s of the recording".
    pub(crate) fn between(&self, from: Micros, to: Micros) -> String {
        let into = |at: Micros| at.since(self.from).as_secs_f64();
        format!("{:.1} s to {:.1} s of the recording", into(from), into(to))
    }

    /// The statement by name; `None` for "no statement".
    pub(crate) fn statement(&self, fingerprint: Fingerprint) -> Option<StatementRef> {
        if fingerprint == Fingerprint::NONE {
            return None;
        }
        let text = match self.statements.get(&fingerprint) {
            Some(text) => (*text).to_owned(),
            None => format!("(text not recorded, fingerprint {:016x})", fingerprint.0),
        };
        Some(StatementRef { fingerprint, text })
    }
}
