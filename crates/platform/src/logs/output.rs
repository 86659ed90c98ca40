//! From a dyno's pipes to the hub. Always drains, so that logging can never slow a dyno down:
//! a full pipe would stall the app in its own `write(2)`, a fault we would have made ourselves.

use std::borrow::Cow;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt};
use trace::{DynoId, Event, LogLine, Micros};

use super::{LogHub, Source};
use crate::name::DynoName;
use crate::tracer::Tracer;

/// As much as a pipe holds: what a process writes at once is read at once, and its lines (of a
/// stack trace, say) stay together.
const READ_BYTES: usize = 64 * 1024;
/// Longer lines are split, as Logplex does.
const LINE_BYTES_MAX: usize = 10_000;
/// A recorded error line is cut here ([`LogLine::text`]).
const RECORDED_BYTES_MAX: usize = 500;
/// Error lines recorded per dyno and second: enough to see a storm, too few to be one.
const RECORDED_PER_SECOND: u32 = 50;

/// Takes what one dyno writes, from both of its pipes.
#[derive(Debug)]
pub(crate) struct DynoOutput {
    hub: LogHub,
    process: String,
    dyno: DynoId,
    tracer: Tracer,
    budget: Mutex<Budget>,
}

/// How many error lines were recorded in the second that began at `since`.
#[derive(Debug, Default)]
struct Budget {
    since: Micros,
    spent: u32,
}

impl Budget {
    fn spend(&mut self, now: Micros) -> bool {
        if now.since(self.since) >= Micros::from_secs(1) {
            *self = Self { since: now, spent: 0 };
        }
        self.spent += 1;
        self.spent <= RECORDED_PER_SECOND
    }
}

impl DynoOutput {
    pub(crate) fn new(hub: LogHub, name: &DynoName, tracer: Tracer) -> Self {
        let process = name.to_string();
        let dyno = tracer.dyno(&process);
        Self { hub, process, dyno, tracer, budget: Mutex::default() }
    }

    /// Reads a pipe to its end, line by line.
    pub(crate) async fn drain(&self, mut pipe: impl AsyncRead + Unpin) {
        let mut pending = Vec::with_capacity(READ_BYTES + LINE_BYTES_MAX);
        loop {
            // A pipe that breaks is a pipe that ended: the process is gone either way.
            let read = pipe.read_buf(&mut pending).await.unwrap_or(0);
            let used = self.write_lines(&pending, read == 0);
            pending.drain(..used);
            if read == 0 {
                return;
            }
        }
    }

    /// Writes every whole line and returns how many bytes that used; `last` also writes a rest
    /// without line feed.
    fn write_lines(&self, bytes: &[u8], last: bool) -> usize {
        let (lines, used) = lines(bytes, last);
        let texts: Vec<&str> = lines.iter().map(|line| &**line).collect();
        self.hub.write_together(Source::App, &self.process, &texts);
        lines.iter().for_each(|line| self.record_error(line));
        used
    }

    fn record_error(&self, text: &str) {
        if looks_like_error(text.as_bytes()) {
            let at = self.tracer.now();
            if self.budget.lock().spend(at) {
                let text = text[..text.floor_char_boundary(RECORDED_BYTES_MAX)].into();
                let line = LogLine { at, dyno: self.dyno, text };
                self.tracer.record(Event::LineLogged(Box::new(line)));
            }
        }
    }
}

/// Every whole line, and how many bytes they are; `last` also takes a rest without line feed.
pub(super) fn lines(bytes: &[u8], last: bool) -> (Vec<Cow<'_, str>>, usize) {
    let (mut used, mut lines) = (0, Vec::new());
    loop {
        let rest = &bytes[used..];
        let newline = rest.iter().take(LINE_BYTES_MAX + 1).position(|byte| *byte == b'\n');
        if let Some(length) = newline {
            lines.push(text(&rest[..length]));
            used += length + 1;
        } else if rest.len() > LINE_BYTES_MAX {
            let length = boundary(rest, LINE_BYTES_MAX);
            lines.push(text(&rest[..length]));
            used += length;
        } else {
            if last && !rest.is_empty() {
                lines.push(text(rest));
                used += rest.len();
            }
            return (lines, used);
        }
    }
}

/// A line without its end; bytes that are no text are replaced.
fn text(line: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line))
}

/// The last place at or before `at` that does not cut a UTF-8 character in two; `at` itself where
/// the bytes are no UTF-8.
fn boundary(bytes: &[u8], at: usize) -> usize {
    let continues = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    let begins = |index: &usize| !continues(bytes[*index]);
    (at.saturating_sub(3)..=at).rev().find(begins).unwrap_or(at)
}

/// Whether a line speaks of a failure. Deliberately simple: the words that log formats of all
/// languages share (`level=error`, ` ERROR `, `panicked`, `Exception`, `FATAL:`), in any case.
fn looks_like_error(line: &[u8]) -> bool {
    const WORDS: [&[u8]; 4] = [b"error", b"panic", b"exception", b"fatal"];
    let first = |byte: &u8| matches!(byte.to_ascii_lowercase(), b'e' | b'p' | b'f');
    let starts_word = |rest: &[u8]| {
        WORDS.iter().any(|w| rest.get(..w.len()).is_some_and(|r| r.eq_ignore_ascii_case(w)))
    };
    let candidates = line.iter().enumerate().filter(|(_, byte)| first(byte));
    candidates.map(|(index, _)| &line[index..]).any(starts_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_lines_are_told_from_others() {
        for line in [
            "thread 'main' panicked at src/main.rs",
            "level=error msg=x",
            "2026 ERROR could not connect",
            "PG::Exception",
            "FATAL:  sorry, too many clients already",
            "unexpected error",
        ] {
            assert!(looks_like_error(line.as_bytes()), "{line}");
        }
        for line in ["", "GET / 200", "err", "erro", "listening on port 5000", "fat al"] {
            assert!(!looks_like_error(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn the_budget_is_per_second() {
        let mut budget = Budget::default();
        let spend = |budget: &mut Budget, at, times| {
            (0..times).filter(|_| budget.spend(Micros(at))).count()
        };
        assert_eq!(spend(&mut budget, 5_000_000, 80), 50);
        assert_eq!(spend(&mut budget, 5_999_999, 80), 0);
        assert_eq!(spend(&mut budget, 6_000_000, 80), 50);
    }

    #[test]
    fn characters_are_not_cut() {
        let text = "aé";
        assert_eq!(boundary(text.as_bytes(), 2), 1);
        assert_eq!(boundary(b"abcdef", 4), 4);
        assert_eq!(boundary(&[0x80; 12], 10), 10);
    }
}
