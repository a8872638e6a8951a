//! What every message between peers has in common: who speaks to whom, how large it may be, how it reaches the node.

use proto::store as wire;
use store_core::{Member, Message, NodeId};
use store_engine::Job;

use crate::shared::{Identity, Shared};

/// The largest message between replicas: an append with its entries and what wraps them.
pub(crate) const MESSAGE_BYTES_MAX: usize = store_engine::limits::MESSAGE_BYTES_MAX * 2 + (64 << 10);

/// How this node introduces itself to `peer`; `None`: the peer is not a member.
pub(super) fn introduce(shared: &Shared, peer: NodeId) -> Option<wire::Peer> {
    let members = shared.members();
    let to = members.by_node.get(&peer.0)?;
    let Identity { cluster, route, member } = &shared.me;
    Some(wire::Peer {
        cluster: cluster.clone().into(),
        group: route.group,
        ring_version: route.ring_version,
        node: member.node.0,
        incarnation: member.incarnation.0,
        to_node: to.node,
        to_incarnation: to.incarnation,
    })
}

/// A message from a peer for the node.
pub(super) fn from_peer(from: Member, message: Message) -> Job {
    Job::Peer { from, message, entries: Vec::new() }
}
