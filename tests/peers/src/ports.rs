//! Free ports of 127.0.0.1, as the kernel gives them.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context;

/// So many different ports that are free now. Another program can take one before a server does: the server then ends, and says so.
///
/// # Errors
/// No port can be bound.
pub fn free<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut ports = [0; N];
    // All are held until all are known, so that none comes twice.
    let mut held = Vec::with_capacity(N);
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = listener.context("cannot bind a port of 127.0.0.1: is the loopback interface up?")?;
        *port = listener.local_addr().context("a port has no number")?.port();
        held.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ() {
        let mut ports = free::<8>().unwrap().to_vec();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }
}
