//! The values that are allowed. Every error names the key, what stands there, and what may.
//!
//! Leaves out: whether a port is free or a folder can be written; starting finds that out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tracing_subscriber::filter::Targets;

use super::shape::{Broker, BrokerKind, Config, Node, Store};
use crate::failure::Failure;

/// Members that a group can have.
const NODES_MAX: usize = 15;
/// Shards that a ring can have.
const SHARDS_MAX: usize = 64;
/// Portals of a kind.
const PORTALS_MAX: usize = 32;
/// What `log` may be.
const LOG_ALLOWED: &str = "error, warn, info, debug, trace, or a filter such as info,store_engine=debug";
/// Characters of a cluster's name, which stands in MQTT topics.
const CLUSTER_NAME_MAX: usize = 32;

/// Checks everything that can be checked without starting anything.
///
/// # Errors
/// The first value that is not allowed.
pub fn check(config: &Config) -> Result<(), Failure> {
    check_name(&config.cluster)?;
    if config.folder.as_os_str().is_empty() {
        return Err(wrong("folder", "", "a folder, absolute or relative to the configuration file"));
    }
    check_log(&config.log)?;
    range("log_bytes", config.log_bytes, 1 << 12, 1 << 40)?;
    range("log_files_kept", config.log_files_kept as u64, 1, 1_000)?;
    check_store(&config.store)?;
    check_broker(&config.broker)?;
    check_portals("admin_portals", config.admin_portals.len())?;
    check_portals("client_portals", config.client_portals.len())?;
    range("portal.cache_entries", config.portal.cache_entries as u64, 1, 10_000_000)?;
    range("portal.cache_bytes", config.portal.cache_bytes as u64, 1 << 16, 1 << 40)?;
    range("portal.lease_ms", config.portal.lease_ms, 100, 60_000)?;
    let age_least = config.portal.lease_ms;
    range("portal.cache_age_ms_max", config.portal.cache_age_ms_max, age_least, 86_400_000)?;
    range("portal.deadline_ms", config.portal.deadline_ms, 100, 60_000)?;
    range("tool.patience_seconds", config.tool.patience_seconds, 1, 3_600)?;
    range("tool.grace_seconds", config.tool.grace_seconds, 5, 3_600)?;
    check_addresses(config)
}

fn check_name(name: &str) -> Result<(), Failure> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > CLUSTER_NAME_MAX || !name.chars().all(allowed) {
        return Err(wrong("cluster", name, "1 to 32 of a-z, 0-9 and -"));
    }
    Ok(())
}

/// Here, so that no part starts before another finds out.
fn check_log(filter: &str) -> Result<(), Failure> {
    match filter.parse::<Targets>() {
        Ok(_) if !filter.trim().is_empty() => Ok(()),
        Ok(_) => Err(wrong("log", filter, LOG_ALLOWED)),
        Err(error) => Err(wrong("log", filter, &format!("{LOG_ALLOWED} ({error})"))),
    }
}

fn check_store(store: &Store) -> Result<(), Failure> {
    range("store.snapshot_seconds", store.snapshot_seconds, 1, 30 * 86_400)?;
    range("store.snapshot_bytes", store.snapshot_bytes, 1 << 20, 1 << 40)?;
    range("store.files_kept", store.files_kept, 1, 1_000)?;
    range("store.snapshot_bytes_per_second", store.snapshot_bytes_per_second, 1 << 20, 1 << 40)?;
    range("store.tick_ms", store.tick_ms, 1, 1_000)?;
    range("store.map_bytes", store.map_bytes, 256 << 20, 1 << 44)?;
    check_shards(store)?;
    range("store.disk_reserve_bytes", store.disk_reserve_bytes, 0, 1 << 44)?;
    let preferred = store.preferred_leader;
    if preferred != 0 && !store.nodes.iter().any(|node| node.id == preferred) {
        return Err(wrong("store.preferred_leader", &preferred.to_string(), "the id of a node, or 0"));
    }
    let mut ids = BTreeSet::new();
    for (at, Node { id, shards, .. }) in store.nodes.iter().enumerate() {
        let each: BTreeSet<&u64> = shards.iter().collect();
        if shards.is_empty() || each.len() < shards.len() {
            let allowed = "the numbers of the node's shards, such as [1, 2, 3], each once, and one at least";
            return Err(wrong(&format!("store.nodes[{at}].shards"), &listed(shards), allowed));
        }
        if *id == 0 || !ids.insert(*id) {
            return Err(wrong(
                &format!("store.nodes[{at}].id"),
                &id.to_string(),
                "a number from 1 that no other node has",
            ));
        }
    }
    Ok(())
}

