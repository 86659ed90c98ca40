//! A statement that comes again and again, if only its literals differ, need not be read again and
//! again.
//!
//! A small table, each place of which remembers the last text whose skeleton came twice in a row to
//! it: so statements that never come twice cost no allocation and push nothing out. Only statements
//! of which nothing hangs on a literal are kept.

use xxhash_rust::xxh3::xxh3_64;

use crate::journal::Reading;

/// Places; a power of two.
const PLACES: usize = 1024;

/// Longest text that is kept.
const TEXT_MAX: usize = 2048;

/// Where a statement belongs that is not kept yet: the hash of its skeleton.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(u64);

/// What the table has for a text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    /// The reading of a text with the same skeleton.
    Reading(Reading),
    /// Nothing yet; a reading may be kept here.
    Nothing(Place),
    /// Nothing, and never will: it is long, or its skeleton in doubt.
    Never,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    /// The last skeleton that was not the one kept.
    last: u64,
    kept: Option<(Box<[u8]>, Reading)>,
}

/// What was read lately.
#[derive(Debug)]
pub(crate) struct Readings {
    slots: Box<[Slot]>,
    /// The skeleton at hand; kept for its memory.
    skeleton: Vec<u8>,
}

impl Default for Readings {
    fn default() -> Self {
        Self { slots: vec![Slot::default(); PLACES].into(), skeleton: Vec::new() }
    }
}

impl Readings {
    /// Looks a text up.
    pub(crate) fn find(&mut self, text: &[u8]) -> Found {
        if text.len() > TEXT_MAX || !sql::skeleton(text, &mut self.skeleton) {
            return Found::Never;
        }
        let place = Place(xxh3_64(&self.skeleton));
        match &self.slots[index(place)].kept {
            Some((kept, reading)) if **kept == *self.skeleton => Found::Reading(*reading),
            _ => Found::Nothing(place),
        }
    }

    /// Keeps a reading if its skeleton came twice in a row to its place.
    pub(crate) fn keep(&mut self, place: Place, text: &[u8], reading: Reading) {
        let slot = &mut self.slots[index(place)];
        if slot.last != place.0 {
            slot.last = place.0;
        } else if !hangs_on_literals(text, reading) && sql::skeleton(text, &mut self.skeleton) {
            slot.kept = Some((self.skeleton.as_slice().into(), reading));
        }
    }
}

fn index(Place(hash): Place) -> usize {
    usize::try_from(hash % PLACES as u64).unwrap_or(0)
}

/// Whether other literals could give another reading: of what a statement leaves in its session
/// that is the name of a setting, and whether `set_config` lasts.
fn hangs_on_literals(text: &[u8], reading: Reading) -> bool {
    const SET_CONFIG: &[u8] = b"set_config";
    !reading.effects.is_empty()
        || text.windows(SET_CONFIG.len()).any(|word| word.eq_ignore_ascii_case(SET_CONFIG))
}

#[cfg(test)]
mod tests {
    use trace::Fingerprint;

    use super::*;

    fn reading(number: u64) -> Reading {
        Reading {
            fingerprint: Fingerprint(number),
            kind: sql::Kind::Select,
            effects: sql::Effects::NONE,
        }
    }

    fn keep(readings: &mut Readings, text: &str, number: u64) {
        if let Found::Nothing(place) = readings.find(text.as_bytes()) {
            readings.keep(place, text.as_bytes(), reading(number));
        }
    }

    fn get(readings: &mut Readings, text: &str) -> Option<Reading> {
        match readings.find(text.as_bytes()) {
            Found::Reading(reading) => Some(reading),
            Found::Nothing(_) | Found::Never => None,
        }
    }

    #[test]
    fn a_statement_is_kept_when_it_comes_twice() {
        let mut readings = Readings::default();
        keep(&mut readings, "select 1", 7);
        assert_eq!(get(&mut readings, "select 1"), None, "it may never come again");
        keep(&mut readings, "select 2", 7);
        assert_eq!(get(&mut readings, "select 33"), Some(reading(7)));
        assert_eq!(get(&mut readings, "select a"), None);
    }

    #[test]
    fn statements_that_never_come_twice_push_nothing_out() {
        let mut readings = Readings::default();
        keep(&mut readings, "select $1", 7);
        keep(&mut readings, "select $1", 7);
        for number in 0..10_000 {
            keep(&mut readings, &format!("select a{number}"), 1);
        }
        assert_eq!(get(&mut readings, "select $1"), Some(reading(7)));
    }

    #[test]
    fn what_hangs_on_literals_is_not_kept() {
        let mut readings = Readings::default();
        for _ in 0..3 {
            keep(&mut readings, "select Set_Config('a', 'b', 'true')", 7);
        }
        assert_eq!(get(&mut readings, "select Set_Config('a', 'b', 'true')"), None);
    }
}
