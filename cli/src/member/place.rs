//! A node on this machine: its lines in the configuration file, its folder, its process.
//!
//! Promises: a folder that holds something is never written over; it is moved aside, under a name that is told, and only
//! while nobody uses it. Where `feira up` runs the cluster it starts and stops the process; elsewhere the person is told
//! the command.

use std::net::{Ipv4Addr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use proto::store::Member;
use store_log::RealDisk;
use store_server::{group_folder, holds_replica, join};
use tokio::time::sleep;

use crate::config::load::Loaded;
use crate::config::nodes as file;
use crate::config::ports;
use crate::config::shape::{Node, Replica};
use crate::failure::{Failure, Kind};
use crate::key::place::of_node;
use crate::reach::nodes;
use crate::show::out::Out;
use crate::up::control::{Order, give, look};
use crate::up::founded::{self, FoundedNode};
use crate::up::parts::parts;
use crate::up::ready;
use crate::up::supervisor::Supervisor;

/// What a node gets to recover before it serves.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
/// Between two looks at a node that is starting.
const LOOK: Duration = Duration::from_millis(50);
/// Folders moved aside beside each other.
const ASIDE_MAX: u32 = 1_000;
/// The first port of the store's nodes; a node's own is its id further on.
const PORT_BASE: u64 = 7_400;

/// What is in a replica's folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// The replica of this incarnation, as its `meta` says.
    Replica(u64),
    /// Something that does not say whose it is.
    Remains(String),
}

/// What is in the folder of a replica.
///
/// # Errors
/// It holds the replica of another node or cluster.
pub fn held(loaded: &Loaded, replica: Replica<'_>) -> Result<Held, Failure> {
    let node = replica.node;
    let folder = group_folder(&node.folder_in(&loaded.folder()), replica.shard);
    let is_empty = std::fs::read_dir(&folder).map_or(true, |mut files| files.next().is_none());
    if is_empty {
        return Ok(Held::Nothing);
    }
    let meta = RealDisk::peek(&folder).and_then(|disk| store_log::read_meta(&disk));
    let meta = match meta {
        Ok(Some(meta)) => meta,
        Ok(None) => return Ok(Held::Remains("meta is gone".to_owned())),
        Err(error) => return Ok(Held::Remains(error.to_string())),
    };
    if meta.member.node.0 == node.id && meta.cluster.as_bytes() == loaded.config.cluster.as_bytes() {
        return Ok(Held::Replica(meta.member.incarnation.0));
    }
    let cluster = meta.cluster.as_bytes().escape_ascii();
    let message = format!("{} belongs to {} of cluster {cluster}", folder.display(), meta.member.node);
    Err(Failure::refused(message).next("move it away, or give the node another folder in the configuration"))
}

/// Makes an empty folder for a replica: its incarnation.
///
/// # Errors
/// The folder is not empty, or cannot be made; or this machine has not been given the cluster's key.
pub fn make_folder(loaded: &Loaded, replica: Replica<'_>) -> Result<u64, Failure> {
    let node = replica.node;
    let folder = node.folder_in(&loaded.folder());
    std::fs::create_dir_all(&folder).map_err(|e| Failure::file("make", &folder, &e))?;
    of_node(loaded, &folder)?;
    join(&loaded.config.cluster, replica.shard_of(loaded.config.store.shard_count()), node.id, &folder)
        .map_err(|e| Failure::refused(format!("the folder of node {}: {e}", node.id)))
}

/// Moves what a replica's folder holds aside, and with it what the folder of its node holds besides, unless there are other
/// replicas; where it is then.
///
/// # Errors
/// A process uses it, or it cannot be moved.
pub fn set_aside(loaded: &Loaded, replica: Replica<'_>) -> Result<PathBuf, Failure> {
    let node = replica.node;
    let folder = node.folder_in(&loaded.folder());
    let its_own = group_folder(&folder, replica.shard);
    if let Err(error @ store_log::Error::InUse { .. }) = RealDisk::open(&its_own) {
        return Err(Failure::refused(format!("node {}: {error}", node.id))
            .next(format!("stop it: {}", loaded.command(&format!("node stop {}", node.id)))));
    }
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let free =
        (1..=ASIDE_MAX).map(|n| folder.with_file_name(format!("{name}.aside-{n}"))).find(|to| !to.exists());
    let aside = free.ok_or_else(|| {
        Failure::refused(format!("there are {ASIDE_MAX} folders {name}.aside-… already"))
            .next("delete some of them")
    })?;
    if !node.is_shared() {
        std::fs::rename(&folder, &aside).map_err(|e| Failure::file("move aside", &folder, &e))?;
        return Ok(aside);
    }
    let to = group_folder(&aside, replica.shard);
    let above = to.parent().unwrap_or(&aside);
    std::fs::create_dir_all(above).map_err(|e| Failure::file("make", above, &e))?;
    std::fs::rename(&its_own, &to).map_err(|e| Failure::file("move aside", &its_own, &e))?;
    Ok(to)
}

