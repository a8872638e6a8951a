//! The first start of a cluster: every replica's folder is made once, with one membership of its shard that all know.
//!
//! From then on a replica's folder that is missing is never made anew by itself: an empty folder is *another* member
//! (docs/PROTOCOL.md, 2, "Members"), and one that came back under the old identity could vote twice in one epoch and lose acknowledged
//! writes. Its node is left out, with all of its replicas and with what brings it back; the others start while a majority of each
//! shard is there.

use std::collections::BTreeSet;
use std::path::Path;

use store_server::{InitialMember, group_folder, holds_replica, initial_members, is_bootstrapped};

use super::founded::{self, Founded, FoundedNode};
use crate::config::load::Loaded;
use crate::config::shape::{Node, Store};
use crate::failure::Failure;
use crate::key::{make, place};

/// Sizes of a new group that work: a majority of each is well defined, and more would only be slower.
const NODE_COUNTS: [usize; 5] = [1, 3, 4, 5, 7];

/// A node that is not started, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftOut {
    /// Its id.
    pub id: u64,
    /// Why.
    pub why: String,
    /// The command that brings it back.
    pub next: String,
}

impl LeftOut {
    /// A node whose folder cannot be used under its identity any more.
    #[must_use]
    pub fn lost(loaded: &Loaded, id: u64, why: String) -> LeftOut {
        LeftOut { id, why, next: loaded.command(&format!("member replace {id}")) }
    }
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node-{} is left out: {}\n  → bring it back: {}", self.id, self.why, self.next)
    }
}

/// Makes the folders of a new cluster, or checks those of one that was made before; the nodes that cannot be started.
///
/// # Errors
/// What is left is no majority, the cluster has another name, or a folder cannot be made.
pub fn bootstrap(loaded: &Loaded) -> Result<Vec<LeftOut>, Failure> {
    let folder = loaded.folder();
    let mut founded = match founded::read(&folder)? {
        Some(founded) => founded,
        None => found(loaded, &folder)?,
    };
    std::fs::create_dir_all(&folder).map_err(|e| Failure::file("make", &folder, &e))?;
    check_name(loaded, &founded, &folder)?;
    if founded.complete {
        let left_out = check_nodes(loaded, &founded, &folder)?;
        make::keep(loaded, left_out.is_empty())?;
        return Ok(left_out);
    }
    check_initial_members(loaded, &founded)?;
    // An interrupted first start: nothing was served yet, so that folders may still be made.
    founded::write(&folder, &founded)?;
    let key = make::found(loaded)?;
    for node in &loaded.config.store.nodes {
        let place = node.folder_in(&folder);
        for replica in node.replicas().filter(|replica| !holds_replica(&place, replica.shard)) {
            let members = members_of(&founded, replica.shard);
            let shard = replica.shard_of(loaded.config.store.shard_count());
            store_server::bootstrap(&loaded.config.cluster, shard, node.id, &place, &members)
                .map_err(|e| Failure::refused(format!("node {}: {e}", node.id)))?;
        }
        place::write(&place::in_folder(&place), &key)?;
    }
    founded.complete = true;
    founded::write(&folder, &founded)?;
    Ok(Vec::new())
}

/// The initial members of a shard.
fn members_of(founded: &Founded, shard: u64) -> Vec<InitialMember> {
    let of_shard = founded.nodes.iter().filter(|node| node.shard == shard);
    let member = |node: &FoundedNode| InitialMember {
        node: node.id,
        incarnation: node.incarnation,
        address: node.address.clone(),
    };
    of_shard.map(member).collect()
}

/// Refuses what [`bootstrap`] would refuse, and makes nothing.
///
/// # Errors
/// As [`bootstrap`]'s.
pub fn check_founding(loaded: &Loaded) -> Result<(), Failure> {
    let folder = loaded.folder();
    let Some(founded) = founded::read(&folder)? else { return found(loaded, &folder).map(drop) };
    check_name(loaded, &founded, &folder)?;
    if founded.complete {
        check_nodes(loaded, &founded, &folder).map(drop)
    } else {
        check_initial_members(loaded, &founded)
    }
}

/// Refuses a number of nodes that no shard of a new cluster has.
///
/// # Errors
/// It is such a number.
pub fn check_count(store: &Store) -> Result<(), Failure> {
    let counts = store.shards().into_iter().map(|shard| store.of_shard(shard).count());
    let Some(count) = counts.into_iter().find(|count| !NODE_COUNTS.contains(count)) else { return Ok(()) };
    let whose = if store.shards().len() > 1 { "each shard of a new cluster" } else { "a new cluster" };
    let message = format!("{whose} has 1, 3, 4, 5 or 7 nodes, not {count}");
    Err(Failure::usage(message).next("correct store.nodes in the file; feira member add grows it later"))
}

