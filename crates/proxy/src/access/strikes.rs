//! Failed logins by address: each next answer takes longer, so that guessing does not pay.
//!
//! Pure: time comes from outside. Nobody else waits, and an address is forgiven after a while.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use trace::Micros;

/// How long the answer to the first failure takes; it doubles with each.
const FIRST: Duration = Duration::from_millis(100);

/// The longest an answer takes.
const LONGEST: Duration = Duration::from_secs(5);

/// After how long without a failure an address is forgiven.
const FORGIVEN: Micros = Micros(10 * 60 * 1_000_000);

/// How many addresses are remembered; beyond, the one that has been quiet longest is forgiven.
const ADDRESSES_MAX: usize = 4096;

/// Who has failed, how often and when last.
#[derive(Debug, Default)]
pub(crate) struct Strikes(HashMap<IpAddr, (u32, Micros)>);

impl Strikes {
    /// Counts a failure; gives how long its answer must take.
    pub(crate) fn fail(&mut self, address: IpAddr, now: Micros) -> Duration {
        let address = network(address);
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&address) {
            self.0.retain(|_, (_, last)| now - *last < FORGIVEN);
            let quietest = self.0.iter().min_by_key(|(_, (_, last))| *last).map(|(of, _)| *of);
            if let Some(quietest) = quietest.filter(|_| self.0.len() >= ADDRESSES_MAX) {
                self.0.remove(&quietest);
            }
        }
        let (count, last) = self.0.entry(address).or_insert((0, now));
        if now - *last >= FORGIVEN {
            *count = 0;
        }
        (*count, *last) = (count.saturating_add(1), now);
        FIRST.saturating_mul(1_u32.checked_shl(*count - 1).unwrap_or(u32::MAX)).min(LONGEST)
    }
}

/// Whom an address belongs to: of IPv6 everybody has a whole network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_takes_longer_until_it_is_forgiven() {
        let mut strikes = Strikes::default();
        let (eve, ann) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut delays: Vec<u128> =
            (0..8).map(|second| strikes.fail(eve, Micros(second)).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(strikes.fail(ann, Micros(9)).as_millis(), 100, "nobody else waits");
        delays = (0..60).map(|_| strikes.fail(eve, Micros(10)).as_millis()).collect();
        assert_eq!(delays, [5000; 60]);
        assert_eq!(strikes.fail(eve, Micros(10) + FORGIVEN).as_millis(), 100);
    }

    #[test]
    fn the_table_is_bounded_and_a_network_counts_as_one() {
        let mut strikes = Strikes::default();
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let other: IpAddr = "2001:db8::ffff:2".parse().unwrap();
        assert_eq!(strikes.fail(one, Micros(0)).as_millis(), 100);
        assert_eq!(strikes.fail(other, Micros(1)).as_millis(), 200);
        for number in 0..2 * u32::try_from(ADDRESSES_MAX).unwrap() {
            strikes
                .fail(std::net::Ipv4Addr::from_bits(number).into(), Micros(2 + u64::from(number)));
        }
        assert_eq!(strikes.0.len(), ADDRESSES_MAX);
    }
}