/// The first shard whose replica a node has lost, besides these.
#[must_use]
pub fn lost_besides(loaded: &Loaded, node: &Node, shards: &[u64]) -> Option<u64> {
    let folder = node.folder_in(&loaded.folder());
    let mut others = node.shards.iter().copied().filter(|shard| !shards.contains(shard));
    others.find(|shard| !holds_replica(&folder, *shard))
}

/// Refuses to make a folder here for a node that listens on another machine.
///
/// # Errors
/// Its address is none of this machine's.
pub fn require_here(node: &Node) -> Result<(), Failure> {
    let host = node.listen.rsplit_once(':').map_or(node.listen.as_str(), |(host, _)| host);
    match TcpListener::bind(format!("{host}:0")) {
        Ok(_) => Ok(()),
        Err(error) => {
            let message =
                format!("node {} listens at {}, and that is not here: {error}", node.id, node.listen);
            Err(Failure::refused(message).next("give this command on the machine where the node is to run"))
        }
    }
}

/// Refuses to make a folder for a node at whose address something listens already: it could not start.
///
/// # Errors
/// Something does.
pub fn require_free(node: &Node) -> Result<(), Failure> {
    match TcpListener::bind(&node.listen) {
        Ok(_) => Ok(()),
        Err(error) => {
            let message =
                format!("node {} cannot listen at {}: {error}; nothing was made", node.id, node.listen);
            Err(Failure::refused(message).next("give it another address: --listen HOST:PORT"))
        }
    }
}

/// An address for a new node beside those that are there.
///
/// # Errors
/// The others are on several machines, so that nobody can guess; or no port is free.
pub fn address_for(loaded: &Loaded, id: u64) -> Result<String, Failure> {
    let others = &loaded.config.store.nodes;
    let on_loopback = |address: &str| {
        address.to_socket_addrs().is_ok_and(|mut found| found.all(|address| address.ip().is_loopback()))
    };
    if !others.iter().all(|node| on_loopback(node.reached_at())) {
        return Err(Failure::usage(
            "the other nodes are on several machines: where is this one to be reached?",
        )
        .next("say it: --listen HOST:PORT"));
    }
    // Where the others do not stand at the usual ports, those are another cluster's.
    let usual = |id: u64| format!("127.0.0.1:{}", PORT_BASE + id);
    let all_usual = others.iter().all(|node| node.reached_at() == usual(node.id));
    let is_ours = parts(&loaded.config).iter().any(|part| part.address == usual(id));
    if all_usual && !is_ours && id < 10 && TcpListener::bind(usual(id)).is_ok() {
        return Ok(usual(id));
    }
    let any = ports::any_at(Ipv4Addr::LOCALHOST.into()).and_then(|socket| socket.local_addr());
    any.map(|address| address.to_string()).map_err(|e| Failure::refused(format!("no port is to be had: {e}")))
}

