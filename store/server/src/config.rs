//! A store node's configuration, and its defaults: the section `[store]` of the configuration file.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use store_core::ring::RoutingTable;
use store_engine::limits::MEMBERS_MAX;

use crate::error::Error;
use crate::shard::Shard;

/// Bytes of a cluster's name: it is part of MQTT topics and of every stream's first message.
pub(crate) const CLUSTER_NAME_BYTES_MAX: usize = 64;
/// Bytes of an address at most.
pub(crate) const ADDRESS_BYTES_MAX: usize = 261;

/// A store node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The cluster's name: 1 to 64 letters, digits, `-`, `_` or `.`. Part of the MQTT topics.
    pub cluster: String,
    /// This node's id, from 1; its folder must be its own.
    pub node: u64,
    /// The node's folder; each replica group has a folder `groups/<id>` in it.
    pub folder: PathBuf,
    /// Where to listen. Port 0: any free one, which is reported. Loopback unless said otherwise.
    pub listen: SocketAddr,
    /// Addresses of other nodes of this node's shard that differ from those in the log's membership.
    pub peers: Vec<Peer>,
    /// The group of this node's shard: 1 to the number of shards, in the order of the ring's slots.
    pub group: u64,
    /// All shards of the ring, in the order of its slots; empty: one, of any nodes. 64 at most.
    pub ring: Vec<ShardNodes>,
    /// Which shards' nodes are asked for what is another shard's.
    pub routing: Routing,
    /// `host:port` of the MQTT broker for the change feed; absent: no feed is published.
    pub mqtt: Option<String>,
    /// This node's login at that broker, if the broker asks.
    #[serde(skip)]
    pub mqtt_login: Option<Login>,
    /// Milliseconds of a tick, the unit of the protocol's timers. 1 to 1,000.
    pub tick_ms: u64,
    /// Ticks between heartbeats of an idle leader.
    pub heartbeat_ticks: u32,
    /// The shortest election timer; more than two heartbeats.
    pub election_ticks_min: u32,
    /// The longest election timer; at least a third more than the shortest.
    pub election_ticks_max: u32,
    /// The node that should lead when it can; the same on all nodes.
    pub preferred_leader: Option<u64>,
    /// A snapshot is written, and the log rolled, when the log has grown by so many bytes. At least 1 MiB.
    pub snapshot_log_bytes: u64,
    /// And after so many seconds if there is something new. At least 1.
    pub snapshot_seconds: u64,
    /// So many of the newest snapshots, and of the newest log files, are kept. 1 to 1,000.
    pub files_kept: usize,
    /// The largest size of the database, in bytes of address space. 64 MiB to 16 TiB.
    pub table_bytes_max: u64,
    /// Bytes of the file system that writes leave free.
    pub disk_reserve_bytes: u64,
    /// Bytes of the database that writes leave free.
    pub table_reserve_bytes: u64,
    /// Bytes a second of a snapshot sent to a replica that is too far behind. At least 1 MiB.
    pub snapshot_bytes_per_second: u64,
    /// How long a client's request may wait for its answer, milliseconds. 100 to 600,000.
    pub request_ms_max: u64,
    /// Streams and calls that one client connection may have open.
    pub streams_per_connection_max: u32,
    /// The longest transfer of leadership at a graceful stop, milliseconds.
    pub transfer_ms_max: u64,
    /// Operators may plant faults: hold back commit orders.
    pub rehearsal: bool,
}

/// Where to find a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its id.
    pub node: u64,
    /// `host:port` of its store service.
    pub address: String,
}

/// Where one shard of the ring is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardNodes {
    /// `host:port` of the store services of some of its nodes, one at least: the others are learnt.
    pub nodes: Vec<String>,
}

/// How a request gets to the shard that owns its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Routing {
    /// To the owner, in one hop.
    #[default]
    Full,
    /// To the nearest of the shards 1, 2, 4 … slots away.
    Fingers,
    /// To the next shard, the shorter way round.
    Neighbours,
}

impl Routing {
    pub(crate) fn table(self) -> RoutingTable {
        match self {
            Routing::Full => RoutingTable::Full,
            Routing::Fingers => RoutingTable::Fingers,
            Routing::Neighbours => RoutingTable::Neighbours,
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            cluster: "feira".to_owned(),
            node: 1,
            folder: PathBuf::from("store"),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            peers: Vec::new(),
            group: 1,
            ring: Vec::new(),
            routing: Routing::Full,
            mqtt: None,
            mqtt_login: None,
            tick_ms: 10,
            heartbeat_ticks: store_core::limits::TICKS_HEARTBEAT,
            election_ticks_min: store_core::limits::TICKS_ELECTION_MIN,
            election_ticks_max: store_core::limits::TICKS_ELECTION_MAX,
            preferred_leader: None,
            snapshot_log_bytes: 64 << 20,
            snapshot_seconds: 3_600,
            files_kept: store_log::limits::FILES_KEPT_DEFAULT,
            table_bytes_max: 16 << 30,
            disk_reserve_bytes: 256 << 20,
            table_reserve_bytes: 64 << 20,
            snapshot_bytes_per_second: 64 << 20,
            request_ms_max: 30_000,
            streams_per_connection_max: admission::limits::REQUESTS_MAX,
            transfer_ms_max: 2_000,
            rehearsal: false,
        }
    }
}

