//! A loopback address of its own for each dyno, so that whoever listens there knows who connects.

use std::net::{IpAddr, Ipv4Addr, TcpListener};

/// The loopback address for the `index`-th dyno: `127.77.x.y` where the system serves all of
/// 127.0.0.0/8 (Linux), else 127.0.0.1 (macOS, unless an alias was set up). Found out by binding.
///
/// With the shared address, listeners tell dynos apart by port: bind port 0 in either case and
/// read back what was given.
#[must_use]
pub fn loopback_for(index: u16) -> IpAddr {
    let [high, low] = index.to_be_bytes();
    let own = IpAddr::V4(Ipv4Addr::new(127, 77, high, low));
    match TcpListener::bind((own, 0)) {
        Ok(_) => own,
        Err(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_can_be_bound_and_on_linux_each_is_its_own() {
        for index in [0, 1, 255, 256, u16::MAX] {
            let address = loopback_for(index);
            assert!(address.is_loopback());
            TcpListener::bind((address, 0)).unwrap();
        }
        if cfg!(target_os = "linux") {
            assert_eq!(loopback_for(258).to_string(), "127.77.1.2");
        }
    }
}
