//! The first start of a replica. A group's initial members' folders are made with the same membership as log entry 1; that of a
//! new member of a group that is there is made empty, and a membership change lets it in. Both are explicit, since a folder that is silently made anew would vote under an identity that has promised other things.

use std::path::{Path, PathBuf};

use proto::store::{Member, Membership};
use store_core::{Incarnation, NodeId};
use store_log::{BootId, ClusterId, Identity, RealDisk};

use crate::config::{check_cluster, check_shard, group_folder, reachable_address, wrong};
use crate::error::Error;
use crate::shard::Shard;

/// A founding voter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMember {
    /// Its id, from 1.
    pub node: u64,
    /// The random identity of its folder ([`random_incarnation`]); the same in every initial member's bootstrap.
    pub incarnation: u64,
    /// `host:port` of its store service.
    pub address: String,
}

/// A random identity for a folder.
#[must_use]
pub fn random_incarnation() -> u64 {
    fastrand::u64(1..)
}

/// Initial members with random incarnations, of nodes and their addresses.
#[must_use]
pub fn initial_members(nodes: impl IntoIterator<Item = (u64, String)>) -> Vec<InitialMember> {
    let initial_member = |(node, address)| InitialMember { node, incarnation: random_incarnation(), address };
    nodes.into_iter().map(initial_member).collect()
}

/// Makes the folder of one initial member of a shard. All its initial members are given the same list.
///
/// # Errors
/// The list cannot be a group, `node` is not in it, the shard is not on its ring, or the folder is not empty.
pub fn bootstrap(
    cluster: &str,
    shard: Shard,
    node: u64,
    folder: &Path,
    initial_members: &[InitialMember],
) -> Result<(), Error> {
    check_cluster(cluster)?;
    let me = initial_members.iter().find(|initial_member| initial_member.node == node);
    let me = me.ok_or_else(|| wrong("node", format!("{node} is not among the initial members")))?;
    for initial_member in initial_members {
        if reachable_address(&initial_member.address).is_none() {
            return Err(wrong(
                "peers",
                format!("{:?} of node {} is not host:port", initial_member.address, initial_member.node),
            ));
        }
    }
    let (disk, identity, boot_id) = place(cluster, shard, node, folder)?;
    let incarnation = Incarnation(me.incarnation);
    let members = membership(shard, initial_members);
    store_engine::bootstrap(&disk, &identity, incarnation, &boot_id, &members)
        .map_err(|error| failed(shard, error))?;
    Ok(())
}

/// Makes the folder of a new member of a group that is there, and says its incarnation. It holds nothing, and its node
/// serves nobody, until a membership change adds it (`ChangeMembers`).
///
/// # Errors
/// The folder is not empty, or the names are none.
pub fn join(cluster: &str, shard: Shard, node: u64, folder: &Path) -> Result<u64, Error> {
    check_cluster(cluster)?;
    if node == 0 {
        return Err(wrong("node", "node 0 is nobody"));
    }
    let (disk, identity, boot_id) = place(cluster, shard, node, folder)?;
    let incarnation = random_incarnation();
    store_engine::join(&disk, &identity, Incarnation(incarnation), &boot_id)
        .map_err(|error| failed(shard, error))?;
    Ok(incarnation)
}

/// Where a node's replica is made, and as whose.
fn place(
    cluster: &str,
    shard: Shard,
    node: u64,
    folder: &Path,
) -> Result<(RealDisk, Identity, BootId), Error> {
    check_shard(shard)?;
    let failed = |error: store_log::Error| failed(shard, error.into());
    let identity = Identity {
        cluster: ClusterId::new(cluster.as_bytes()).map_err(failed)?,
        group: shard.group_id(),
        node: NodeId(node),
        state_machine_version: store_db::limits::STATE_MACHINE_VERSION,
    };
    let folder: PathBuf = group_folder(folder, shard.group);
    let disk = RealDisk::open(&folder).map_err(failed)?;
    let boot_id = store_log::boot_id().map_err(failed)?;
    Ok((disk, identity, boot_id))
}

fn failed(shard: Shard, source: store_engine::Error) -> Error {
    Error::Open { group: shard.group, source }
}

