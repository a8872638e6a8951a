//! The command line: subcommands, flags and their help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bench::args::{self as bench, Bench};
use crate::config::check::port_of;
use crate::config::shape::BrokerKind;
use crate::demo::args::Demo;
use crate::exchange::args::{self as exchange, Export, Import};
use crate::ring::RingArgs;
use crate::shop::via::Via;
use crate::show::out::Switches;

/// host:port, where something can be reached.
fn address(word: &str) -> Result<String, String> {
    match port_of(word) {
        Some(1..) => Ok(word.to_owned()),
        _ => Err("it must be host:port, such as 127.0.0.1:7411 (feira config shows yours)".to_owned()),
    }
}

/// A node as people name it: 3, or node-3.
fn node_id(word: &str) -> Result<u64, String> {
    match word.strip_prefix("node-").unwrap_or(word).parse() {
        Ok(id @ 1..) => Ok(id),
        _ => Err("it must be the id of a node, such as 3 or node-3".to_owned()),
    }
}

/// feira: an order-taking backend for shops that keeps selling while machines fail.
#[derive(Parser, Debug)]
#[command(name = "feira", version, about, max_term_width = 100, after_help = AFTER)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub shared: Shared,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Flags that change how answers are shown, wherever they stand: those among the words of a tool's command are taken out.
    pub fn switches(&mut self) -> Switches {
        let words = match &mut self.command {
            Command::Admin(tool) => Some(&mut tool.words),
            Command::Shop(shop) => Some(&mut shop.tool.words),
            Command::Kv(tool) => Some(&mut tool.words),
            _ => None,
        };
        let Shared { json, quiet, wide, .. } = self.shared;
        let mut asked = Switches { json, quiet, wide };
        if let Some(words) = words {
            let (among, rest) = Switches::taken(words);
            *words = rest;
            asked = asked.and(among);
        }
        asked
    }
}

const AFTER: &str = "Exit codes: 0 done, 1 refused, 2 usage, 3 unreachable, 4 conflict, 5 outcome unknown.\n\
                     Start with: feira demo, or feira up and, in another terminal, feira admin.";

const NODE: &str = "Such as: feira node kill 1, feira node start 1, feira node pause broker, feira node transfer-leadership 3 (3 then leads).";
const MEMBER: &str = "Each waits until the change is committed. Given again after a failure, a command goes on where it stopped.";
const HEALTH: &str = "Well is: a leader with a majority, which takes writes, and a portal of each kind that reads through the \
                      store. For containers: feira health --wait 60.";
const ADMIN: &str =
    "Such as: feira admin insert-client name=Ana city=Recife. All commands: feira admin help.";
const SHOP: &str = "Such as: feira shop --cid ana create-order banana=3. All commands: feira shop help.";
const BACKUP: &str =
    "Such as: feira backup --out /backups/shop-monday. What it holds: feira restore --verify-only FILE.";
const RESTORE: &str = "The configuration says which nodes the new cluster has and where its folder is, which must be empty. \
                       Then: feira up. The old cluster must not serve any more.";
const KEY: &str =
    "feira up and feira bootstrap make the key of a new cluster, feira restore that of a restored one.";
const TRACE: &str = "1 → 2 is what node 1 sends to node 2, 2 ← 1 what node 2 takes from node 1; on a ring, s2 is shard 2; times are of each node's own clock, UTC. \
                     Nodes record nothing while nobody looks, except in a rehearsal.";
const KV: &str = "Such as: feira kv set 17 'two kilos'. All commands: feira kv help.";

/// What is audited.
#[derive(Args, Debug, Clone)]
pub struct AuditArgs {
    /// What the portals found when they compared hits of their caches with the store
    #[arg(long)]
    pub caches: bool,
    /// What was done to an order, a client or a product (with the movements of its stock), as long as events of it are kept
    #[arg(long, value_name = "OID|PID|CID", conflicts_with = "caches")]
    pub trail: Option<String>,
}