/// A user of a broker. Its password is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password; empty: none.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Config {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// The first field that is wrong, and what would be right.
    pub fn check(&self) -> Result<(), Error> {
        check_cluster(&self.cluster)?;
        ensure(self.node > 0, "node", || "node ids begin at 1".to_owned())?;
        ensure(!self.folder.as_os_str().is_empty(), "folder", || "is missing".to_owned())?;
        self.check_peers()?;
        self.check_ring()?;
        ensure(self.listen.port() > 0 || !self.listen.ip().is_unspecified(), "listen", || {
            "means any port at every address: where it is reached could be told to nobody".to_owned()
        })?;
        if let Some(broker) = &self.mqtt {
            split_address(broker).ok_or_else(|| wrong("mqtt", format!("{broker:?} is not host:port")))?;
        }
        self.check_timers()?;
        let at_least = |field, value: u64, least: u64| {
            ensure(value >= least, field, || format!("{value} is less than {least}"))
        };
        at_least("snapshot_log_bytes", self.snapshot_log_bytes, 1 << 20)?;
        at_least("snapshot_seconds", self.snapshot_seconds, 1)?;
        let kept = 1..=store_log::limits::FILES_KEPT_MAX;
        ensure(kept.contains(&self.files_kept), "files_kept", || format!("is not {kept:?}"))?;
        at_least("table_bytes_max", self.table_bytes_max, 64 << 20)?;
        ensure(self.table_bytes_max <= 16 << 40, "table_bytes_max", || "is more than 16 TiB".to_owned())?;
        at_least("snapshot_bytes_per_second", self.snapshot_bytes_per_second, 1 << 20)?;
        at_least("streams_per_connection_max", self.streams_per_connection_max.into(), 1)?;
        at_least("request_ms_max", self.request_ms_max, 100)?;
        ensure(self.request_ms_max <= 600_000, "request_ms_max", || "is more than 10 minutes".to_owned())?;
        ensure(self.table_reserve_bytes < self.table_bytes_max / 2, "table_reserve_bytes", || {
            "is more than half of table_bytes_max".to_owned()
        })
    }

    fn check_peers(&self) -> Result<(), Error> {
        ensure(self.peers.len() <= MEMBERS_MAX, "peers", || format!("more than {MEMBERS_MAX}"))?;
        for (i, peer) in self.peers.iter().enumerate() {
            let twice = self.peers[..i].iter().any(|other| other.node == peer.node);
            ensure(!twice, "peers", || format!("node {} is named twice", peer.node))?;
            ensure(peer.node > 0, "peers", || "node ids begin at 1".to_owned())?;
            let good = reachable_address(&peer.address).is_some();
            ensure(good, "peers", || format!("{:?} of node {} is not host:port", peer.address, peer.node))?;
        }
        Ok(())
    }

    fn check_ring(&self) -> Result<(), Error> {
        check_shard(self.shard())?;
        for (at, shard) in self.ring.iter().enumerate() {
            ensure(!shard.nodes.is_empty(), "ring", || format!("shard {} has no nodes", at + 1))?;
            let bad = shard.nodes.iter().find(|node| reachable_address(node).is_none());
            ensure(bad.is_none(), "ring", || {
                format!("{:?} of shard {} is not host:port", bad.unwrap_or(&String::new()), at + 1)
            })?;
        }
        Ok(())
    }

    /// This node's place among the shards of the ring.
    #[must_use]
    pub fn shard(&self) -> Shard {
        Shard { group: self.group, of: self.ring.len().max(1) }
    }

    fn check_timers(&self) -> Result<(), Error> {
        let tick = self.tick_ms;
        ensure((1..=1_000).contains(&tick), "tick_ms", || format!("{tick} is not within 1 and 1,000"))?;
        ensure(self.heartbeat_ticks > 0, "heartbeat_ticks", || "must be at least 1".to_owned())?;
        let (least, most) = (self.election_ticks_min, self.election_ticks_max);
        ensure(least > self.heartbeat_ticks.saturating_mul(2), "election_ticks_min", || {
            format!("{least} is not more than two heartbeats of {} ticks", self.heartbeat_ticks)
        })?;
        ensure(most >= least.saturating_add(least / 3), "election_ticks_max", || {
            format!(
                "{most} is less than a third more than election_ticks_min ({least}): elections would collide"
            )
        })
    }

    /// The folder of this node's replica of `group`.
    #[must_use]
    pub fn group_folder(&self, group: u64) -> PathBuf {
        group_folder(&self.folder, group)
    }
}

/// The folder of a replica of `group` in a node's folder.
#[must_use]
pub fn group_folder(folder: &Path, group: u64) -> PathBuf {
    folder.join("groups").join(group.to_string())
}