/// The first membership of a shard: the same bytes for every initial member, whatever the order of the list. It says what of the
/// ring the group owns, unless that is all.
pub(crate) fn membership(shard: Shard, initial_members: &[InitialMember]) -> Membership {
    let member = |initial_member: &InitialMember| Member {
        node: initial_member.node,
        incarnation: initial_member.incarnation,
        address: initial_member.address.clone(),
        joined: false,
    };
    let mut voters: Vec<Member> = initial_members.iter().map(member).collect();
    voters.sort_by_key(|voter| voter.node);
    Membership { voters, outgoing: Vec::new(), learners: Vec::new(), owned: shard.owned() }
}

/// Whether the folder of a node holds a replica already, of whatever group.
#[must_use]
pub fn is_bootstrapped(folder: &Path) -> bool {
    let groups = std::fs::read_dir(folder.join("groups")).into_iter().flatten().flatten();
    groups.into_iter().any(|group| is_replica(&group.path()))
}

/// Whether the folder of a node holds the replica of this group.
#[must_use]
pub fn holds_replica(folder: &Path, group: u64) -> bool {
    is_replica(&group_folder(folder, group))
}

fn is_replica(folder: &Path) -> bool {
    folder.join("meta").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_once_and_only_for_an_initial_member() {
        let folder = tempfile::tempdir().expect("a folder");
        let initial_members = initial_members([(1, "localhost:1".to_owned()), (2, "localhost:2".to_owned())]);
        assert!(
            bootstrap("c", Shard::ONLY, 3, folder.path(), &initial_members)
                .expect_err("no initial member")
                .to_string()
                .contains('3')
        );
        assert!(!is_bootstrapped(folder.path()));
        bootstrap("c", Shard::ONLY, 1, folder.path(), &initial_members).expect("an empty folder");
        assert!(is_bootstrapped(folder.path()));
        assert!(bootstrap("c", Shard::ONLY, 1, folder.path(), &initial_members).is_err(), "never twice");
    }

    #[test]
    fn a_node_holds_replicas_of_several_groups_each_made_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = initial_members([(1, "localhost:1".to_owned())]);
        let shards = [1, 2, 3].map(|group| Shard { group, of: 3 });
        for (made, shard) in shards.into_iter().enumerate() {
            let there = shards.map(|shard| holds_replica(folder.path(), shard.group));
            assert_eq!(there.map(usize::from).iter().sum::<usize>(), made);
            bootstrap("c", shard, 1, folder.path(), &one).expect("a folder of its own");
            assert!(bootstrap("c", shard, 1, folder.path(), &one).is_err(), "never twice");
        }
        std::fs::remove_dir_all(group_folder(folder.path(), 2)).expect("removed");
        assert!(is_bootstrapped(folder.path()) && !holds_replica(folder.path(), 2));
        assert_ne!(join("c", shards[1], 1, folder.path()).expect("empty again"), one[0].incarnation);
        assert!(holds_replica(folder.path(), 2));
    }

    #[test]
    fn a_new_members_folder_is_made_once_and_never_the_same() {
        let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let first = join("c", Shard::ONLY, 4, one.path()).expect("an empty folder");
        assert!(is_bootstrapped(one.path()));
        assert!(join("c", Shard::ONLY, 4, one.path()).is_err(), "never twice");
        assert_ne!(first, join("c", Shard::ONLY, 4, other.path()).expect("an empty folder"));
        assert!(
            join("c", Shard::ONLY, 0, other.path()).is_err()
                && join("c/d", Shard::ONLY, 5, other.path()).is_err()
        );
    }

    #[test]
    fn a_shard_that_is_not_on_its_ring_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = initial_members([(1, "localhost:1".to_owned())]);
        for (shard, says) in
            [(Shard { group: 4, of: 3 }, "4 is not one of 3"), (Shard { group: 1, of: 65 }, "65")]
        {
            let refused =
                bootstrap("c", shard, 1, folder.path(), &one).expect_err("no such shard").to_string();
            assert!(refused.contains(says), "{refused}");
        }
        bootstrap("c", Shard { group: 3, of: 3 }, 1, folder.path(), &one).expect("an empty folder");
        assert!(is_bootstrapped(folder.path()));
    }

    #[test]
    fn an_address_that_cannot_be_called_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let bad = initial_members([(1, "localhost".to_owned())]);
        assert!(
            bootstrap("c", Shard::ONLY, 1, folder.path(), &bad)
                .expect_err("no port")
                .to_string()
                .contains("host:port")
        );
    }
}