/// A new cluster's initial members; folders that hold a replica already are not ours to found again.
fn found(loaded: &Loaded, folder: &Path) -> Result<Founded, Failure> {
    let nodes = &loaded.config.store.nodes;
    if let Some(node) = nodes.iter().find(|node| is_bootstrapped(&node.folder_in(folder))) {
        let message = format!(
            "{} holds a replica, but {} is missing: its cluster was founded elsewhere",
            node.folder_in(folder).display(),
            founded::path(folder).display()
        );
        return Err(Failure::refused(message).next("give the new cluster an empty folder (key folder)"));
    }
    check_count(&loaded.config.store)?;
    make::require_none(loaded)?;
    let of_shard = |shard: u64| {
        let nodes = loaded.config.store.of_shard(shard);
        let members = initial_members(nodes.map(|node| (node.id, node.reached_at().to_owned())));
        members.into_iter().map(move |member| FoundedNode::of(member, shard))
    };
    Ok(Founded {
        cluster: loaded.config.cluster.clone(),
        complete: false,
        nodes: loaded.config.store.shards().into_iter().flat_map(of_shard).collect(),
    })
}

fn check_name(loaded: &Loaded, founded: &Founded, folder: &Path) -> Result<(), Failure> {
    if founded.cluster == loaded.config.cluster {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "the configuration names the cluster {:?}, but {} was founded as {:?}",
        loaded.config.cluster,
        founded::path(folder).display(),
        founded.cluster
    ))
    .next("put the old name back, or give the new cluster another folder"))
}

/// An interrupted first start goes on with the replicas that it was begun with.
fn check_initial_members(loaded: &Loaded, founded: &Founded) -> Result<(), Failure> {
    let there: BTreeSet<(u64, u64)> = founded.nodes.iter().map(|node| (node.id, node.shard)).collect();
    let wanted = loaded.config.store.replicas();
    let wanted: BTreeSet<(u64, u64)> = wanted.iter().map(|one| (one.node.id, one.shard)).collect();
    if there == wanted {
        return Ok(());
    }
    let ids = |all: &BTreeSet<(u64, u64)>| all.iter().map(|(id, _)| *id).collect::<BTreeSet<u64>>();
    let (ids_there, ids_wanted) = (ids(&there), ids(&wanted));
    let message = if ids_there == ids_wanted {
        "the nodes of the configuration have other shards than when the cluster's first start was begun"
            .to_owned()
    } else {
        let listed = |ids: BTreeSet<u64>| ids.into_iter().collect::<Vec<u64>>();
        format!(
            "the configuration has the nodes {:?}, but the cluster's first start was begun with {:?}",
            listed(ids_wanted),
            listed(ids_there)
        )
    };
    Err(Failure::refused(message)
        .next("put those back and start it; then feira member add, or feira member remove"))
}

/// Which of the nodes of a cluster that was founded before cannot be started.
fn check_nodes(loaded: &Loaded, founded: &Founded, folder: &Path) -> Result<Vec<LeftOut>, Failure> {
    let nodes = &loaded.config.store.nodes;
    let mut left_out: Vec<LeftOut> =
        nodes.iter().filter_map(|node| check_node(loaded, founded, node, folder)).collect();
    let is_ring = founded.nodes.iter().any(|one| one.shard != founded.nodes[0].shard);
    for gone in &founded.nodes {
        let node = nodes.iter().find(|node| node.id == gone.id);
        if node.is_some_and(|node| node.has(gone.shard)) || left_out.iter().any(|out| out.id == gone.id) {
            continue;
        }
        let (id, file) = (gone.id, loaded.path.display());
        let is_gone = |one: &&FoundedNode| one.id == id && node.is_none_or(|node| !node.has(one.shard));
        let shards: Vec<u64> = founded.nodes.iter().filter(is_gone).map(|one| one.shard).collect();
        let what = match node {
            None => "is a node of the cluster".to_owned(),
            Some(_) => format!("has a replica of {}", shards_in_words(&shards).0),
        };
        let remove = |shard: &u64| {
            let of = if is_ring { format!(" --shard {shard}") } else { String::new() };
            loaded.command(&format!("member remove {id}{of}"))
        };
        let remove: Vec<String> = shards.iter().map(remove).collect();
        left_out.push(LeftOut {
            id,
            why: format!("it {what}, but not in {file}"),
            next: format!(
                "put it back into the file, or remove it from {}: {}",
                if remove.len() > 1 { "its groups" } else { "the group" },
                remove.join("; ")
            ),
        });
    }
    require_majority(founded, &left_out)?;
    Ok(left_out)
}