/// Whether `feira up` runs this cluster here; it reads the configuration again.
///
/// # Errors
/// It refuses the configuration.
pub async fn renew(loaded: &Loaded) -> Result<bool, Failure> {
    match give(&Supervisor::run_folder(loaded), &Order::Renew).await {
        Ok(_) => Ok(true),
        Err(failure) if failure.kind == Kind::Unreachable => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Starts a node's process if `feira up` runs the cluster, or again if it runs without a replica that came; else says how.
/// Whether it was started.
///
/// # Errors
/// It ended instead of serving.
pub async fn start(loaded: &Loaded, node: &Node, out: &Out) -> Result<bool, Failure> {
    let part = node.name();
    if !renew(loaded).await? {
        if nodes::of_node(node).await.is_err() {
            out.say(&format!("start it, in another terminal: {}", by_hand(loaded, node)));
        } else if !nodes::serves(node).await {
            out.say(&format!("stop its process, and start it again: {}", by_hand(loaded, node)));
        }
        return Ok(false);
    }
    let run_folder = Supervisor::run_folder(loaded);
    if look(&run_folder, &part).await?.is_some() {
        give(&run_folder, &Order::Start { part: part.clone() }).await?;
        out.say(&format!("{part} started"));
    } else if runs_without_one(loaded, node).await? {
        out.say(&give(&run_folder, &Order::Restart { part }).await?);
    }
    serves(loaded, node).await?;
    Ok(true)
}

/// Whether a node's process was started before one of its replicas came: it answers for the others and not for that one.
async fn runs_without_one(loaded: &Loaded, node: &Node) -> Result<bool, Failure> {
    let (run_folder, until) = (Supervisor::run_folder(loaded), Instant::now() + RECOVERY_MAX);
    while node.is_shared() && !nodes::serves(node).await && Instant::now() < until {
        if nodes::lacks_one(node).await {
            return Ok(true);
        }
        if look(&run_folder, &node.name()).await?.is_some() {
            break;
        }
        sleep(LOOK).await;
    }
    Ok(false)
}

/// Waits until a node that `feira up` has started serves.
async fn serves(loaded: &Loaded, node: &Node) -> Result<(), Failure> {
    let (run_folder, part) = (Supervisor::run_folder(loaded), node.name());
    let all = parts(&loaded.config);
    let one = all.iter().find(|one| one.name == part).expect("a node of the configuration is a part");
    ready::one(loaded, one, RECOVERY_MAX, async || look(&run_folder, &part).await).await
}

/// The command that runs a node by hand.
#[must_use]
pub fn by_hand(loaded: &Loaded, node: &Node) -> String {
    loaded.command(&format!("store --node {}", node.id))
}

/// Takes a removed node out of the configuration, after stopping its process if `feira up` runs it. Whether it was there.
///
/// # Errors
/// The process does not stop, or the file cannot be changed.
pub async fn forget(loaded: &Loaded, id: u64, out: &Out) -> Result<bool, Failure> {
    let Some(node) = loaded.config.store.nodes.iter().find(|node| node.id == id) else { return Ok(false) };
    let run_folder = Supervisor::run_folder(loaded);
    let part = node.name();
    match look(&run_folder, &part).await {
        Ok(None) => {
            let stopped = give(&run_folder, &Order::Stop { part }).await?;
            out.say(&stopped);
        }
        Ok(Some(_)) => {}
        Err(failure) if matches!(failure.kind, Kind::Unreachable | Kind::Refused) => {}
        Err(failure) => return Err(failure),
    }
    file::remove(&loaded.path, id)?;
    renew(loaded).await?;
    Ok(true)
}

/// Takes the replicas of these shards out of the configuration of a node whose groups they left, and with the last of them
/// the node. Whether it was there.
///
/// # Errors
/// As [`forget`].
pub async fn forget_replicas(loaded: &Loaded, id: u64, shards: &[u64], out: &Out) -> Result<bool, Failure> {
    let Some(node) = loaded.config.store.nodes.iter().find(|node| node.id == id) else { return Ok(false) };
    let kept: Vec<u64> = node.shards.iter().copied().filter(|shard| !shards.contains(shard)).collect();
    if kept.is_empty() {
        return forget(loaded, id, out).await;
    }
    if kept == node.shards {
        return without_others(loaded, node, shards, out).await;
    }
    file::set_shards(&loaded.path, id, &kept)?;
    if renew(loaded).await? && look(&Supervisor::run_folder(loaded), &node.name()).await?.is_none() {
        let part = node.name();
        out.say(&give(&Supervisor::run_folder(loaded), &Order::Restart { part }).await?);
        let mut loaded = loaded.clone();
        loaded
            .config
            .store
            .nodes
            .iter_mut()
            .filter(|node| node.id == id)
            .for_each(|node| node.shards = kept.clone());
        serves(&loaded, &Node { shards: kept, ..node.clone() }).await?;
    } else if nodes::of_node(node).await.is_ok() {
        out.say(&format!("stop its process, and start it again: {}", by_hand(loaded, node)));
    }
    Ok(true)
}

/// Of a node that the configuration gives none of these shards: starts its process again if it still runs with a replica of one.
async fn without_others(loaded: &Loaded, node: &Node, shards: &[u64], out: &Out) -> Result<bool, Failure> {
    let asked = shards.iter().map(|shard| nodes::status(Replica { node, shard: *shard }));
    let runs_with_one = futures::future::join_all(asked).await.iter().any(Result::is_ok);
    let part = node.name();
    if !renew(loaded).await? {
        if runs_with_one {
            out.say(&format!("stop its process, and start it again: {}", by_hand(loaded, node)));
        }
    } else if look(&Supervisor::run_folder(loaded), &part).await?.is_some() {
        out.say(&format!("start it: {}", loaded.command(&format!("node start {}", node.id))));
    } else if runs_with_one {
        out.say(&give(&Supervisor::run_folder(loaded), &Order::Restart { part }).await?);
        serves(loaded, node).await?;
    }
    Ok(true)
}

/// Notes a replica in the cluster's folder.
///
/// # Errors
/// The note cannot be read or written.
pub fn note(loaded: &Loaded, shard: u64, member: &Member, voter: bool) -> Result<(), Failure> {
    let Member { node, incarnation, address, .. } = member.clone();
    founded::note(&loaded.folder(), FoundedNode { id: node, incarnation, address, voter, shard })
}
