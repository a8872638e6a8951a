//! The oracle's own account of the rounds that changes of votes wait for: each node's answered heartbeats, after each
//! request. *Votes move after a round*: a leader appends a joint membership only when majorities of the voters before it
//! and of those after it have acknowledged, within an election timer, a heartbeat that was sent after the request.

use std::collections::{BTreeMap, BTreeSet};

use store_core::{Epoch, LeaderMessage, Member, Membership, Message, NodeId, PushReply, Round};

use super::oracle::is_held;

/// A request that the core has neither refused nor carried out.
#[derive(Clone, Debug, Default)]
struct PendingChange {
    /// The first heartbeat that was sent after it.
    round: Option<(Epoch, Round)>,
    /// Who acknowledged that one or a later one.
    answered: BTreeSet<Member>,
    /// Ticks since it came.
    ticks: u32,
}

/// See the file.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// By the node that was asked.
    asked: BTreeMap<NodeId, PendingChange>,
}

impl Rounds {
    /// A request comes to `node`. Returns the one that waits there, which stays the one that is waited for.
    pub(crate) fn asks(&mut self, node: NodeId) -> Waiting {
        Waiting(self.asked.insert(node, PendingChange::default()))
    }

    /// The core has taken the request: if another waited, it still does.
    pub(crate) fn asked(&mut self, node: NodeId, before: Waiting) {
        if let Some(before) = before.0 {
            self.asked.insert(node, before);
        }
    }

    /// The core has refused, or the node is down.
    pub(crate) fn ends(&mut self, node: NodeId) {
        self.asked.remove(&node);
    }

    pub(crate) fn ticks(&mut self, node: NodeId) {
        if let Some(asked) = self.asked.get_mut(&node) {
            asked.ticks += 1;
        }
    }

    pub(crate) fn says(&mut self, node: NodeId, message: &Message) {
        if let (Some(asked), Message::Leader(LeaderMessage::Heartbeat { epoch, round, .. })) =
            (self.asked.get_mut(&node), message)
        {
            asked.round.get_or_insert((*epoch, *round));
        }
    }

    pub(crate) fn hears(&mut self, node: NodeId, from: Member, message: &Message) {
        if let (Some(asked), Message::Reply(PushReply::Ack { epoch, round, .. })) =
            (self.asked.get_mut(&node), message)
            && asked.round.is_some_and(|(of, first)| of == *epoch && first <= *round)
        {
            asked.answered.insert(from);
        }
    }

    /// A leader appends a membership. The one that a joint one leads to asks nobody.
    pub(crate) fn appends(&mut self, leader: Member, next: &Membership, ticks_max: u32) {
        let Some(asked) = self.asked.remove(&leader.node) else { return };
        if !next.is_joint() {
            return;
        }
        let has_answered = |voter| voter == leader || asked.answered.contains(&voter);
        assert!(
            asked.round.is_some() && is_held(next, has_answered) && asked.ticks <= ticks_max,
            "votes move after a round: {} moves votes when {:?} have answered {:?} for {} ticks",
            leader.node,
            asked.answered,
            asked.round,
            asked.ticks
        );
    }
}

/// The request that waited when another came.
#[derive(Debug)]
pub(crate) struct Waiting(Option<PendingChange>);