/// A node is started with all of its replicas, or not at all.
fn check_node(loaded: &Loaded, founded: &Founded, node: &Node, folder: &Path) -> Option<LeftOut> {
    let (id, place) = (node.id, node.folder_in(folder));
    let lost: Vec<u64> = node.shards.iter().copied().filter(|shard| !holds_replica(&place, *shard)).collect();
    let is_known = |shard: u64| founded.nodes.iter().any(|known| known.id == id && known.shard == shard);
    if let Some(shard) = lost.iter().find(|shard| !is_known(**shard)) {
        let is_new = node.shards.iter().all(|shard| !is_known(*shard));
        let (of, place) = if is_new {
            (String::new(), place)
        } else {
            (format!(" of shard {shard}"), group_folder(&place, *shard))
        };
        let add =
            if is_new { format!("member add {id}") } else { format!("member add {id} --shard {shard}") };
        return Some(LeftOut {
            id,
            why: format!(
                "it is in the configuration, but was never let into the group{of}; {} is not there",
                place.display()
            ),
            next: loaded.command(&add),
        });
    }
    let shown = place.display();
    let why = match lost.as_slice() {
        [] => return None,
        all if all.len() == node.shards.len() => {
            let what = if place.exists() { "holds no replica any more" } else { "is gone" };
            format!(
                "the folder of node {id} {what}: {shown}. It is not made anew by itself: an empty folder is another member, \
                 and under the old identity it could vote against its own past"
            )
        }
        some => {
            let (shards, are) = shards_in_words(some);
            format!(
                "node {id} holds no replica of {shards} any more: {shown}. {are} not made anew by itself: an empty folder is \
                 another member, and under the old identity it could vote against its own past"
            )
        }
    };
    Some(LeftOut::lost(loaded, id, why))
}

/// Shards in words, and how a sentence about their replicas begins.
fn shards_in_words(shards: &[u64]) -> (String, &'static str) {
    let named: Vec<String> = shards.iter().map(u64::to_string).collect();
    match named.as_slice() {
        [one] => (format!("shard {one}"), "It is"),
        several => (format!("the shards {}", several.join(", ")), "Each is"),
    }
}

