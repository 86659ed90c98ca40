//! Statements whose text comes again and again need not be read again and again.
//!
//! A small table, each place of which remembers the last text that came twice in a row to it: apps
//! that send parameters apart from the statement find theirs here, and statements with data in
//! their text, which never come twice, cost no allocation and push nothing out.

use xxhash_rust::xxh3::xxh3_64;

use crate::journal::Reading;

/// Places; a power of two.
const PLACES: usize = 1024;

/// Longest text that is kept.
const TEXT_MAX: usize = 2048;

/// Where a text belongs.
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
    pub(crate) fn place(text: &[u8]) -> Place {
        Place(xxh3_64(text))
    }

    fn index(Place(hash): Place) -> usize {
        usize::try_from(hash % PLACES as u64).unwrap_or(0)
    }

    /// The reading of this very text, byte for byte.
    pub(crate) fn get(&self, place: Place, text: &[u8]) -> Option<Reading> {
        let (kept, reading) = self.0[Self::index(place)].kept.as_ref()?;
        (**kept == *text).then_some(*reading)
    }

    /// Keeps a reading if its text came twice in a row to its place.
    pub(crate) fn keep(&mut self, place: Place, text: &[u8], reading: Reading) {
        let slot = &mut self.0[Self::index(place)];
        if slot.last != place.0 {
            slot.last = place.0;
        } else if text.len() <= TEXT_MAX {
            slot.kept = Some((text.into(), reading));
        }
    }
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

    #[test]
    fn a_text_is_kept_when_it_comes_twice() {
        let mut readings = Readings::default();
        let text = b"select $1";
        let place = Readings::place(text);
        readings.keep(place, text, reading(7));
        assert_eq!(readings.get(place, text), None, "it may never come again");
        readings.keep(place, text, reading(7));
        assert_eq!(readings.get(place, text), Some(reading(7)));
        assert_eq!(readings.get(place, b"select $2"), None, "another text in the same place");
    }

    #[test]
    fn texts_that_never_come_twice_push_nothing_out() {
        let mut readings = Readings::default();
        let text = b"select $1";
        let place = Readings::place(text);
        readings.keep(place, text, reading(7));
        readings.keep(place, text, reading(7));
        for number in 0..100_000 {
            let other = format!("select {number}");
            readings.keep(Readings::place(other.as_bytes()), other.as_bytes(), reading(1));
        }
        assert_eq!(readings.get(place, text), Some(reading(7)));
    }
}
