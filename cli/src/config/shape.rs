//! The configuration as types: every value, its meaning and its default.
//!
//! One file describes a whole cluster, so that each process finds its own part and everybody else's address in
//! it. Leaves out: where values come from ([`super::load`]) and which are allowed ([`super::check`]).

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use store_keys::ClusterId;
use store_server::Routing;

/// The whole file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The cluster's name: part of MQTT topics.
    pub cluster: String,
    /// Where everything is kept; relative to this file.
    pub folder: PathBuf,
    /// The cluster's key file; relative to this file; empty: `cluster.key`, or `portals.key` if only that is there.
    pub key: PathBuf,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,store_engine=debug`.
    pub log: String,
    /// Bytes of a log file of `feira up` after which the next is begun.
    pub log_bytes: u64,
    /// So many log files of a part are kept besides the one that is written.
    pub log_files_kept: usize,
    /// Faults may be planted (`feira log plant`, `feira node hold-commit`): for rehearsals, never for a shop.
    pub rehearsal: bool,
    /// The replicated store.
    pub store: Store,
    /// The MQTT broker.
    pub broker: Broker,
    /// What all portals share.
    pub portal: Portal,
    /// The administrators' portals.
    pub admin_portals: Vec<Instance>,
    /// The shoppers' portals.
    pub client_portals: Vec<Instance>,
    /// The tools.
    pub tool: Tool,
}

/// The replicated store.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Seconds after which a new snapshot is begun and the log rolls.
    pub snapshot_seconds: u64,
    /// Bytes of log after which a new snapshot is begun and the log rolls; a quarter of a large state, if that is more.
    pub snapshot_bytes: u64,
    /// So many of the newest snapshots, and of the newest log files, are kept.
    pub files_kept: u64,
    /// Bytes a second at which a node sends a snapshot to one that is too far behind, or a backup.
    pub snapshot_bytes_per_second: u64,
    /// One tick of the protocol's clock, in milliseconds: heartbeats and election timers count in it.
    pub tick_ms: u64,
    /// The largest size the database may grow to, in bytes.
    pub map_bytes: u64,
    /// Bytes of the file system that writes leave free.
    pub disk_reserve_bytes: u64,
    /// The node that should lead when it can; 0: any ([`Store::preferred_leader_of`] says more).
    pub preferred_leader: u64,
    /// How a request that came to a node of another shard gets to the owner of its key.
    pub routing: Routing,
    /// How many shards the ring has, where the nodes below are those of one only: no value of the file.
    #[serde(skip)]
    pub shards_in_all: Option<usize>,
    /// Its nodes: a new shard has 1, 3, 4, 5 or 7; `feira member` puts more in and takes some out.
    pub nodes: Vec<Node>,
}

/// One node of the store: a process with one port and one folder, which holds a replica of each of its shards.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "NodeInFile", into = "NodeInFile")]
pub struct Node {
    /// Its number, from 1; never given to another folder.
    pub id: u64,
    /// Its shards of the ring, from 1, each once.
    pub shards: Vec<u64>,
    /// host:port where it serves; port 0: `feira up` allots one and writes it here.
    pub listen: String,
    /// host:port where others reach it; empty: as `listen`.
    pub address: String,
    /// Its folder; relative to `folder` above; empty: `node-<id>`.
    pub folder: PathBuf,
    /// The cluster whose node answers there, if that is known: no value of the file.
    pub cluster: Option<ClusterId>,
}

/// A node as the file has it: with one shard, or with several, or with none said, which is the first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeInFile {
    id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shard: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shards: Option<Vec<u64>>,
    listen: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    folder: PathBuf,
}

const FIRST_SHARD: u64 = 1;

impl TryFrom<NodeInFile> for Node {
    type Error = String;

    fn try_from(file: NodeInFile) -> Result<Node, String> {
        let NodeInFile { id, shard, shards, listen, address, folder } = file;
        let shards = match (shard, shards) {
            (Some(_), Some(_)) => {
                return Err(format!("node {id} has both `shard` and `shards`: leave one of the two"));
            }
            (None, Some(shards)) => shards,
            (shard, None) => vec![shard.unwrap_or(FIRST_SHARD)],
        };
        Ok(Node { id, shards, listen, address, folder, cluster: None })
    }
}

impl From<Node> for NodeInFile {
    fn from(node: Node) -> NodeInFile {
        let Node { id, shards, listen, address, folder, cluster: _ } = node;
        let (shard, shards) = match shards.as_slice() {
            [FIRST_SHARD] => (None, None),
            [one] => (Some(*one), None),
            _ => (None, Some(shards)),
        };
        NodeInFile { id, shard, shards, listen, address, folder }
    }
}

/// One replica: a node, and one of its shards.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Replica<'a> {
    /// The node that holds it.
    pub node: &'a Node,
    /// The shard whose replica it is.
    pub shard: u64,
}

impl Default for Node {
    fn default() -> Node {
        Node {
            id: 0,
            shards: vec![FIRST_SHARD],
            listen: String::new(),
            address: String::new(),
            folder: PathBuf::new(),
            cluster: None,
        }
    }
}

/// Which MQTT broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BrokerKind {
    /// The one inside feira.
    Embedded,
    /// mosquitto, started by `feira up`.
    Mosquitto,
    /// One that somebody else runs at `listen`.
    External,
}

/// The MQTT broker.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Broker {
    /// embedded, mosquitto, or external.
    pub kind: BrokerKind,
    /// host:port of the broker.
    pub listen: String,
    /// The program to start if `kind` is mosquitto.
    pub program: String,
    /// Settings for it; relative to this file; empty: those that feira carries.
    pub settings: PathBuf,
    /// Who nodes and portals say that they are, to a broker that asks; empty: nobody.
    pub user: String,
    /// The file with that user's password, one line; relative to this file; empty: no password.
    pub password_file: PathBuf,
}

/// What all portals share.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Portal {
    /// Entries (records and absences) that a portal's cache holds.
    pub cache_entries: usize,
    /// Bytes that those entries may have together.
    pub cache_bytes: usize,
    /// Milliseconds for which a freshness heartbeat lets a cache answer: the bound on staleness.
    pub lease_ms: u64,
    /// Milliseconds after which an entry of a cache is read again though its lease holds: the last defence.
    pub cache_age_ms_max: u64,
    /// Milliseconds after which a portal gives up a request.
    pub deadline_ms: u64,
    /// Whether client portals take orders over the broker, too.
    pub mqtt: bool,
}

/// One portal.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// host:port where it serves; port 0: `feira up` allots one and writes it here.
    pub listen: String,
}

/// The tools.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tool {
    /// Seconds for which a command is retried before it is given up.
    pub patience_seconds: u64,
    /// Seconds that `sair` gives to outstanding answers.
    pub grace_seconds: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            cluster: "feira".into(),
            folder: "feira-data".into(),
            key: PathBuf::new(),
            log: "info".into(),
            log_bytes: 16 << 20,
            log_files_kept: 3,
            rehearsal: false,
            store: Store::default(),
            broker: Broker::default(),
            portal: Portal::default(),
            admin_portals: vec![Instance { listen: "127.0.0.1:7411".into() }],
            client_portals: vec![Instance { listen: "127.0.0.1:7421".into() }],
            tool: Tool::default(),
        }
    }
}

impl Default for Store {
    fn default() -> Store {
        let node = |id: u64| Node { id, listen: format!("127.0.0.1:{}", 7400 + id), ..Node::default() };
        Store {
            snapshot_seconds: 300,
            snapshot_bytes: 64 << 20,
            files_kept: 3,
            snapshot_bytes_per_second: 64 << 20,
            tick_ms: 10,
            map_bytes: 16 << 30,
            disk_reserve_bytes: 256 << 20,
            preferred_leader: 0,
            routing: Routing::Full,
            shards_in_all: None,
            nodes: (1..=3).map(node).collect(),
        }
    }
}

impl Default for Broker {
    fn default() -> Broker {
        Broker {
            kind: BrokerKind::Embedded,
            listen: "127.0.0.1:7431".into(),
            program: "mosquitto".into(),
            settings: PathBuf::new(),
            user: String::new(),
            password_file: PathBuf::new(),
        }
    }
}

impl Default for Portal {
    fn default() -> Portal {
        Portal {
            cache_entries: 100_000,
            cache_bytes: 256 << 20,
            lease_ms: 1_000,
            cache_age_ms_max: 600_000,
            deadline_ms: 5_000,
            mqtt: true,
        }
    }
}

impl Default for Tool {
    fn default() -> Tool {
        Tool { patience_seconds: 10, grace_seconds: 5 }
    }
}

impl Config {
    /// The cluster that is meant, if that is known.
    #[must_use]
    pub fn whose(&self) -> Option<ClusterId> {
        self.store.nodes.first().and_then(|node| node.cluster)
    }

    /// The same with the replicas of one shard only, for what is asked of one group.
    #[must_use]
    pub fn of_shard(&self, shard: u64) -> Config {
        let mut config = self.clone();
        config.store.shards_in_all = Some(self.store.shard_count());
        config.store.nodes.retain(|node| node.has(shard));
        config.store.nodes.iter_mut().for_each(|node| node.shards = vec![shard]);
        config
    }

    /// From now on this cluster is meant.
    pub fn mean(&mut self, cluster: Option<ClusterId>) {
        self.store.nodes.iter_mut().for_each(|node| node.cluster = cluster);
    }
}

impl Store {
    /// The shards of the ring, in order.
    #[must_use]
    pub fn shards(&self) -> Vec<u64> {
        let shards: BTreeSet<u64> = self.nodes.iter().flat_map(|node| node.shards.iter().copied()).collect();
        shards.into_iter().collect()
    }

    /// How many shards the ring has.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.shards_in_all.unwrap_or_else(|| self.shards().len())
    }

    /// The nodes with a replica of a shard.
    pub fn of_shard(&self, shard: u64) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.has(shard))
    }

    /// Every replica, shard by shard, those of a shard in the order of the file.
    #[must_use]
    pub fn replicas(&self) -> Vec<Replica<'_>> {
        let of_shard = |shard: u64| self.of_shard(shard).map(move |node| Replica { node, shard });
        self.shards().into_iter().flat_map(of_shard).collect()
    }

    /// Whether some node holds replicas of several shards.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.nodes.iter().any(Node::is_shared)
    }

    /// The node that should lead a shard. Where the file names none and nodes hold replicas of several shards, leaders are spread:
    /// shard by shard one node after the other, in the order of their ids. Nodes whose files differ (one came, one went) may want
    /// different leaders until they have the same.
    #[must_use]
    pub fn preferred_leader_of(&self, shard: u64) -> Option<u64> {
        if self.preferred_leader != 0 {
            return Some(self.preferred_leader);
        }
        if !self.of_shard(shard).any(Node::is_shared) {
            return None;
        }
        let ids: BTreeSet<u64> = self.of_shard(shard).map(|node| node.id).collect();
        let turn = shard.saturating_sub(FIRST_SHARD) % u64::try_from(ids.len()).ok()?;
        ids.into_iter().nth(usize::try_from(turn).ok()?)
    }
}

impl Node {
    /// host:port where others reach it.
    #[must_use]
    pub fn reached_at(&self) -> &str {
        if self.address.is_empty() { &self.listen } else { &self.address }
    }

    /// The name of its process in a local cluster.
    #[must_use]
    pub fn name(&self) -> String {
        format!("node-{}", self.id)
    }

    /// Whether it holds a replica of this shard.
    #[must_use]
    pub fn has(&self, shard: u64) -> bool {
        self.shards.contains(&shard)
    }

    /// Whether it holds replicas of several shards.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shards.len() > 1
    }

    /// Its replicas.
    pub fn replicas(&self) -> impl Iterator<Item = Replica<'_>> {
        self.shards.iter().map(|shard| Replica { node: self, shard: *shard })
    }

    /// What stops with it, in words; nothing where it holds one replica.
    #[must_use]
    pub fn with_its_replicas(&self) -> String {
        if !self.is_shared() {
            return String::new();
        }
        let shards: Vec<String> = self.shards.iter().map(u64::to_string).collect();
        format!("with its replicas of the shards {}", shards.join(", "))
    }

    /// Its folder under the cluster's.
    #[must_use]
    pub fn folder_in(&self, cluster: &std::path::Path) -> PathBuf {
        if self.folder.as_os_str().is_empty() {
            cluster.join(self.name())
        } else {
            cluster.join(&self.folder)
        }
    }
}

impl Replica<'_> {
    /// What a command needs besides the node to mean this replica: nothing, or its shard.
    #[must_use]
    pub fn option(self) -> String {
        if self.node.is_shared() { format!(" --shard {}", self.shard) } else { String::new() }
    }

    /// Its place on a ring of so many shards.
    #[must_use]
    pub fn shard_of(self, shards: usize) -> store_server::Shard {
        store_server::Shard { group: self.shard, of: shards }
    }

    /// Its name in words: that of its node, and of its shard where the node holds several.
    #[must_use]
    pub fn name(self) -> String {
        let name = self.node.name();
        if self.node.is_shared() { format!("{name} (shard {})", self.shard) } else { name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Result<Node, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    /// `nodes` nodes, each with replicas of `shards` shards.
    fn shared(nodes: u64, shards: u64) -> Store {
        let node = |id| Node { id, shards: (1..=shards).collect(), ..Node::default() };
        Store { nodes: (1..=nodes).map(node).collect(), ..Store::default() }
    }

    #[test]
    fn a_node_has_one_shard_or_several_and_is_written_as_it_is_read() {
        let rest = "id = 4\nlisten = \"127.0.0.1:7404\"\n";
        for (line, shards) in [
            ("", vec![1]),
            ("shard = 1\n", vec![1]),
            ("shard = 2\n", vec![2]),
            ("shards = [3]\n", vec![3]),
            ("shards = [1, 3]\n", vec![1, 3]),
        ] {
            let read = node(&format!("{line}{rest}")).unwrap();
            assert_eq!(read.shards, shards, "{line}");
            let text = toml::to_string(&read).unwrap();
            assert_eq!(node(&text).unwrap(), read, "{text}");
        }
        assert!(
            !toml::to_string(&node(rest).unwrap()).unwrap().contains("shard"),
            "as before there were any"
        );
        let both = node(&format!("shard = 1\nshards = [1, 2]\n{rest}")).unwrap_err();
        assert!(both.contains("node 4 has both `shard` and `shards`"), "{both}");
        assert!(node(&format!("shardz = 1\n{rest}")).is_err());
    }

    #[test]
    fn replicas_are_told_shard_by_shard() {
        let mut store = shared(2, 2);
        store.nodes.push(Node { id: 9, shards: vec![2], ..Node::default() });
        let all: Vec<(u64, u64)> = store.replicas().iter().map(|one| (one.shard, one.node.id)).collect();
        assert_eq!(all, [(1, 1), (1, 2), (2, 1), (2, 2), (2, 9)]);
        assert_eq!(store.nodes[0].with_its_replicas(), "with its replicas of the shards 1, 2");
        assert_eq!(store.nodes[2].with_its_replicas(), "");
        let config = Config { store, ..Config::default() }.of_shard(2);
        assert_eq!(config.store.shards(), [2]);
        assert_eq!(config.store.replicas().len(), 3);
        assert_eq!(config.store.shard_count(), 2);
    }

    #[test]
    fn leaders_are_spread_over_nodes_that_hold_several_shards() {
        let preferred = |store: &Store| -> Vec<Option<u64>> {
            store.shards().into_iter().map(|shard| store.preferred_leader_of(shard)).collect()
        };
        assert_eq!(preferred(&shared(3, 6)), [1, 2, 3, 1, 2, 3].map(Some));
        for (ids, shards, least) in
            [(1..4, 3, 1), (1..4, 12, 4), (1..6, 5, 1), (1..6, 60, 12), (4..7, 3, 1), (4..11, 7, 1)]
        {
            let node = |id| Node { id, shards: (1..=shards).collect(), ..Node::default() };
            let store = Store { nodes: ids.clone().rev().map(node).collect(), ..Store::default() };
            let all = preferred(&store);
            let leads = |id: u64| all.iter().filter(|leader| **leader == Some(id)).count();
            assert!(ids.clone().all(|id| leads(id) >= least), "{shards} shards on {ids:?}: {all:?}");
        }
        let mut replaced = shared(3, 3);
        (replaced.nodes[1].id, replaced.nodes[2].id) = (5, 4);
        assert_eq!(preferred(&replaced), [1, 4, 5].map(Some), "two were replaced by others");
        assert_eq!(preferred(&shared(3, 1)), [None], "one shard is led by any");
        assert_eq!(preferred(&Store { preferred_leader: 2, ..shared(3, 3) }), [2, 2, 2].map(Some));
        let node = |id| Node { id, shards: vec![id.div_ceil(3)], ..Node::default() };
        let apart = Store { nodes: (1..=6).map(node).collect(), ..Store::default() };
        assert_eq!(preferred(&apart), [None, None], "nodes of one shard each are led by any of theirs");
    }
}
