//! PostgreSQL cannot be reached: since when, why, and when it is tried again.

use std::time::Duration;

use trace::{Micros, Outcome, SqlState};

use crate::Endpoint;
use crate::answer::Answer;
use crate::backend::OpenError;

/// The pause after the first failure.
const PAUSE_MIN: Micros = Micros::from_millis(50);

/// The pauses double up to this.
const PAUSE_MAX: Micros = Micros::from_secs(1);

/// From the first connection that could not be opened to the first that could.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    since: Micros,
    pause: Micros,
    /// Not before this is it tried again.
    pub(super) retry: Micros,
    /// What was said last.
    error: OpenError,
}

impl Outage {
    /// The first failure.
    pub(super) fn begin(error: OpenError, now: Micros) -> Self {
        let mut outage = Self { since: now, pause: Micros::ZERO, retry: now, error: error.clone() };
        outage.goes_on(error, now);
        outage
    }

    /// Another failure. Of several attempts that were under way together only the first makes the
    /// pause longer.
    pub(super) fn goes_on(&mut self, error: OpenError, now: Micros) {
        self.error = error;
        if now >= self.retry {
            self.pause = Micros(self.pause.0 * 2).clamp(PAUSE_MIN, PAUSE_MAX);
            // Many proxies of one server must not all come at the same moment.
            let jitter = Micros(u64::from(rand::random::<u8>()) * self.pause.0 / 512);
            self.retry = now + self.pause + jitter;
        }
    }

    /// How a request ends that has waited in vain.
    pub(crate) fn outcome(&self) -> Outcome {
        match &self.error {
            OpenError::Refused(code, _) => Outcome::Error(*code),
            OpenError::Unreachable(_) | OpenError::Impossible(_) => Outcome::ServerUnreachable,
        }
    }

    /// What its client is told.
    pub(crate) fn answer(&self, endpoint: &Endpoint, now: Micros) -> Answer {
        let (code, words) = match &self.error {
            OpenError::Refused(code, words) => (*code, words.clone()),
            OpenError::Unreachable(words) | OpenError::Impossible(words) => {
                (SqlState::CONNECTION_FAILURE, words.clone())
            }
        };
        let lasted = Duration::from_millis((now - self.since).0 / 1000);
        let second = self.since.0 / 1_000_000;
        let (hour, minute, second) = (second / 3600 % 24, second / 60 % 60, second % 60);
        let mut answer = Answer::new(
            code,
            format!(
                "surgetank: PostgreSQL at {endpoint} has not been reachable for {lasted:?} \
                 (since {hour:02}:{minute:02}:{second:02} UTC)"
            ),
        );
        answer.hint = words;
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> OpenError {
        OpenError::Unreachable("Connection refused".to_owned())
    }

    #[test]
    fn pauses_double_and_concurrent_failures_count_once() {
        let mut now = Micros::from_secs(1);
        let mut outage = Outage::begin(down(), now);
        for expected in [50, 100, 200, 400, 800, 1000, 1000] {
            let pause = outage.retry - now;
            let range = expected * 1000..=expected * 1500;
            assert!(range.contains(&pause.0), "{pause:?} of {expected} ms");
            let retry = outage.retry;
            outage.goes_on(down(), now + Micros(1));
            assert_eq!(outage.retry, retry);
            now = outage.retry;
            outage.goes_on(down(), now);
        }
    }

    #[test]
    fn the_client_is_told_where_and_since_when() {
        let endpoint = Endpoint::Tcp { host: "db.example".to_owned(), port: 5432 };
        let outage = Outage::begin(down(), Micros::from_secs(86_400 + 3_723));
        let answer = outage.answer(&endpoint, Micros::from_millis((86_400 + 3_723) * 1000 + 2_500));
        assert_eq!(answer.code, SqlState::CONNECTION_FAILURE);
        assert_eq!(
            answer.message,
            "surgetank: PostgreSQL at db.example:5432 has not been reachable for 2.5s \
             (since 01:02:03 UTC)"
        );
        assert_eq!(answer.hint, "Connection refused");
    }
}