fn listed(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

/// Shards are numbered from 1, and none is left out: the number of a shard is its place on the ring.
fn check_shards(store: &Store) -> Result<(), Failure> {
    let shards = store.shards();
    if store.shards_in_all.is_some() {
        return Ok(());
    }
    let numbered = (1..).zip(&shards).all(|(number, shard)| number == *shard);
    if !numbered || shards.len() > SHARDS_MAX {
        return Err(wrong(
            "store.nodes.shard",
            &listed(&shards),
            "the shards 1, 2, 3 and so on, 64 at most, each with nodes",
        ));
    }
    let counts = shards.iter().map(|shard| store.of_shard(*shard).count());
    match counts.chain([store.nodes.len().min(1)]).find(|count| !(1..=NODES_MAX).contains(count)) {
        Some(count) => Err(wrong("store.nodes", &count.to_string(), "1 to 15 nodes a shard")),
        None => Ok(()),
    }
}

fn check_broker(broker: &Broker) -> Result<(), Failure> {
    if broker.program.is_empty() {
        return Err(wrong("broker.program", "", "the name or path of mosquitto"));
    }
    let Broker { user, password_file, .. } = broker;
    if broker.kind == BrokerKind::Embedded && !user.is_empty() {
        return Err(wrong("broker.user", user, "nothing: the embedded broker asks nobody who he is"));
    }
    if user.is_empty() && !password_file.as_os_str().is_empty() {
        let told = password_file.display().to_string();
        return Err(wrong(
            "broker.password_file",
            &told,
            "a file only where broker.user says whose password it is",
        ));
    }
    Ok(())
}

fn check_portals(key: &str, count: usize) -> Result<(), Failure> {
    if count == 0 || count > PORTALS_MAX {
        return Err(wrong(key, &count.to_string(), "1 to 32 portals"));
    }
    Ok(())
}

/// Each address once, each with a host and a port. Nodes of several machines may all listen on one, such as 0.0.0.0:7401,
/// if it is said where each is reached.
fn check_addresses(config: &Config) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for (key, address) in addresses(config) {
        let port = port_of(address)
            .ok_or_else(|| wrong(&key, address, "host:port, such as 127.0.0.1:7401 (port 0: allotted)"))?;
        if port != 0 && !seen.insert(address) {
            return Err(wrong(&key, address, "an address that no other part uses"));
        }
    }
    for (at, node) in config.store.nodes.iter().enumerate() {
        check_reach(at, node)?;
    }
    Ok(())
}

/// Where others reach a node must be somewhere.
fn check_reach(at: usize, node: &Node) -> Result<(), Failure> {
    let (listen, address) = (format!("store.nodes[{at}].listen"), format!("store.nodes[{at}].address"));
    if port_of(&node.listen).is_none() {
        return Err(wrong(&listen, &node.listen, "host:port, such as 127.0.0.1:7401 (port 0: allotted)"));
    }
    if node.address.is_empty() {
        if is_everywhere(&node.listen) {
            let allowed =
                "an address of this machine, or this one together with address, where others reach the node";
            return Err(wrong(&listen, &node.listen, allowed));
        }
        return Ok(());
    }
    if port_of(&node.address).is_none_or(|port| port == 0) || is_everywhere(&node.address) {
        return Err(wrong(&address, &node.address, "host:port where other machines reach it, or nothing"));
    }
    Ok(())
}

/// Whether a host:port means all addresses of a machine: one can listen there, and nobody can be told of it.
#[must_use]
pub fn is_everywhere(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    ip.is_some_and(|ip| ip.is_unspecified())
}

/// Every address where a part is reached, with its key.
fn addresses(config: &Config) -> Vec<(String, &str)> {
    let mut all = Vec::new();
    for (at, node) in config.store.nodes.iter().enumerate() {
        let key = if node.address.is_empty() { "listen" } else { "address" };
        all.push((format!("store.nodes[{at}].{key}"), node.reached_at()));
    }
    all.push(("broker.listen".to_owned(), config.broker.listen.as_str()));
    for (at, portal) in config.admin_portals.iter().enumerate() {
        all.push((format!("admin_portals[{at}].listen"), portal.listen.as_str()));
    }
    for (at, portal) in config.client_portals.iter().enumerate() {
        all.push((format!("client_portals[{at}].listen"), portal.listen.as_str()));
    }
    all
}

