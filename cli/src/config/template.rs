//! The commented file that `feira up` writes on a cluster's first start.

use std::fmt::Write;

use super::shape::BrokerKind;

/// What a new cluster shall look like.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// Shards of the ring.
    pub shards: u64,
    /// Nodes with a replica of each shard.
    pub nodes: u64,
    /// Each shard has nodes of its own.
    pub apart: bool,
    /// Administrators' portals.
    pub admin_portals: u64,
    /// Shoppers' portals.
    pub client_portals: u64,
    /// The broker.
    pub broker: BrokerKind,
    /// Port 0 everywhere: allotted at the first start and written back.
    pub any_ports: bool,
    /// Faults may be planted.
    pub rehearsal: bool,
}

impl Default for Fresh {
    fn default() -> Fresh {
        Fresh {
            shards: 1,
            nodes: 3,
            apart: false,
            admin_portals: 1,
            client_portals: 1,
            broker: BrokerKind::Embedded,
            any_ports: false,
            rehearsal: false,
        }
    }
}

/// The file's text; without `any_ports` it says what [`super::shape::Config::default`] says.
#[must_use]
pub fn template(fresh: &Fresh) -> String {
    let port = |fixed: u64| if fresh.any_ports { 0 } else { fixed };
    let broker = match fresh.broker {
        BrokerKind::Embedded => "embedded",
        BrokerKind::Mosquitto => "mosquitto",
        BrokerKind::External => "external",
    };
    let mut text = HEAD.replace("{broker}", broker).replace("{broker_port}", &port(7431).to_string());
    text = text.replace("{rehearsal}", if fresh.rehearsal { "true" } else { "false" });
    text.push_str(NODES);
    let is_apart = fresh.apart && fresh.shards > 1;
    for id in 1..=if is_apart { fresh.nodes * fresh.shards } else { fresh.nodes } {
        // The ports between are the portals' and the broker's.
        let port = port(if is_apart { 7500 + id } else { 7400 + id });
        let shards: Vec<String> = (1..=fresh.shards).map(|shard| shard.to_string()).collect();
        let shards = match fresh.shards {
            1 => String::new(),
            _ if is_apart => format!("shard = {}\n", id.div_ceil(fresh.nodes)),
            _ => format!("shards = [{}]\n", shards.join(", ")),
        };
        write!(text, "\n[[store.nodes]]\nid = {id}\n{shards}listen = \"127.0.0.1:{port}\"\n")
            .expect("text grows");
    }
    text.push_str("\n# The portals, as many of each as wanted.\n");
    for at in 1..=fresh.admin_portals {
        let port = port(7410 + at);
        write!(text, "[[admin_portals]]\nlisten = \"127.0.0.1:{port}\"\n\n").expect("text grows");
    }
    for at in 1..=fresh.client_portals {
        let port = port(7420 + at);
        write!(text, "[[client_portals]]\nlisten = \"127.0.0.1:{port}\"\n\n").expect("text grows");
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

const HEAD: &str = r#"# A feira cluster. Every value can be overridden: FEIRA_PORTAL__LEASE_MS=500, or --set portal.lease_ms=500.
# `feira config` shows what is in force. Port 0: `feira up` allots one and writes it here.

# Part of MQTT topics: 1 to 32 of a-z, 0-9 and -.
cluster = "feira"
# Where everything is kept; relative to this file.
folder = "feira-data"
# Who speaks as a node or an operator; relative to this file; "": cluster.key, or portals.key if only that is there.
key = ""
# error, warn, info, debug, trace, or a filter such as "info,store_engine=debug".
log = "info"
# Under `feira up`, a part's next log file is begun after so many bytes; so many older ones are kept.
log_bytes = 16777216
log_files_kept = 3
# true: faults may be planted (feira log plant, feira node hold-commit), for rehearsals; never for a shop.
rehearsal = {rehearsal}

[store]
# A new snapshot is begun, and the log rolls, after so many seconds or bytes of log (or a quarter of a large state).
snapshot_seconds = 300
snapshot_bytes = 67108864
# So many of the newest snapshots, and of the newest log files, are kept.
files_kept = 3
# Bytes a second at which a node sends a snapshot to one that is too far behind, or a backup.
snapshot_bytes_per_second = 67108864
# One tick of the protocol's clock: heartbeats and election timers count in it.
tick_ms = 10
# The largest size a node's database may grow to, in bytes (disk is used only as it fills).
map_bytes = 17179869184
# Bytes of the file system that writes leave free.
disk_reserve_bytes = 268435456
# The node that should lead when it can; 0: any; where nodes hold several shards, each then leads some of them.
preferred_leader = 0
# How what came to a node of another shard gets to the owner: full (in one hop), fingers, neighbours.
routing = "full"

[broker]
# embedded (inside feira), mosquitto (started by `feira up`), or external (runs already at `listen`).
kind = "{broker}"
listen = "127.0.0.1:{broker_port}"
# The program to start if kind is mosquitto.
program = "mosquitto"
# Settings for mosquitto; relative to this file; "": those that feira carries.
settings = ""
# Who nodes and portals say that they are to mosquitto or an external broker, and the file with the password; "": nobody.
user = ""
password_file = ""

[portal]
# Records and absences that a portal's cache holds.
cache_entries = 100000
# Bytes that those may have together.
cache_bytes = 268435456
# How long a freshness heartbeat of the store lets a cache answer: the bound on staleness.
lease_ms = 1000
# An entry of a cache that is older is read again though the lease holds: the last defence; at least lease_ms.
cache_age_ms_max = 600000
# After so long a portal gives up a request.
deadline_ms = 5000
# Whether client portals take orders over the broker, too: whoever may publish there orders in any client's name.
mqtt = true

[tool]
# How long a command is retried before it is given up.
patience_seconds = 10
# What `sair` gives to outstanding answers; at least 5.
grace_seconds = 5
"#;

const NODES: &str = r#"
# The nodes of the store, each a process: 1, 3, 4, 5 or 7 for a new shard. Later, feira member adds, removes and replaces them, here too.
# Each holds a replica of its `shard` (else 1), or of each of its `shards`, such as [1, 2, 3]; it may have `address` (host:port where
# others reach it, if not as `listen`) and `folder` (else node-<id>).
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check::check;
    use crate::config::shape::Config;

    #[test]
    fn the_file_says_what_the_defaults_say() {
        let config: Config = toml::from_str(&template(&Fresh::default())).unwrap();
        assert_eq!(config, Config::default());
    }

    #[test]
    fn a_file_for_more_of_everything_is_allowed() {
        let fresh =
            Fresh { nodes: 4, admin_portals: 2, client_portals: 3, any_ports: true, ..Fresh::default() };
        let config: Config = toml::from_str(&template(&fresh)).unwrap();
        check(&config).unwrap();
        assert_eq!((config.store.nodes.len(), config.client_portals.len()), (4, 3));
        assert!(config.store.nodes.iter().all(|n| n.listen.ends_with(":0")));
    }

    #[test]
    fn a_file_of_several_shards_has_them_on_the_same_nodes() {
        let fresh = Fresh { shards: 3, nodes: 5, ..Fresh::default() };
        let config: Config = toml::from_str(&template(&fresh)).unwrap();
        check(&config).unwrap();
        assert_eq!((config.store.nodes.len(), config.store.replicas().len()), (5, 15));
        assert!(config.store.nodes.iter().all(|node| node.shards == [1, 2, 3]));
        let ports: Vec<&str> = config.store.nodes.iter().map(|node| node.listen.as_str()).collect();
        assert_eq!(ports[4], "127.0.0.1:7405");
    }

    #[test]
    fn shards_that_stand_apart_have_nodes_of_their_own() {
        let fresh = Fresh { shards: 3, nodes: 5, apart: true, ..Fresh::default() };
        let config: Config = toml::from_str(&template(&fresh)).unwrap();
        check(&config).unwrap();
        assert_eq!(config.store.shards(), [1, 2, 3]);
        let ids = |shard| config.store.of_shard(shard).map(|node| node.id).collect::<Vec<_>>();
        assert_eq!((ids(1), ids(3)), (vec![1, 2, 3, 4, 5], vec![11, 12, 13, 14, 15]));
    }

    #[test]
    fn every_key_is_in_the_file_and_has_a_comment_near() {
        let text = template(&Fresh::default());
        let all = toml::to_string(&Config::default()).unwrap();
        for line in all.lines().filter_map(|line| line.split_once(" = ")) {
            let key = line.0;
            let optional = ["address", "folder", "shard", "shards"].contains(&key);
            assert!(text.contains(&format!("{key} = ")) || optional, "{key} is not in the template");
        }
    }
}
