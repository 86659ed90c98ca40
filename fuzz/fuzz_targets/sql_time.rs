//! Reading a statement takes time linear in its length, whatever is repeated in it.
//!
//! Input: beginning, what is repeated, end, separated by zero bytes.

#![no_main]

use std::fs;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;

/// How long the text is made. What is quadratic in it takes seconds, what is linear a millisecond.
const LEN: usize = 64 * 1024;
const TIME_MAX: Duration = Duration::from_millis(250);

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, '\0');
    let mut part = || parts.next().unwrap_or_default();
    let (begin, unit, end) = (part(), part(), part());
    if unit.is_empty() {
        return;
    }
    let text = format!("{begin}{}{end}", unit.repeat(LEN / unit.len()));
    timed("fingerprint", || assert_ne!(sql::fingerprint(&text), 0));
    timed("normalise", || drop(sql::normalise(&text)));
    timed("comment_tags", || drop(sql::comment_tags(&text)));
});

fn timed(what: &str, work: impl FnOnce()) {
    let before = cpu_time();
    work();
    let taken = cpu_time().saturating_sub(before);
    assert!(taken < TIME_MAX, "{what} took {taken:?}");
}

/// Time this thread was on a CPU, whatever else the machine does (Linux; elsewhere nothing is
/// measured).
fn cpu_time() -> Duration {
    let told = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = told.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}
