//! Peers that wait for this node's vote. The node answers the last request of a peer as soon as its vote is durable, so
//! one place a peer is enough; an earlier call of the same peer is let go.

use parking_lot::Mutex;
use store_core::{NodeId, VoteReply};
use tokio::sync::oneshot;

use super::places::Places;
use crate::shared::Members;

/// The waiting peers.
#[derive(Default)]
pub(super) struct PendingVotes {
    waiting: Mutex<Places<oneshot::Sender<VoteReply>>>,
}

impl PendingVotes {
    /// Waits for the answer to the request that is brought to the node next. `None`: too many nodes that are no
    /// members wait.
    pub(super) fn wait(&self, peer: NodeId, members: &Members) -> Option<oneshot::Receiver<VoteReply>> {
        let mut waiting = self.waiting.lock();
        if !waiting.admits(peer, members, |sender| !sender.is_closed()) {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        waiting.put(peer, sender);
        Some(receiver)
    }

    /// The node's answer.
    pub(super) fn answer(&self, peer: NodeId, reply: VoteReply) {
        let waiting = self.waiting.lock().remove(peer);
        if let Some(waiting) = waiting {
            // The caller may have given up: then the vote is lost, as on any network.
            let _ = waiting.send(reply);
        }
    }
}