/// Host and port of `host:port`; `None` if it is none.
#[must_use]
pub fn split_address(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty() && !host.contains(['/', ' '])).then_some((host.trim_matches(['[', ']']), port))
}

/// As [`split_address`], of an address that somebody can be told: one that means every address of a machine is none.
#[must_use]
pub fn reachable_address(text: &str) -> Option<(&str, u16)> {
    let everywhere = |host: &str| host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
    split_address(text).filter(|(host, _)| !everywhere(host))
}

/// Refuses a cluster name that could not be part of a topic.
pub(crate) fn check_cluster(name: &str) -> Result<(), Error> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let sized = (1..=CLUSTER_NAME_BYTES_MAX).contains(&name.len());
    ensure(sized && name.chars().all(good), "cluster", || {
        format!("{name:?} is not 1 to {CLUSTER_NAME_BYTES_MAX} letters, digits, '-', '_' or '.'")
    })
}

/// Refuses a shard that is not on its ring.
pub(crate) fn check_shard(shard: Shard) -> Result<(), Error> {
    match shard.ring() {
        Ok((_, Some(_))) => Ok(()),
        Ok((_, None)) => Err(wrong("group", format!("{} is not one of {} shards", shard.group, shard.of))),
        Err(error) => Err(wrong("ring", error.to_string())),
    }
}

pub(crate) fn wrong(field: &'static str, problem: impl Into<String>) -> Error {
    Error::Config { field, problem: problem.into() }
}

fn ensure(holds: bool, field: &'static str, problem: impl FnOnce() -> String) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(wrong(field, problem())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.check().expect_err("cannot work").to_string()
    }

    #[test]
    fn the_defaults_work_and_stay_on_loopback() {
        let config = Config::default();
        assert!(config.check().is_ok() && config.listen.ip().is_loopback());
    }

    #[test]
    fn what_cannot_work_is_refused_by_field() {
        assert!(refused(|c| c.cluster = "a/b".to_owned()).contains("cluster"));
        assert!(refused(|c| c.cluster = String::new()).contains("cluster"));
        assert!(refused(|c| c.node = 0).contains("node"));
        assert!(refused(|c| c.tick_ms = 0).contains("tick_ms"));
        assert!(refused(|c| c.election_ticks_min = c.heartbeat_ticks).contains("election_ticks_min"));
        assert!(refused(|c| c.election_ticks_max = c.election_ticks_min).contains("election_ticks_max"));
        assert!(refused(|c| c.mqtt = Some("localhost".to_owned())).contains("mqtt"));
        assert!(refused(|c| c.table_reserve_bytes = c.table_bytes_max).contains("table_reserve_bytes"));
        let peer = |node, address: &str| Peer { node, address: address.to_owned() };
        assert!(refused(|c| c.peers = vec![peer(2, "nowhere")]).contains("host:port"));
        assert!(refused(|c| c.peers = vec![peer(2, "a:1"), peer(2, "b:1")]).contains("twice"));
    }

    #[test]
    fn a_ring_without_this_node_or_with_a_shard_of_no_nodes_is_refused() {
        let shard = |node: &str| ShardNodes { nodes: vec![node.to_owned()] };
        let ring = |group, shards: &[ShardNodes]| {
            let ring = shards.to_vec();
            Config { group, ring, ..Config::default() }.check().map_err(|error| error.to_string())
        };
        assert_eq!(ring(2, &[shard("a:1"), shard("b:1")]), Ok(()));
        assert!(
            ring(3, &[shard("a:1"), shard("b:1")]).expect_err("no such shard").contains("3 is not one of 2")
        );
        assert!(ring(2, &[]).is_err() && ring(0, &[shard("a:1")]).is_err());
        assert!(ring(1, &[shard("a:1"), ShardNodes::default()]).expect_err("no nodes").contains("shard 2"));
        assert!(ring(1, &[shard("nowhere")]).expect_err("no address").contains("host:port"));
        assert!(ring(1, &vec![shard("a:1"); 65]).expect_err("too many").contains("64"));
    }

    #[test]
    fn addresses_are_split_at_the_port() {
        assert_eq!(split_address("[::1]:1883"), Some(("::1", 1883)));
        assert_eq!(split_address("broker:1883"), Some(("broker", 1883)));
        assert_eq!((split_address("broker:0"), split_address(":1")), (None, None));
    }

    #[test]
    fn an_address_that_means_every_address_is_told_to_nobody() {
        assert_eq!(reachable_address("broker:1883"), Some(("broker", 1883)));
        assert_eq!((reachable_address("0.0.0.0:7401"), reachable_address("[::]:7401")), (None, None));
        let peers = vec![Peer { node: 2, address: "0.0.0.0:7402".to_owned() }];
        assert!(refused(|c| c.peers = peers).contains("host:port"));
        assert!(refused(|c| c.listen = "0.0.0.0:0".parse().unwrap()).contains("listen"));
    }
}
