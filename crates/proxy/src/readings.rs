//! A statement that comes again and again, if only its literals differ, need not be read again and
//! again.
//!
//! A small table, each place of which remembers the last text whose skeleton came twice in a row to
//! it: so statements that never come twice cost no allocation and push nothing out. Only statements
//! of which nothing hangs on a literal are kept.

use crate::journal::Reading;

/// Places; a power of two.
const PLACES: usize = 1024;

/// Longest text that is kept.
const TEXT_MAX: usize = 2048;

/// Where a text belongs: its skeleton.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(u64);

#[derive(Clone, Debug, Default)]
struct Slot {
    /// Of the last text that was not the one kept.
    last: u64,
    kept: Option<(Box<[u8]>, Reading)>,
}

/// What was read lately.
#[derive(Debug)]
pub(crate) struct Readings(Box<[Slot]>);

impl Default for Readings {
    fn default() -> Self {
        Self(vec![Slot::default(); PLACES].into())
    }
}

impl Readings {
    /// Where to look for a text; nowhere if it is long, or its skeleton in doubt.
    pub(crate) fn place(text: &[u8]) -> Option<Place> {
        if text.len() > TEXT_MAX {
            return None;
        }
        sql::skeleton(text).map(Place)
    }

    fn index(Place(hash): Place) -> usize {
        usize::try_from(hash % PLACES as u64).unwrap_or(0)
    }

    /// The reading of a text with the same skeleton.
    pub(crate) fn get(&self, place: Place, text: &[u8]) -> Option<Reading> {
        let (kept, reading) = self.0[Self::index(place)].kept.as_ref()?;
        sql::same_skeleton(kept, text).then_some(*reading)
    }

    /// Keeps a reading if its skeleton came twice in a row to its place.
    pub(crate) fn keep(&mut self, place: Place, text: &[u8], reading: Reading) {
        let slot = &mut self.0[Self::index(place)];
        if slot.last != place.0 {
            slot.last = place.0;
        } else if !hangs_on_literals(text, reading) {
            slot.kept = Some((text.into(), reading));
        }
    }
}

/// Whether other literals could give another reading: of what a statement leaves in its session
/// that is the name of a setting, and whether `set_config` lasts.
fn hangs_on_literals(text: &[u8], reading: Reading) -> bool {
    const SET_CONFIG: &[u8] = b"set_config";
    reading.effect.is_some()
        || text.windows(SET_CONFIG.len()).any(|word| word.eq_ignore_ascii_case(SET_CONFIG))
}

#[cfg(test)]
mod tests {
    use trace::Fingerprint;

    use super::*;

    fn reading(number: u64) -> Reading {
        Reading { fingerprint: Fingerprint(number), kind: sql::Kind::Select, effect: None }
    }

    fn keep(readings: &mut Readings, text: &str, number: u64) {
        if let Some(place) = Readings::place(text.as_bytes()) {
            readings.keep(place, text.as_bytes(), reading(number));
        }
    }

    fn get(readings: &Readings, text: &str) -> Option<Reading> {
        readings.get(Readings::place(text.as_bytes())?, text.as_bytes())
    }

    #[test]
    fn a_statement_is_kept_when_it_comes_twice() {
        let mut readings = Readings::default();
        keep(&mut readings, "select 1", 7);
        assert_eq!(get(&readings, "select 1"), None, "it may never come again");
        keep(&mut readings, "select 2", 7);
        assert_eq!(get(&readings, "select 33"), Some(reading(7)));
        assert_eq!(get(&readings, "select a"), None);
    }

    #[test]
    fn statements_that_never_come_twice_push_nothing_out() {
        let mut readings = Readings::default();
        keep(&mut readings, "select $1", 7);
        keep(&mut readings, "select $1", 7);
        for number in 0..10_000 {
            keep(&mut readings, &format!("select a{number}"), 1);
        }
        assert_eq!(get(&readings, "select $1"), Some(reading(7)));
    }

    #[test]
    fn what_hangs_on_literals_is_not_kept() {
        let mut readings = Readings::default();
        for _ in 0..3 {
            keep(&mut readings, "select Set_Config('a', 'b', 'true')", 7);
        }
        assert_eq!(get(&readings, "select Set_Config('a', 'b', 'true')"), None);
    }
}
