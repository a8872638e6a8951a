//! `cluster.json` in a cluster's folder: which replicas' folders were made here, and for whom. From then on a folder that is
//! missing is known to be lost, and is never made anew by itself.
//!
//! It is a note, not the truth: the group's log has the members. `feira member` keeps it in step.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use store_server::InitialMember;

use crate::atomic_write;
use crate::failure::Failure;

const NAME: &str = "cluster.json";

/// What was founded, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founded {
    /// The cluster's name, which is in every node's `meta`.
    pub cluster: String,
    /// Every initial member's folder was made: none may be made again.
    pub complete: bool,
    /// The replicas: a node of several shards is there once for each.
    pub nodes: Vec<FoundedNode>,
}

/// A replica whose folder was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundedNode {
    /// Its node's id.
    pub id: u64,
    /// The random identity of its folder.
    pub incarnation: u64,
    /// Where it was reached then.
    pub address: String,
    /// It had a vote when this was noted.
    #[serde(default = "initial_members_vote")]
    pub voter: bool,
    /// Its shard of the ring.
    #[serde(default = "first_shard")]
    pub shard: u64,
}

impl FoundedNode {
    /// An initial member of a shard.
    #[must_use]
    pub fn of(initial_member: InitialMember, shard: u64) -> FoundedNode {
        let InitialMember { node, incarnation, address } = initial_member;
        FoundedNode { id: node, incarnation, address, voter: true, shard }
    }
}

fn initial_members_vote() -> bool {
    true
}

fn first_shard() -> u64 {
    1
}

/// Where the note of a cluster's folder is.
#[must_use]
pub fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// Reads the note; `None`: no cluster was founded in this folder.
///
/// # Errors
/// It cannot be read or understood.
pub fn read(folder: &Path) -> Result<Option<Founded>, Failure> {
    let path = path(folder);
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| Failure::refused(format!("{} cannot be understood: {e}", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::file("read", &path, &e)),
    }
}

/// Writes the note.
///
/// # Errors
/// It cannot be written.
pub fn write(folder: &Path, founded: &Founded) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(founded).expect("what was founded is JSON");
    atomic_write::replace(&path(folder), &text)
}

/// Notes a replica, in the place of what was noted of it before. Where nothing was founded nothing is noted: the cluster
/// was founded on another machine.
///
/// # Errors
/// The note cannot be read or written.
pub fn note(folder: &Path, node: FoundedNode) -> Result<(), Failure> {
    let Some(mut founded) = read(folder)? else { return Ok(()) };
    let is_same = |known: &FoundedNode| known.id == node.id && known.shard == node.shard;
    founded.nodes.retain(|known| !is_same(known));
    founded.nodes.push(node);
    founded.nodes.sort_by_key(|node| (node.shard, node.id));
    write(folder, &founded)
}

/// Forgets a replica that was removed from its group.
///
/// # Errors
/// The note cannot be read or written.
pub fn forget(folder: &Path, id: u64, shard: u64) -> Result<(), Failure> {
    let Some(mut founded) = read(folder)? else { return Ok(()) };
    let before = founded.nodes.len();
    founded.nodes.retain(|known| known.id != id || known.shard != shard);
    if founded.nodes.len() < before {
        write(folder, &founded)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64, voter: bool) -> FoundedNode {
        FoundedNode { id, incarnation: id * 100, address: format!("127.0.0.1:{id}"), voter, shard: 1 }
    }

    #[test]
    fn nodes_come_and_go_and_a_note_of_initial_members_alone_is_read() {
        let folder = tempfile::tempdir().unwrap();
        note(folder.path(), node(4, false)).unwrap();
        assert_eq!(read(folder.path()).unwrap(), None, "founded elsewhere");
        let old =
            r#"{"cluster":"c","complete":true,"nodes":[{"id":1,"incarnation":100,"address":"127.0.0.1:1"}]}"#;
        std::fs::write(path(folder.path()), old).unwrap();
        note(folder.path(), node(4, false)).unwrap();
        note(folder.path(), node(4, true)).unwrap();
        assert_eq!(read(folder.path()).unwrap().unwrap().nodes, [node(1, true), node(4, true)]);
        forget(folder.path(), 1, 1).unwrap();
        assert_eq!(read(folder.path()).unwrap().unwrap().nodes, [node(4, true)]);
    }

    #[test]
    fn each_replica_of_a_node_is_noted_for_itself() {
        let folder = tempfile::tempdir().unwrap();
        let of = |id, shard, voter| FoundedNode { shard, ..node(id, voter) };
        let all = vec![of(1, 1, true), of(2, 1, true), of(1, 2, true), of(2, 2, true)];
        let founded = Founded { cluster: "c".into(), complete: true, nodes: all };
        write(folder.path(), &founded).unwrap();
        note(folder.path(), of(1, 2, false)).unwrap();
        let nodes = || read(folder.path()).unwrap().unwrap().nodes;
        assert_eq!(nodes(), [of(1, 1, true), of(2, 1, true), of(1, 2, false), of(2, 2, true)]);
        forget(folder.path(), 1, 1).unwrap();
        assert_eq!(nodes(), [of(2, 1, true), of(1, 2, false), of(2, 2, true)]);
        forget(folder.path(), 1, 3).unwrap();
        assert_eq!(nodes().len(), 3);
    }
}