/// Refuses to start what could elect nobody.
///
/// # Errors
/// The voters that are left are no majority.
pub fn require_majority(founded: &Founded, left_out: &[LeftOut]) -> Result<(), Failure> {
    let is_out = |node: &&FoundedNode| left_out.iter().any(|out| out.id == node.id);
    let shards: BTreeSet<u64> = founded.nodes.iter().map(|node| node.shard).collect();
    let of_shard = |shard: u64| {
        let voters = founded.nodes.iter().filter(move |node| node.voter && node.shard == shard);
        (shard, voters.clone().count(), voters.filter(is_out).count())
    };
    let cannot = |(_, voters, lost): &(u64, usize, usize)| (voters - lost) * 2 <= *voters && *lost > 0;
    let Some((shard, voters, lost)) = shards.iter().map(|shard| of_shard(*shard)).find(cannot) else {
        return Ok(());
    };
    let told: Vec<&str> = left_out.iter().map(|out| out.why.as_str()).collect();
    let whose = if shards.len() > 1 { format!(" of shard {shard}") } else { String::new() };
    let message = format!(
        "{} of {voters} voters{whose} can be started, which is no majority: nobody could be elected\n{}",
        voters - lost,
        told.join("\n")
    );
    Err(Failure::refused(message).next(
        "put back the folders that were lost: an empty one cannot stand in for what only a majority remembers",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::shape::Config;

    fn loaded(folder: &Path) -> Loaded {
        let path = folder.join("feira.toml");
        Loaded { config: Config::default(), path, from_file: false, set: Vec::new() }
    }

    #[test]
    fn folders_are_made_once_and_a_lost_one_is_left_out_with_its_command() {
        let folder = tempfile::tempdir().unwrap();
        let loaded = loaded(folder.path());
        assert_eq!(bootstrap(&loaded).unwrap(), []);
        assert_eq!(bootstrap(&loaded).unwrap(), []);
        let place = |at: usize| loaded.config.store.nodes[at].folder_in(&loaded.folder());
        std::fs::remove_dir_all(place(1)).unwrap();
        let left_out = bootstrap(&loaded).unwrap();
        let told = left_out[0].to_string();
        assert!(left_out.len() == 1 && told.contains("node 2 is gone"), "{told}");
        assert!(told.contains("member replace 2") && told.contains("feira.toml"), "{told}");
        assert!(!place(1).exists(), "nothing was made");
        std::fs::remove_dir_all(place(2)).unwrap();
        let failure = bootstrap(&loaded).unwrap_err().to_string();
        assert!(failure.contains("1 of 3 voters") && failure.contains("node 3 is gone"), "{failure}");
    }

    /// Three nodes, each with a replica of each of two shards.
    fn shared(folder: &Path) -> Loaded {
        let mut loaded = loaded(folder);
        loaded.config.store.nodes.iter_mut().for_each(|node| node.shards = vec![1, 2]);
        loaded
    }

    #[test]
    fn a_node_that_lost_one_of_its_replicas_is_left_out_whole() {
        let folder = tempfile::tempdir().unwrap();
        let loaded = shared(folder.path());
        assert_eq!(bootstrap(&loaded).unwrap(), []);
        assert_eq!(founded::read(&loaded.folder()).unwrap().unwrap().nodes.len(), 6);
        assert_eq!(bootstrap(&loaded).unwrap(), []);
        let place = |at: usize| loaded.config.store.nodes[at].folder_in(&loaded.folder());
        std::fs::remove_dir_all(group_folder(&place(1), 2)).unwrap();
        let told = bootstrap(&loaded).unwrap()[0].to_string();
        assert!(told.contains("node 2 holds no replica of shard 2 any more"), "{told}");
        assert!(told.contains("member replace 2"), "{told}");
        std::fs::remove_dir_all(group_folder(&place(1), 1)).unwrap();
        let told = bootstrap(&loaded).unwrap()[0].to_string();
        assert!(told.contains("the folder of node 2 holds no replica any more"), "{told}");
        std::fs::remove_dir_all(group_folder(&place(2), 2)).unwrap();
        let failure = bootstrap(&loaded).unwrap_err().to_string();
        assert!(failure.contains("1 of 3 voters of shard 1"), "{failure}");
    }

    #[test]
    fn an_interrupted_first_start_makes_the_replicas_that_are_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut loaded = shared(folder.path());
        assert_eq!(bootstrap(&loaded).unwrap(), []);
        let mut begun = founded::read(&loaded.folder()).unwrap().unwrap();
        begun.complete = false;
        founded::write(&loaded.folder(), &begun).unwrap();
        let lost = group_folder(&loaded.config.store.nodes[2].folder_in(&loaded.folder()), 2);
        std::fs::remove_dir_all(&lost).unwrap();
        loaded.config.store.nodes[0].shards = vec![1];
        assert!(bootstrap(&loaded).unwrap_err().to_string().contains("other shards"));
        loaded.config.store.nodes[0].shards = vec![1, 2];
        assert_eq!(bootstrap(&loaded).unwrap(), []);
        assert!(lost.join("meta").exists());
    }

    #[test]
    fn a_replica_that_the_file_has_too_many_or_too_few_leaves_its_node_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut loaded = shared(folder.path());
        bootstrap(&loaded).unwrap();
        loaded.config.store.nodes[2].shards = vec![1];
        let told = bootstrap(&loaded).unwrap()[0].to_string();
        assert!(told.contains("member remove 3 --shard 2"), "{told}");
        loaded.config.store.nodes[2].shards = vec![1, 2, 3];
        let told = bootstrap(&loaded).unwrap()[0].to_string();
        assert!(told.contains("of shard 3") && told.contains("member add 3 --shard 3"), "{told}");
    }

    #[test]
    fn an_interrupted_first_start_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let mut loaded = loaded(folder.path());
        std::fs::create_dir_all(loaded.folder()).unwrap();
        let begun = found(&loaded, &loaded.folder()).unwrap();
        founded::write(&loaded.folder(), &begun).unwrap();
        let third = loaded.config.store.nodes.pop().unwrap();
        assert!(bootstrap(&loaded).unwrap_err().to_string().contains("begun with [1, 2, 3]"));
        loaded.config.store.nodes.push(third);
        bootstrap(&loaded).unwrap();
        assert!(founded::read(&loaded.folder()).unwrap().unwrap().complete);
    }

    #[test]
    fn nodes_that_the_file_has_too_many_or_too_few_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut loaded = loaded(folder.path());
        bootstrap(&loaded).unwrap();
        let third = loaded.config.store.nodes.pop().unwrap();
        let told = bootstrap(&loaded).unwrap()[0].to_string();
        assert!(told.contains("member remove 3"), "{told}");
        loaded.config.store.nodes.push(third);
        loaded.config.store.nodes.push(Node { id: 4, listen: "127.0.0.1:7404".into(), ..Node::default() });
        let told = bootstrap(&loaded).unwrap()[0].to_string();
        assert!(told.contains("node-4") && told.contains("member add 4"), "{told}");
        loaded.config = Config { cluster: "other".into(), ..Config::default() };
        assert!(bootstrap(&loaded).unwrap_err().to_string().contains("\"other\""));
    }

    #[test]
    fn a_new_cluster_of_two_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut loaded = loaded(folder.path());
        loaded.config.store.nodes.pop();
        assert!(bootstrap(&loaded).unwrap_err().to_string().contains("1, 3, 4, 5 or 7 nodes, not 2"));
        assert!(!loaded.folder().exists(), "a refusal leaves nothing behind");
    }
}
