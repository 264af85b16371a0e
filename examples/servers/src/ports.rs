//! Free loopback ports, each reserved for one server over its kills and restarts.
//!
//! "Bind to port 0 and let go" is not enough here: while a killed server is down, another test, or
//! the local end of any connection, could take its port. So ports come from below the kernel's
//! ephemeral range, and a UDP socket on the same number marks a port as taken. Our servers speak
//! TCP only, so the mark disturbs nothing; the kernel removes it when this process dies.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use anyhow::{Result, bail};

const LOWEST: u16 = 20_000;
/// Where the ephemeral range starts on Linux, unless it was changed.
const EPHEMERAL: u16 = 32_768;
const ATTEMPTS: usize = 1_000;

/// A loopback TCP port without a listener, ours until dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _mark: UdpSocket,
}

impl Port {
    /// Reserves a free port.
    ///
    /// # Errors
    /// When there is none, which means that something leaks servers.
    pub fn reserve() -> Result<Self> {
        let top = ephemeral_start().unwrap_or(EPHEMERAL).max(LOWEST + 1_000);
        for _ in 0..ATTEMPTS {
            let number = LOWEST + (random() % u64::from(top - LOWEST)) as u16;
            let Ok(mark) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else {
                continue;
            };
            // The wildcard address too: a foreign server may listen on all interfaces.
            if TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok() {
                return Ok(Self {
                    number,
                    _mark: mark,
                });
            }
        }
        bail!("no free loopback port between {LOWEST} and {top} in {ATTEMPTS} attempts")
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// A random number; each `RandomState` has keys of its own.
fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

fn ephemeral_start() -> Option<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_given_once_and_can_be_listened_on() {
        let ports: Vec<Port> = (0..50).map(|_| Port::reserve().unwrap()).collect();
        let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
        for port in &ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).unwrap();
        }
    }
}
