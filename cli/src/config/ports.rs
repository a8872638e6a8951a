//! Port 0 in the file means "any": one is allotted at the first start and written back, so that the cluster keeps
//! its addresses. Comments and everything else in the file stay as they are.
//!
//! Such a port is below those that the kernel gives to outgoing connections: between its choice and the moment when the
//! part listens, any client on the machine could be given it otherwise, and again at every restart of the part.

use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::atomic_write;
use crate::failure::Failure;

/// Where ports are looked for: under the default `ip_local_port_range` (32768 and above).
const RANGE: Range<u16> = 10_000..20_000;
/// Ports tried in there; then the kernel is asked for any.
const TRIES_MAX: u32 = 200;

/// Only what has a `listen`.
#[derive(Deserialize)]
struct Listens {
    store: Option<StoreListens>,
    broker: Option<Listen>,
    #[serde(default)]
    admin_portals: Vec<Listen>,
    #[serde(default)]
    client_portals: Vec<Listen>,
}

#[derive(Deserialize)]
struct StoreListens {
    #[serde(default)]
    nodes: Vec<Listen>,
}

#[derive(Deserialize)]
struct Listen {
    listen: Option<Spanned<String>>,
}

/// Replaces each port 0 in the file by a free port. Returns whether anything changed.
///
/// # Errors
/// The file cannot be read, understood or written, or no port is to be had.
pub fn allot_in(path: &Path) -> Result<bool, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::file("read", path, &e))?;
    let Some(new) = allot(&text)? else { return Ok(false) };
    atomic_write::replace(path, &new)?;
    Ok(true)
}

/// The text with ports allotted; `None`: there was no port 0.
///
/// # Errors
/// It is not understood, or no port is to be had.
pub fn allot(text: &str) -> Result<Option<String>, Failure> {
    let listens: Listens = toml::from_str(text)
        .map_err(|e| Failure::usage(format!("the configuration file is not TOML: {e}")))?;
    let nodes = listens.store.map(|store| store.nodes).unwrap_or_default();
    let mut open: Vec<Spanned<String>> = nodes
        .into_iter()
        .chain(listens.broker)
        .chain(listens.admin_portals)
        .chain(listens.client_portals)
        .filter_map(|one| one.listen)
        .filter(|listen| listen.get_ref().ends_with(":0"))
        .collect();
    if open.is_empty() {
        return Ok(None);
    }
    // All are held at once, so that no two get the same; from the back, so that places in the text stay right.
    open.sort_by_key(|listen| std::cmp::Reverse(listen.span().start));
    let mut held = Vec::with_capacity(open.len());
    let mut new = text.to_owned();
    for listen in open {
        let socket = bind(listen.get_ref())?;
        let port = socket.local_addr().map_err(|e| Failure::refused(format!("no port: {e}")))?.port();
        let host = listen.get_ref().trim_end_matches(":0");
        new.replace_range(listen.span(), &format!("\"{host}:{port}\""));
        held.push(socket);
    }
    Ok(Some(new))
}

fn bind(listen: &str) -> Result<TcpListener, Failure> {
    let cannot = |e: std::io::Error| Failure::refused(format!("no port is to be had at {listen}: {e}"));
    let mut addresses = listen.to_socket_addrs().map_err(cannot)?;
    let address = addresses
        .next()
        .ok_or_else(|| Failure::refused(format!("{listen} is not an address of this machine")))?;
    any_at(address.ip()).map_err(cannot)
}

/// Listens on a free port of this address, one that stays free while nobody listens there.
///
/// # Errors
/// The address is not of this machine, or no port is free.
pub fn any_at(host: IpAddr) -> std::io::Result<TcpListener> {
    let tried = (0..TRIES_MAX).map(|_| TcpListener::bind(SocketAddr::new(host, fastrand::u16(RANGE))));
    tried.flatten().next().map_or_else(|| TcpListener::bind(SocketAddr::new(host, 0)), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::shape::Config;
    use crate::config::template::{Fresh, template};
    use std::collections::BTreeSet;

    #[test]
    fn ports_are_allotted_once_and_the_comments_stay() {
        let text = template(&Fresh { any_ports: true, ..Fresh::default() });
        let new = allot(&text).unwrap().expect("there were open ports");
        let config: Config = toml::from_str(&new).unwrap();
        let ports: BTreeSet<&str> = config.store.nodes.iter().map(|n| n.listen.as_str()).collect();
        assert_eq!(ports.len(), 3);
        assert!(ports.iter().all(|listen| !listen.ends_with(":0")));
        assert_eq!(text.matches('#').count(), new.matches('#').count());
        assert_eq!(allot(&new).unwrap(), None);
        let numbers = ports.iter().map(|listen| listen.rsplit(':').next().unwrap().parse().unwrap());
        assert!(numbers.into_iter().all(|number: u16| RANGE.contains(&number)), "{ports:?}");
    }
}
