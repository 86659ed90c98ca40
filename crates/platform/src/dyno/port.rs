//! A port of its own for each web dyno.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use parking_lot::Mutex;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Below the ports that systems give to outgoing connections (Linux from 32768, macOS from 49152):
/// between our look and the app's `bind` no connection can take one of these by chance.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
/// Tries within the range before the system is asked for any port at all.
const TRIES: usize = 200;

/// Hands out free ports, no port twice at the same time.
#[derive(Debug)]
pub(super) struct Ports {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: ChaCha8Rng,
    taken: BTreeSet<u16>,
}

/// A port that is kept for one dyno until this is dropped.
#[derive(Debug)]
pub(super) struct Port {
    number: u16,
    state: Arc<Mutex<State>>,
}

impl Ports {
    /// Two platforms at once begin at different places because their seeds (time and process id)
    /// differ; that only saves tries, correctness comes from binding.
    pub(super) fn new(seed: u64) -> Self {
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { state: Arc::new(Mutex::new(State { random, taken: BTreeSet::new() })) }
    }

    /// A port that is free at this moment; `None` if the system has none left.
    pub(super) fn take(&self) -> Option<Port> {
        let mut state = self.state.lock();
        let State { random, taken } = &mut *state;
        let in_range = |_| {
            let offset = random.next_u32() % u32::from(RANGE.end - RANGE.start);
            RANGE.start + u16::try_from(offset).unwrap_or(0)
        };
        let number = (0..TRIES)
            .map(in_range)
            .chain(std::iter::repeat_n(0, 10))
            .filter_map(free)
            .find(|number| !taken.contains(number))?;
        taken.insert(number);
        Some(Port { number, state: Arc::clone(&self.state) })
    }
}

/// Apps bind all addresses as a rule, so a port is free if it is free on all.
fn free(port: u16) -> Option<u16> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok()?;
    Some(listener.local_addr().ok()?.port())
}

impl Port {
    pub(super) fn number(&self) -> u16 {
        self.number
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.state.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_never_given_twice() {
        let ports = Ports::new(7);
        let held: Vec<_> = (0..50).map(|_| ports.take().unwrap()).collect();
        let numbers: BTreeSet<_> = held.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), 50);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, held[0].number())).unwrap();
        drop(held);
        // The same seed tries the same ports again; the one that is in use is left out.
        let used = listener.local_addr().unwrap().port();
        let again = Ports::new(7);
        let second: Vec<_> = (0..50).map(|_| again.take().unwrap()).collect();
        assert!(second.iter().all(|port| port.number() != used));
    }
}
