//! How many server connections are opened at once.
//!
//! PostgreSQL's postmaster forks one process after the other, and each that logs in costs far more
//! than a query. So growth begins with two at a time; when all of a batch are open the next may be
//! twice as large, and after a pause it begins anew.

use trace::Micros;

/// How many are opened at once in the beginning, and at most.
const FIRST: u32 = 2;
const MOST: u32 = 32;

/// Growth begins anew after so long without an opening.
const PAUSE: Micros = Micros::from_secs(1);

/// The connections that are being opened.
#[derive(Debug)]
pub(super) struct Opening {
    now: u32,
    most: u32,
    /// Opened since `most` was raised.
    done: u32,
    last: Micros,
}

impl Default for Opening {
    fn default() -> Self {
        Self { now: 0, most: FIRST, done: 0, last: Micros::ZERO }
    }
}

impl Opening {
    /// One begins.
    pub(super) fn begins(&mut self) {
        self.now += 1;
    }

    /// One is open.
    pub(super) fn succeeds(&mut self, at: Micros) {
        self.now = self.now.saturating_sub(1);
        self.last = at;
        self.done += 1;
        if self.done >= self.most {
            self.most = (self.most * 2).min(MOST);
            self.done = 0;
        }
    }

    /// One could not be opened.
    pub(super) fn fails(&mut self) {
        self.now = self.now.saturating_sub(1);
        (self.most, self.done) = (FIRST, 0);
    }

    /// Time passes.
    pub(super) fn rest(&mut self, at: Micros) {
        if self.now == 0 && at - self.last > PAUSE {
            (self.most, self.done) = (FIRST, 0);
        }
    }

    /// How many connections can be had while `open` are open or being opened.
    pub(super) fn reach(&self, open: u32) -> u32 {
        open.saturating_sub(self.now).saturating_add(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_at_a_time_then_four_then_eight() {
        let mut opening = Opening::default();
        let mut reached = vec![opening.reach(0)];
        let mut open = 0;
        for batch in [2, 4, 8] {
            for _ in 0..batch {
                opening.begins();
                open += 1;
            }
            assert_eq!(opening.reach(open), *reached.last().unwrap(), "no more than that at once");
            for _ in 0..batch {
                opening.succeeds(Micros::from_secs(1));
            }
            reached.push(opening.reach(open));
        }
        assert_eq!(reached, [2, 2 + 4, 6 + 8, 14 + 16]);
        opening.rest(Micros::from_millis(1900));
        assert_eq!(opening.reach(open), 30);
        opening.rest(Micros::from_millis(2100));
        assert_eq!(opening.reach(open), 16);
    }

    #[test]
    fn after_a_failure_it_begins_anew() {
        let mut opening = Opening::default();
        for _ in 0..2 {
            opening.begins();
        }
        opening.succeeds(Micros::ZERO);
        opening.fails();
        assert_eq!(opening.reach(1), 3);
    }
}