/// What is explained.
#[derive(Args, Debug, Clone)]
pub struct ExplainArgs {
    /// The order
    #[arg(value_name = "OID")]
    pub oid: String,
}

/// Options of every command.
#[derive(Args, Debug, Clone)]
pub struct Shared {
    /// The cluster's configuration file; if left out, feira.toml here, and without that the defaults
    #[arg(long, global = true, env = "FEIRA_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Override a value of the configuration, such as portal.lease_ms=500
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Of a ring of several shards: this one is meant
    #[arg(long, global = true, value_name = "SHARD")]
    pub shard: Option<u64>,
    /// One JSON document a result on standard output; everything else goes to standard error
    #[arg(long, global = true)]
    pub json: bool,
    /// Nothing beside answers, warnings and failures; on a terminal no greeting
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Tables whole, however wide; else columns that do not fit on the terminal are left out in their order
    #[arg(long, global = true)]
    pub wide: bool,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a whole local cluster: store nodes, broker, portals
    Up(Up),
    /// Stop the local cluster that `feira up` runs
    Down,
    /// Break and mend a part of the local cluster
    #[command(after_help = NODE)]
    Node(NodeAct),
    /// Let nodes into the group of replicas, give them a vote, remove or replace them, while writes go on
    #[command(subcommand, after_help = MEMBER)]
    Member(Member),
    /// Show each replica's role, epoch, log, committed and applied offset
    Status(Status),
    /// Tell in one line whether staff and shoppers can work now: exit code 0, else 3
    #[command(after_help = HEALTH)]
    Health(Health),
    /// Work as an administrator: clients, products, stock
    #[command(after_help = ADMIN)]
    Admin(Tool),
    /// Order as a shopper
    #[command(after_help = SHOP)]
    Shop(Shop),
    /// Use the key-value store itself: set, get, del, test-and-set, scan
    #[command(after_help = KV)]
    Kv(KvTool),
    /// Write clients, products, stock or orders to a file
    #[command(after_help = exchange::EXPORT)]
    Export(Export),
    /// Import a file through the portals: clients, products, stock, orders, or sales of Online Retail
    #[command(after_help = exchange::IMPORT, override_usage = exchange::IMPORT_USAGE)]
    Import(Import),
    /// Put a load on the running cluster, and measure rates, latencies and CPU time
    #[command(after_help = bench::AFTER)]
    Bench(Bench),
    /// Check the books: stock and orders, at one position, on every replica
    Audit(AuditArgs),
    /// Explain an order: each step, which portal did it, its place in the log, and the time between
    Explain(ExplainArgs),
    /// Show the shards of the ring, or which one owns a key
    Ring(RingArgs),
    /// Look into a node's log, verify it, or plant a fault in it
    #[command(subcommand)]
    Log(Log),
    /// Watch the protocol: each push, ack, commit order, vote, truncation and snapshot as it happens
    #[command(after_help = TRACE)]
    Trace(Trace),
    /// Look into a node's snapshots, or verify them
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Write the whole state of the running store to one file, while it serves
    #[command(after_help = BACKUP)]
    Backup(Backup),
    /// Make the folders of a new cluster that begins with the state of a backup
    #[command(after_help = RESTORE)]
    Restore(Restore),
    /// Start a cluster in a temporary folder and play a tour, or on a terminal open a shop
    Demo(Demo),
    /// Show the configuration in force
    Config(ConfigShow),
    /// The cluster's key: who may speak as a node or an operator
    #[command(subcommand, after_help = KEY)]
    Key(Key),
    /// Make the folders of a new cluster's nodes, once, without starting anything
    Bootstrap,
    /// Run one node of the store in the foreground
    Store(StoreRole),
    /// Run a portal for administrators in the foreground
    AdminPortal(PortalRole),
    /// Run a portal for shoppers in the foreground
    ClientPortal(PortalRole),
    /// Run the MQTT broker in the foreground
    Broker(BrokerRole),
}

