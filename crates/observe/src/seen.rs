//! The statements that were told to the recording, and how often each was seen at work.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use trace::{Clock, Event, Fingerprint, Sink, StatementSeen};

/// An app that makes up statements cannot make memory grow beyond so many.
const MOST_STATEMENTS: usize = 20_000;
/// Longer texts are told, but not kept: they are not asked for their plans.
const LONGEST_KEPT: usize = 8 << 10;

#[derive(Debug)]
struct Known {
    /// Without literals.
    text: Option<Box<str>>,
    /// Samples of activity in which a backend executed it.
    samples: u64,
}

/// Shared by sampling and plans.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    statements: Mutex<HashMap<Fingerprint, Known>>,
}

impl Seen {
    /// The fingerprint of a statement, which is told to `sink` if it is new.
    pub(crate) fn meet(&self, text: &str, clock: Clock, sink: &dyn Sink) -> Fingerprint {
        let fingerprint = Fingerprint(sql::fingerprint(text));
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        if statements.len() >= MOST_STATEMENTS || statements.contains_key(&fingerprint) {
            return fingerprint;
        }
        let text: Box<str> = sql::normalise(text).into();
        let known = (text.len() <= LONGEST_KEPT).then(|| text.clone());
        statements.insert(fingerprint, Known { text: known, samples: 0 });
        let seen = StatementSeen { at: clock.now(), fingerprint, text };
        sink.record(Event::StatementSeen(Box::new(seen)));
        fingerprint
    }

    /// A backend was executing it.
    pub(crate) fn at_work(&self, fingerprint: Fingerprint) {
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = statements.get_mut(&fingerprint) {
            known.samples += 1;
        }
    }

    /// Texts of the statements seen most often at work, the most frequent first.
    pub(crate) fn busiest(&self) -> Vec<Box<str>> {
        let statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        let mut busiest: Vec<(u64, &Box<str>)> = statements
            .values()
            .filter(|known| known.samples > 0)
            .filter_map(|known| Some((known.samples, known.text.as_ref()?)))
            .collect();
        // Of equals, by text: the same app gives the same order.
        busiest.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        busiest.into_iter().map(|(_, text)| text.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use trace::{Clock, NoSink};

    use super::Seen;

    #[test]
    fn the_busiest_come_first_without_their_data() {
        let (seen, clock) = (Seen::default(), Clock::start());
        let one = seen.meet("SELECT 1 FROM a", clock, &NoSink);
        let two = seen.meet("SELECT 'secret' FROM b", clock, &NoSink);
        seen.meet("SELECT 1 FROM c", clock, &NoSink);
        assert_eq!(seen.meet("select 2 from A", clock, &NoSink), one);
        seen.at_work(one);
        seen.at_work(two);
        seen.at_work(two);
        assert_eq!(seen.busiest(), ["SELECT $1 FROM b".into(), "SELECT $1 FROM a".into()]);
    }
}
