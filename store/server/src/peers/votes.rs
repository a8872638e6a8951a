//! Peers that wait for this node's vote. The node answers the last request of a peer as soon as its vote is durable, so
//! one place a peer is enough; an earlier call of the same peer is let go, and its answer with it.

use parking_lot::Mutex;
use store_core::{Epoch, NodeId, VoteReply};
use tokio::sync::oneshot;

use super::places::Places;
use crate::shared::Members;

/// The waiting peers.
#[derive(Default)]
pub(super) struct PendingVotes {
    waiting: Mutex<Places<Waiting>>,
}

/// A call that waits.
struct Waiting {
    /// The epoch that it asks for a vote in.
    epoch: Epoch,
    /// It asks only whether there would be one.
    pre: bool,
    sender: oneshot::Sender<VoteReply>,
}

impl Waiting {
    /// Whether this answers it, and not an earlier call that waited for the same ballot. A refusal says the voter's own epoch, and is
    /// true of both.
    fn is_answered_by(&self, reply: &VoteReply) -> bool {
        self.pre == reply.pre && (reply.epoch == self.epoch || !reply.granted)
    }
}

impl PendingVotes {
    /// Waits for the answer to the request that is brought to the node next. `None`: too many nodes that are no
    /// members wait.
    pub(super) fn wait(
        &self,
        peer: NodeId,
        (epoch, pre): (Epoch, bool),
        members: &Members,
    ) -> Option<oneshot::Receiver<VoteReply>> {
        let mut waiting = self.waiting.lock();
        if !waiting.admits(peer, members, |one| !one.sender.is_closed()) {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        waiting.put(peer, Waiting { epoch, pre, sender });
        Some(receiver)
    }

    /// The node's answer.
    pub(super) fn answer(&self, peer: NodeId, reply: VoteReply) {
        let mut waiting = self.waiting.lock();
        if !waiting.get(peer).is_some_and(|one| one.is_answered_by(&reply)) {
            return;
        }
        if let Some(one) = waiting.remove(peer) {
            // The caller may have given up: then the vote is lost, as on any network.
            let _ = one.sender.send(reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store_core::{Incarnation, Position};

    #[test]
    fn a_call_is_answered_by_its_own_answer_and_not_by_that_of_the_call_before() {
        let (votes, members, peer) = (PendingVotes::default(), Members::default(), NodeId(2));
        let reply = |epoch, pre, granted| VoteReply {
            epoch: Epoch(epoch),
            granted,
            pre,
            last: Position::default(),
            maybe_lost_tail: false,
            candidate: Incarnation(1),
        };
        let mut first = votes.wait(peer, (Epoch(5), false), &members).expect("a place");
        let mut second = votes.wait(peer, (Epoch(6), false), &members).expect("a place");
        assert!(first.try_recv().is_err(), "it is let go");
        for of_others in
            [reply(5, false, true), reply(6, true, true), reply(6, true, false), reply(7, false, true)]
        {
            votes.answer(peer, of_others);
        }
        votes.answer(peer, reply(6, false, true));
        assert_eq!(second.try_recv(), Ok(reply(6, false, true)));
        for voters_epoch in [6, 9] {
            let mut refused = votes.wait(peer, (Epoch(7), true), &members).expect("a place");
            votes.answer(peer, reply(voters_epoch, true, false));
            assert_eq!(refused.try_recv(), Ok(reply(voters_epoch, true, false)), "in the voter's epoch");
        }
    }
}
