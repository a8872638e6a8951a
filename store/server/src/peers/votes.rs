//! Peers that wait for this node's vote. The node answers the last request of a peer in the turn that takes it, so
//! one place a peer is enough; an earlier call of the same peer is let go.

use std::collections::HashMap;

use parking_lot::Mutex;
use store_core::{Message, NodeId};
use tokio::sync::oneshot;

/// Who waits.
#[derive(Default)]
pub(super) struct VotesAsked {
    waiting: Mutex<HashMap<NodeId, oneshot::Sender<Message>>>,
}

impl VotesAsked {
    /// Waits for the answer to the request that is brought to the node next.
    pub(super) fn wait(&self, peer: NodeId) -> oneshot::Receiver<Message> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().insert(peer, sender);
        receiver
    }

    /// The node's answer.
    pub(super) fn answer(&self, peer: NodeId, message: &Message) {
        let waiting = self.waiting.lock().remove(&peer);
        if let Some(waiting) = waiting {
            // The caller may have given up: then the vote is lost, as on any network.
            let _ = waiting.send(message.clone());
        }
    }
}
