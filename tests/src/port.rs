//! Ports that nobody else takes: below those that the kernel gives to outgoing connections, and each leased by a UDP
//! socket on the same number for as long as it is used, so that tests of other processes pass it over.

use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Where leases are looked for: under the default `ip_local_port_range` (32768 and above), and beside where
/// `feira up --any-ports` looks.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A port of the loopback interface, free for TCP and ours until dropped.
#[derive(Debug)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// The lease: whoever else looks for a port cannot bind this.
    _lease: UdpSocket,
}

impl Port {
    /// Leases a free port.
    ///
    /// # Panics
    /// If none of many is free.
    #[must_use]
    pub fn lease() -> Port {
        Port::lease_bound().0
    }

    /// Leases a free port and listens on it at once.
    ///
    /// # Panics
    /// As [`Port::lease`].
    #[must_use]
    pub fn lease_bound() -> (Port, TcpListener) {
        let span = u32::from(RANGE.end - RANGE.start);
        let start = std::hash::RandomState::new().hash_one(std::process::id()) % u64::from(span);
        let start = u32::try_from(start).expect("below the span");
        let numbers =
            (0..span).map(|at| RANGE.start + u16::try_from((start + at) % span).expect("in the range"));
        let free = |number: u16| {
            let lease = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
            Some((Port { number, _lease: lease }, listener))
        };
        numbers.into_iter().find_map(free).expect("a free port")
    }
}
