//! The frame of every message between peers: sender and receiver, largest size, the way to the node.

use proto::store as wire;
use store_client::failure::failure_from;
use store_core::{Member, Message, NodeId};
use store_engine::Job;
use tonic::Status;

use crate::problems::About;
use crate::shared::{Identity, Shared};

/// The largest message between replicas: an append with its entries and what wraps them.
pub(crate) const MESSAGE_BYTES_MAX: usize = store_engine::limits::MESSAGE_BYTES_MAX * 2 + (64 << 10);

/// Characters shown of what somebody says who proves nothing.
const SAID_CHARS_MAX: usize = 240;

/// The leader, as it introduced itself when it began to push; or as the membership here has it. That may be older: a new
/// member has none at all until it has fetched a snapshot.
pub(super) fn leader_at(shared: &Shared, peer: NodeId) -> Option<wire::Member> {
    let pushing = shared.pushing().filter(|pushing| pushing.node == peer.0);
    pushing.or_else(|| shared.members().by_node.get(&peer.0).cloned())
}

/// How this node introduces itself to this folder.
pub(super) fn introduce_to(shared: &Shared, to: &wire::Member) -> wire::Peer {
    let Identity { cluster, route, member } = &shared.me;
    let members = shared.members();
    let address = members.by_node.get(&member.node.0).map(|me| me.address.clone()).unwrap_or_default();
    wire::Peer {
        cluster: cluster.clone().into(),
        group: route.group,
        ring_version: route.ring_version,
        node: member.node.0,
        incarnation: member.incarnation.0,
        to_node: to.node,
        to_incarnation: to.incarnation,
        address,
    }
}

/// What a peer says of a session that this node began, or wanted to: a mix-up (another cluster, another node, another folder
/// at its address) is a problem for this node's operator, until it is over. It is not proven, and so shown as said.
pub(super) fn told_by_peer<T>(shared: &Shared, peer: NodeId, told: Result<&T, &Status>) {
    let about = About::Peer(peer.0);
    let refused = told.err().map(failure_from).filter(|failure| {
        let reasons = [wire::FailureReason::Invalid, wire::FailureReason::Unproven];
        reasons.contains(&failure.reason()) && failure.field.starts_with("peer.")
    });
    match refused {
        Some(failure) => {
            let at = shared.members().by_node.get(&peer.0).map(|m| m.address.clone()).unwrap_or_default();
            let why = as_said(&failure.message);
            let text = format!("{peer} at {at} refuses this node: {why}");
            if shared.problems.raise(about, text) {
                tracing::warn!(%peer, at, why, "the node at a peer's address refuses this node");
            }
        }
        None if told.is_ok() && shared.problems.clear(about) => {
            tracing::info!(%peer, "the peer takes this node for who it is again");
        }
        // Whatever else went wrong says nothing of who is there.
        None => {}
    }
}

/// What somebody says who proves nothing: one line, and short.
fn as_said(text: &str) -> String {
    text.chars().take(SAID_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A message from a peer for the node.
pub(super) fn from_peer(from: Member, message: Message) -> Job {
    Job::Peer { from, message, entries: Vec::new() }
}
