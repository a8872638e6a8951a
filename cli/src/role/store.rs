//! `feira store`: one node of the store, with all of its replicas in one process.

use std::net::{SocketAddr, ToSocketAddrs};

use store_server::{Config, Error, Login, Peer, ShardNodes, holds_replica, serve_all, stop};

use crate::config::load::Loaded;
use crate::config::shape::{Node, Replica};
use crate::failure::Failure;
use crate::key::follow::follow;
use crate::key::place::{NodeKey, of_node};
use crate::private;
use crate::reach::nodes::node_of;
use crate::role::login::login;
use crate::role::stop::asked;

/// Serves until told to stop.
///
/// # Errors
/// It cannot start, or it had to stop.
pub async fn run(loaded: &Loaded, id: u64, supervised: bool) -> Result<(), Failure> {
    let node = node_of(&loaded.config, id)?;
    let configs = node.replicas().map(|replica| config_of(loaded, replica)).collect::<Result<Vec<_>, _>>()?;
    let folder = node.folder_in(&loaded.folder());
    if let Some(lost) = node.replicas().find(|replica| !holds_replica(&folder, replica.shard)) {
        let next = format!(
            "a folder that was lost is never made anew under its old identity; let the node come back empty: {}; the \
             first time: feira up, or feira bootstrap, or feira member add {id}",
            loaded.command(&format!("member replace {id}"))
        );
        let of = if node.is_shared() { format!("of shard {} ", lost.shard) } else { String::new() };
        let what = format!("{} holds no replica {of}of node {id}", folder.display());
        return Err(Failure::refused(what).next(next));
    }
    let (loaded_again, its_folder) = (loaded.clone(), folder.clone());
    let held = of_node(loaded, &folder)?;
    let keys = follow(held.key, move || {
        let NodeKey { key, not_followed } = of_node(&loaded_again, &its_folder)?;
        Ok((key, not_followed))
    });
    private::keep(&folder);
    let asked = asked(supervised)?;
    let (stopper, stop) = stop();
    tokio::spawn(async move {
        asked.await;
        stopper.stop();
    });
    serve_all(configs, keys, stop, Box::new(|_| {})).await.map_err(|error| why_not(loaded, node, &error))
}

/// Why a node ended, and what brings it back.
fn why_not(loaded: &Loaded, node: &Node, error: &Error) -> Failure {
    let id = node.id;
    let failure = Failure::refused(format!("node {id}: {}", with_causes(error)));
    if !error.needs_new_member() {
        return failure;
    }
    let group = if let Error::Open { group, .. } = error { Some(*group) } else { None };
    failure.next(brought_back(loaded, node, group))
}

/// What brings a node back whose replica of this group cannot be used any more; of a group that is not known, what brings back all
/// that are lost.
fn brought_back(loaded: &Loaded, node: &Node, group: Option<u64>) -> String {
    let (what, of) = match group.filter(|_| node.is_shared()) {
        Some(group) => ("that replica", format!(" --shard {group}")),
        None => ("it", String::new()),
    };
    let replace = loaded.command(&format!("member replace {}{of}", node.id));
    format!("the other nodes serve without it; bring {what} back empty: {replace}")
}

/// The server's configuration of a replica.
///
/// # Errors
/// Its address is none of this machine's.
pub fn config_of(loaded: &Loaded, replica: Replica<'_>) -> Result<Config, Failure> {
    let config = &loaded.config;
    let Replica { node, shard } = replica;
    let others = config.store.of_shard(shard).filter(|other| other.id != node.id);
    let ring = config.store.shards().into_iter().map(|shard| {
        let nodes = config.store.of_shard(shard).map(|node| node.reached_at().to_owned());
        ShardNodes { nodes: nodes.collect() }
    });
    Ok(Config {
        cluster: config.cluster.clone(),
        node: node.id,
        folder: node.folder_in(&loaded.folder()),
        listen: resolve("store.nodes.listen", &node.listen)?,
        peers: others.map(|other| Peer { node: other.id, address: other.reached_at().to_owned() }).collect(),
        group: shard,
        ring: ring.collect(),
        routing: config.store.routing,
        mqtt: Some(config.broker.listen.clone()),
        mqtt_login: login(loaded)?.map(|(user, password)| Login { user, password }),
        tick_ms: config.store.tick_ms,
        preferred_leader: config.store.preferred_leader_of(shard),
        snapshot_log_bytes: config.store.snapshot_bytes,
        snapshot_seconds: config.store.snapshot_seconds,
        files_kept: usize::try_from(config.store.files_kept).unwrap_or(usize::MAX),
        snapshot_bytes_per_second: config.store.snapshot_bytes_per_second,
        table_bytes_max: config.store.map_bytes,
        disk_reserve_bytes: config.store.disk_reserve_bytes,
        rehearsal: config.rehearsal,
        ..Config::default()
    })
}

/// An address to listen on.
///
/// # Errors
/// It is none, or has no address here.
pub fn resolve(key: &str, listen: &str) -> Result<SocketAddr, Failure> {
    let mut found = listen
        .to_socket_addrs()
        .map_err(|e| Failure::usage(format!("configuration: {key} is {listen:?}: {e}")))?;
    found.next().ok_or_else(|| Failure::usage(format!("configuration: {key} is {listen:?}: no such address")))
}

/// An error with what caused it.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_brings_a_node_back_can_be_given_as_it_stands() {
        let path = crate::config::load::FILE_DEFAULT.into();
        let loaded = Loaded {
            config: crate::config::shape::Config::default(),
            path,
            from_file: true,
            set: Vec::new(),
        };
        let of = |shards: &[u64], group| {
            let node = Node { id: 3, shards: shards.to_vec(), ..Node::default() };
            let next = brought_back(&loaded, &node, group);
            next.rsplit_once(": ").unwrap().1.to_owned()
        };
        assert_eq!(of(&[1], Some(1)), "feira member replace 3");
        assert_eq!(of(&[1, 2], Some(2)), "feira member replace 3 --shard 2");
        assert_eq!(of(&[1, 2], None), "feira member replace 3");
    }
}