/// A backup.
#[derive(Args, Debug, Clone)]
pub struct Backup {
    /// The file to write, or of a ring of several shards the folder; it gets its name when it is whole
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Take it from this node; if left out, from one that does not lead
    #[arg(long, value_name = "NODE")]
    pub from: Option<u64>,
    /// Replace the file if it is there
    #[arg(long)]
    pub force: bool,
}

/// A new cluster from a backup.
#[derive(Args, Debug, Clone)]
pub struct Restore {
    /// The backup: a file, or of a ring of several shards the folder; a snap.X of a node's folder is one too
    pub file: PathBuf,
    /// Only read and check the file, all of it
    #[arg(long)]
    pub verify_only: bool,
    /// The new cluster is a ring of so many shards, on the same nodes: the backup of a store of one shard is dealt out to them
    #[arg(long, value_name = "N", conflicts_with = "verify_only", value_parser = clap::value_parser!(u64).range(1..=64))]
    pub shards: Option<u64>,
}

/// The cluster's key.
#[derive(Subcommand, Debug)]
pub enum Key {
    /// Make the key of a cluster whose folders an earlier version made
    Make,
    /// Write what machines are given that run portals only
    Export {
        /// The key of the bus alone: it can neither vote, push nor change members
        #[arg(long, required = true)]
        portals: bool,
        /// The file; portals.key beside the configuration, if left out
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Give the cluster another secret, while everything goes on; members on other machines: a step at a time
    Rotate,
}

/// A new cluster's shape.
#[derive(Args, Debug, Clone, Default)]
pub struct Up {
    /// Shards of the ring, for a new cluster: 1 to 64, all on the same nodes; 1 if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    pub shards: Option<u64>,
    /// Nodes of the store, for a new cluster: 1, 3, 4, 5 or 7; 3 if left out
    #[arg(long, value_name = "N")]
    pub nodes: Option<u64>,
    /// For a new cluster of several shards: so many nodes for each shard, which then shares no process with another
    #[arg(long)]
    pub apart: bool,
    /// Administrators' portals, for a new cluster; 1 if left out
    #[arg(long, value_name = "N")]
    pub admin_portals: Option<u64>,
    /// Shoppers' portals, for a new cluster; 1 if left out
    #[arg(long, value_name = "N")]
    pub client_portals: Option<u64>,
    /// Which MQTT broker, for a new cluster; embedded if left out
    #[arg(long, value_enum)]
    pub broker: Option<BrokerKind>,
    /// For a new cluster: any free ports, written to the file; else 7401 and on
    #[arg(long)]
    pub any_ports: bool,
    /// For a new cluster: faults may be planted in it (log plant, node hold-commit), to rehearse what happens then
    #[arg(long)]
    pub rehearsal: bool,
    /// Run it in the background, and let it stay when the terminal goes; feira down stops it
    #[arg(long)]
    pub detach: bool,
    /// Leave a part that ended by itself as it is, for whoever watches
    #[arg(long)]
    pub no_restart: bool,
    /// This is the one in the background
    #[arg(long, hide = true, conflicts_with = "detach")]
    pub detached: bool,
    /// Found a new, empty shop though a key file says that one was founded here; that key is kept under another name
    #[arg(long)]
    pub new_shop: bool,
}

/// What to do with a part of the local cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Act {
    /// SIGKILL: as if the machine had failed
    Kill,
    /// Stop it gracefully: a leader transfers leadership first
    Stop,
    /// Start it, if it does not run
    Start,
    /// Start it again, after stopping it if it runs
    Restart,
    /// SIGSTOP: as if it hung
    Pause,
    /// SIGCONT: it goes on after a pause
    Resume,
    /// The leader, this node, keeps its commit orders to itself (--off: no longer)
    HoldCommit,
    /// The leader gives its place to this node: a new epoch
    #[value(alias = "hand-over")]
    TransferLeadership,
    /// The node, which does not lead, has its database replaced by the leader's: after feira audit found it different
    Resync,
}