/// The port of host:port; `None` if it is not that.
#[must_use]
pub fn port_of(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    if host.is_empty() || host.contains(char::is_whitespace) {
        return None;
    }
    port.parse().ok()
}

fn range(key: &str, value: u64, min: u64, max: u64) -> Result<(), Failure> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(wrong(key, &value.to_string(), &format!("{min} to {max}")))
}

fn wrong(key: &str, value: &str, allowed: &str) -> Failure {
    Failure::usage(format!("configuration: {key} is {value:?}; allowed: {allowed}")).next(
        "correct it in the configuration file, in FEIRA_… or with --set; feira config shows what is in force",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn fails_naming(key: &str, change: impl FnOnce(&mut Config)) {
        let mut config = Config::default();
        change(&mut config);
        let failure = check(&config).expect_err("not allowed");
        assert!(failure.message.contains(key), "{failure} does not name {key}");
    }

    #[test]
    fn the_defaults_are_allowed() {
        check(&Config::default()).unwrap();
    }

    #[test]
    fn nodes_may_hold_replicas_of_several_shards() {
        let mut config = Config::default();
        config.store.nodes.iter_mut().for_each(|node| node.shards = vec![1, 2]);
        config.store.nodes[2].shards = vec![2];
        check(&config).unwrap();
    }

    #[test]
    fn what_is_not_allowed_is_named() {
        fails_naming("cluster is \"São Paulo\"", |c| c.cluster = "São Paulo".into());
        fails_naming("store.nodes is \"0\"", |c| c.store.nodes.clear());
        fails_naming("folder is \"\"", |c| c.folder = "".into());
        fails_naming("log is \"info,store_engine=loud\"", |c| c.log = "info,store_engine=loud".into());
        fails_naming("log is \" \"", |c| c.log = " ".into());
        fails_naming("store.nodes[1].id", |c| c.store.nodes[1].id = 1);
        fails_naming("store.nodes[0].id", |c| c.store.nodes[0].id = 0);
        fails_naming("store.nodes[1].shards is \"\"", |c| c.store.nodes[1].shards.clear());
        fails_naming("store.nodes[2].shards is \"1, 1\"", |c| c.store.nodes[2].shards = vec![1, 1]);
        fails_naming("store.nodes.shard is \"1, 3\"", |c| c.store.nodes[2].shards = vec![1, 3]);
        fails_naming("store.nodes.shard is \"0, 1\"", |c| c.store.nodes[2].shards = vec![0]);
        fails_naming("store.nodes[2].listen", |c| c.store.nodes[2].listen = "7403".into());
        fails_naming("admin_portals[0].listen", |c| c.admin_portals[0].listen = "127.0.0.1:7401".into());
        fails_naming("client_portals is \"0\"", |c| c.client_portals.clear());
        fails_naming("store.preferred_leader", |c| c.store.preferred_leader = 9);
        fails_naming("portal.lease_ms", |c| c.portal.lease_ms = 0);
        fails_naming("portal.cache_age_ms_max", |c| c.portal.cache_age_ms_max = c.portal.lease_ms - 1);
        fails_naming("tool.grace_seconds", |c| c.tool.grace_seconds = 1);
        fails_naming("store.nodes[0].address", |c| c.store.nodes[0].address = "here:0".into());
    }

    #[test]
    fn nodes_of_three_machines_may_all_listen_everywhere_if_each_says_where_it_is_reached() {
        let mut config = Config::default();
        for (node, host) in config.store.nodes.iter_mut().zip(["10.0.0.1", "10.0.0.2", "10.0.0.3"]) {
            node.listen = "0.0.0.0:7401".into();
            node.address = format!("{host}:7401");
        }
        check(&config).unwrap();
        config.store.nodes[2].address = "10.0.0.1:7401".into();
        assert!(check(&config).unwrap_err().message.contains("store.nodes[2].address"));
    }

    #[test]
    fn an_address_that_means_every_address_is_told_to_nobody() {
        for everywhere in ["0.0.0.0:7401", "[::]:7401"] {
            fails_naming("store.nodes[0].listen", |c| c.store.nodes[0].listen = everywhere.into());
            fails_naming("store.nodes[0].address", |c| c.store.nodes[0].address = everywhere.into());
        }
    }

    #[test]
    fn a_user_is_for_a_broker_that_asks() {
        fails_naming("broker.user", |c| c.broker.user = "feira".into());
        fails_naming("broker.password_file", |c| {
            c.broker.kind = BrokerKind::External;
            c.broker.password_file = "secret".into();
        });
    }
}
