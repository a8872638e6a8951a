//! The names in a node's folder.

use store_core::{GroupId, Incarnation, Member, NodeId};
use store_log::{ClusterId, Identity};

/// The identity of a node's folder.
pub(crate) fn identity(group: GroupId, node: NodeId) -> Identity {
    let cluster = ClusterId::new(b"simulated").expect("a name of a cluster");
    Identity { cluster, group, node, state_machine_version: 1 }
}

/// The first member on a node.
pub(crate) fn first_member(index: usize) -> Member {
    let node = index as u64 + 1;
    Member { node: NodeId(node), incarnation: Incarnation(100 + node) }
}