/// Break and mend.
#[derive(Args, Debug)]
pub struct NodeAct {
    /// What to do
    #[arg(value_enum)]
    pub act: Act,
    /// A node's id, or a part's name: 2, node-2, admin-portal-1, client-portal-1, broker
    pub id: String,
    /// With hold-commit: send commit orders again
    #[arg(long)]
    pub off: bool,
}

/// Members of the group.
#[derive(Subcommand, Debug)]
pub enum Member {
    /// Show who is in the group: voters, learners, and how far behind each is
    List,
    /// Let a node in, with an empty folder: it receives the log and has no vote
    Add(MemberAdd),
    /// Give a learner that has caught up a vote
    Promote {
        /// The node's id, such as 4
        #[arg(value_parser = node_id)]
        node: u64,
        /// How long.
        #[command(flatten)]
        wait: Wait,
    },
    /// Take a node out of the group, the leader too, and out of the configuration
    Remove {
        /// The node's id, such as 4
        #[arg(value_parser = node_id)]
        node: u64,
        /// How long.
        #[command(flatten)]
        wait: Wait,
    },
    /// Bring a node back whose folder is lost or damaged: an empty folder takes its place
    Replace {
        /// The node's id, such as 3
        #[arg(value_parser = node_id)]
        node: u64,
        /// Another node, which is a learner, takes its place instead
        #[arg(long, value_name = "ID", value_parser = node_id)]
        by: Option<u64>,
        /// How long.
        #[command(flatten)]
        wait: Wait,
    },
}

/// A node to be let in.
#[derive(Args, Debug)]
pub struct MemberAdd {
    /// The node's id, such as 4; the next free one, if left out
    #[arg(value_parser = node_id)]
    pub node: Option<u64>,
    /// Where it serves, if the configuration does not say; a free port on loopback, if the other nodes are there
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub listen: Option<String>,
    /// Where others reach it, if not as --listen
    #[arg(long, value_name = "HOST:PORT", value_parser = address, requires = "listen")]
    pub address: Option<String>,
    /// How long.
    #[command(flatten)]
    pub wait: Wait,
}

/// How long a change may take.
#[derive(Args, Debug, Clone, Copy)]
pub struct Wait {
    /// Seconds for which a change is waited for, 0 to 86400
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub wait: u64,
}

/// Status.
#[derive(Args, Debug)]
pub struct Status {
    /// Show it again every second until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

/// Trace.
#[derive(Args, Debug, Clone)]
pub struct Trace {
    /// Heartbeats too, and acks of nothing more
    #[arg(long)]
    pub heartbeats: bool,
    /// End after so many seconds; until Ctrl-C, if left out
    #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: Option<u64>,
    /// Only these nodes, such as 1,2; all, if left out
    #[arg(long, value_name = "NODES", value_delimiter = ',')]
    pub nodes: Vec<u64>,
}

/// Health.
#[derive(Args, Debug, Clone, Copy)]
pub struct Health {
    /// Wait so long for it to become so, 0 to 86400 seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub wait: u64,
    /// What is degraded (a part is down that others stand in for) is not well enough: exit code 3
    #[arg(long)]
    pub strict: bool,
}

/// A REPL or a single command.
#[derive(Args, Debug, Clone)]
pub struct Tool {
    /// Run these commands (parted by ;) and leave
    #[arg(short, long, value_name = "COMMANDS", conflicts_with = "words")]
    pub command: Option<String>,
    /// Ask these portals, not those of the configuration
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub portal: Vec<String>,
    /// Away from a terminal: go on after a command that failed, and say in the end how many did
    #[arg(long)]
    pub keep_going: bool,
    /// One command; without any, a REPL on a terminal, else a script on standard input
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub words: Vec<String>,
}

/// The shoppers' REPL.
#[derive(Args, Debug, Clone)]
pub struct Shop {
    /// Who orders; else the command use says it
    #[arg(long, value_name = "CID")]
    pub cid: Option<String>,
    /// How portals are asked: grpc, http or mqtt; with an address in place of the configured ones: http://HOST:PORT
    #[arg(long, value_name = "WAY", default_value = "grpc")]
    pub via: Via,
    /// The rest is as in every REPL.
    #[command(flatten)]
    pub tool: Tool,
}

/// The store's REPL.
#[derive(Args, Debug, Clone)]
pub struct KvTool {
    /// Run these commands (parted by ;) and leave
    #[arg(short, long, value_name = "COMMANDS", conflicts_with = "words")]
    pub command: Option<String>,
    /// Ask these nodes, not those of the configuration
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub store: Vec<String>,
    /// Seconds that leaving gives to outstanding answers, 5 to 3600; tool.grace_seconds if left out
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(5..=3600))]
    pub grace: Option<u64>,
    /// One command; without any, a REPL on a terminal, else a script on standard input
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub words: Vec<String>,
}

