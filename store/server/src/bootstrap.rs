//! The first start of a replica. A group's initial members' folders are made with the same membership as log entry 1; that of a
//! new member of a group that is there is made empty, and a membership change lets it in. Both are explicit, since a folder that is silently made anew would vote under an identity that has promised other things.

use std::path::{Path, PathBuf};

use proto::store::{Member, Membership};
use store_core::{GroupId, Incarnation, NodeId};
use store_log::{BootId, ClusterId, Identity, RealDisk};

use crate::config::{check_cluster, group_folder, reachable_address, wrong};
use crate::error::Error;
use crate::replica::GROUP;

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

/// Makes the folder of one initial member. All initial members are given the same list.
///
/// # Errors
/// The list cannot be a group, `node` is not in it, or the folder is not empty.
pub fn bootstrap(
    cluster: &str,
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
    let (disk, identity, boot_id) = place(cluster, node, folder)?;
    let incarnation = Incarnation(me.incarnation);
    store_engine::bootstrap(&disk, &identity, incarnation, &boot_id, &membership(initial_members))
        .map_err(failed)?;
    Ok(())
}

/// Makes the folder of a new member of a group that is there, and says its incarnation. It holds nothing, and its node
/// serves nobody, until a membership change adds it (`ChangeMembers`).
///
/// # Errors
/// The folder is not empty, or the names are none.
pub fn join(cluster: &str, node: u64, folder: &Path) -> Result<u64, Error> {
    check_cluster(cluster)?;
    if node == 0 {
        return Err(wrong("node", "node 0 is nobody"));
    }
    let (disk, identity, boot_id) = place(cluster, node, folder)?;
    let incarnation = random_incarnation();
    store_engine::join(&disk, &identity, Incarnation(incarnation), &boot_id).map_err(failed)?;
    Ok(incarnation)
}

/// Where a node's replica is made, and as whose.
fn place(cluster: &str, node: u64, folder: &Path) -> Result<(RealDisk, Identity, BootId), Error> {
    let identity = Identity {
        cluster: ClusterId::new(cluster.as_bytes()).map_err(|error| failed(error.into()))?,
        group: GroupId(GROUP),
        node: NodeId(node),
        state_machine_version: store_db::limits::STATE_MACHINE_VERSION,
    };
    let folder: PathBuf = group_folder(folder, GROUP);
    let disk = RealDisk::open(&folder).map_err(|error| failed(error.into()))?;
    let boot_id = store_log::boot_id().map_err(|error| failed(error.into()))?;
    Ok((disk, identity, boot_id))
}

fn failed(source: store_engine::Error) -> Error {
    Error::Open { group: GROUP, source }
}

/// The first membership: the same bytes for every initial member, whatever the order of the list.
pub(crate) fn membership(initial_members: &[InitialMember]) -> Membership {
    let member = |initial_member: &InitialMember| Member {
        node: initial_member.node,
        incarnation: initial_member.incarnation,
        address: initial_member.address.clone(),
        joined: false,
    };
    let mut voters: Vec<Member> = initial_members.iter().map(member).collect();
    voters.sort_by_key(|voter| voter.node);
    Membership { voters, ..Membership::default() }
}

/// Whether the folder of a node holds a replica already.
#[must_use]
pub fn is_bootstrapped(folder: &Path) -> bool {
    group_folder(folder, GROUP).join("meta").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_once_and_only_for_an_initial_member() {
        let folder = tempfile::tempdir().expect("a folder");
        let initial_members = initial_members([(1, "localhost:1".to_owned()), (2, "localhost:2".to_owned())]);
        assert!(
            bootstrap("c", 3, folder.path(), &initial_members)
                .expect_err("no initial member")
                .to_string()
                .contains('3')
        );
        assert!(!is_bootstrapped(folder.path()));
        bootstrap("c", 1, folder.path(), &initial_members).expect("an empty folder");
        assert!(is_bootstrapped(folder.path()));
        assert!(bootstrap("c", 1, folder.path(), &initial_members).is_err(), "never twice");
    }

    #[test]
    fn a_new_members_folder_is_made_once_and_never_the_same() {
        let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let first = join("c", 4, one.path()).expect("an empty folder");
        assert!(is_bootstrapped(one.path()));
        assert!(join("c", 4, one.path()).is_err(), "never twice");
        assert_ne!(first, join("c", 4, other.path()).expect("an empty folder"));
        assert!(join("c", 0, other.path()).is_err() && join("c/d", 5, other.path()).is_err());
    }

    #[test]
    fn an_address_that_cannot_be_called_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let bad = initial_members([(1, "localhost".to_owned())]);
        assert!(
            bootstrap("c", 1, folder.path(), &bad).expect_err("no port").to_string().contains("host:port")
        );
    }
}