/// Logs.
#[derive(Subcommand, Debug)]
pub enum Log {
    /// Show entries of a node's log: from the node if it runs, else from its folder; or all nodes' side by side
    Show {
        /// The node's id, such as 1
        #[arg(required_unless_present = "all")]
        node: Option<u64>,
        /// The logs of all nodes side by side
        #[arg(long, conflicts_with = "node")]
        all: bool,
        /// Show it again every second until Ctrl-C
        #[arg(long, conflicts_with = "from")]
        follow: bool,
        /// The first offset shown; the last ones, if left out
        #[arg(long, value_name = "OFFSET")]
        from: Option<u64>,
        /// How many entries at most, 1 to 1000
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Read the folder even if the node runs
        #[arg(long)]
        folder: bool,
    },
    /// Verify every byte of a node's log files in its folder, whether the node runs or not
    Verify {
        /// The node's id, such as 1
        node: u64,
    },
    /// Put entries that no leader sent at the end of a stopped node's log
    Plant {
        /// The node's id, such as 1
        node: u64,
        /// The epoch of the entries; that of the log's last entry, if left out
        #[arg(long, value_name = "EPOCH")]
        epoch: Option<u64>,
        /// How many, 1 to 100
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
        entries: u64,
        /// The first offset; after the log's end, if left out
        #[arg(long, value_name = "OFFSET")]
        at: Option<u64>,
        /// Even where the log is committed: the replica must then find it fatal
        #[arg(long)]
        force: bool,
    },
}

/// Snapshots.
#[derive(Subcommand, Debug)]
pub enum Snapshot {
    /// Show one snapshot in a node's folder, block by block, each checked
    Show {
        /// The node's id, such as 1
        node: u64,
        /// X of snap.X; the newest, if left out
        number: Option<u64>,
        /// How many blocks at most, 1 to 1000; all are checked
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Verify every byte of all snapshots in a node's folder, whether the node runs or not
    Verify {
        /// The node's id, such as 1
        node: u64,
    },
}

/// Configuration.
#[derive(Args, Debug)]
pub struct ConfigShow {
    /// Instead, show the commented file that `feira up` would write
    #[arg(long)]
    pub template: bool,
}

/// A part that `feira up` started.
#[derive(Args, Debug, Clone, Copy)]
pub struct Supervised {
    /// Stop when standard input ends: whoever started this is gone
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// A node.
#[derive(Args, Debug)]
pub struct StoreRole {
    /// Which of the configuration's nodes
    #[arg(long, value_name = "ID")]
    pub node: u64,
    /// Started by `feira up`?
    #[command(flatten)]
    pub supervised: Supervised,
}

/// The broker.
#[derive(Args, Debug)]
pub struct BrokerRole {
    /// End this process, whose child we are, when standard input ends
    #[arg(long, hide = true, value_name = "PID")]
    pub watch: Option<i32>,
    /// Started by `feira up`?
    #[command(flatten)]
    pub supervised: Supervised,
}

/// A portal.
#[derive(Args, Debug)]
pub struct PortalRole {
    /// Which of the configuration's portals of this kind, from 1
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub instance: usize,
    /// Started by `feira up`?
    #[command(flatten)]
    pub supervised: Supervised,
}
