//! One place for each peer that speaks to this node. Members always have one; so has a bounded number of others, since
//! an unknown caller may have become a member meanwhile. Messages of non-members can fill no memory.

use std::collections::HashMap;

use store_core::NodeId;
use store_engine::limits::MEMBERS_MAX;

use crate::shared::Members;

/// Nodes that are no members and have a place.
const STRANGERS_MAX: usize = MEMBERS_MAX;

/// The places.
pub(super) struct Places<V> {
    by_node: HashMap<NodeId, V>,
}

impl<V> Default for Places<V> {
    fn default() -> Places<V> {
        Places { by_node: HashMap::new() }
    }
}

impl<V> Places<V> {
    /// Whether `peer` may have a place. Strangers whose place is not `in_use` lose it first.
    pub(super) fn admits(&mut self, peer: NodeId, members: &Members, in_use: impl Fn(&V) -> bool) -> bool {
        let is_member = |node: &NodeId| members.by_node.contains_key(&node.0);
        if is_member(&peer) || self.by_node.contains_key(&peer) {
            return true;
        }
        self.by_node.retain(|node, value| is_member(node) || in_use(value));
        self.by_node.keys().filter(|node| !is_member(node)).count() < STRANGERS_MAX
    }

    /// What is at the place of `peer`.
    pub(super) fn get(&self, peer: NodeId) -> Option<&V> {
        self.by_node.get(&peer)
    }

    /// Puts something at the place of `peer`, who was admitted.
    pub(super) fn put(&mut self, peer: NodeId, value: V) {
        self.by_node.insert(peer, value);
    }

    /// Empties the place of `peer`.
    pub(super) fn remove(&mut self, peer: NodeId) -> Option<V> {
        self.by_node.remove(&peer)
    }

    /// Empties all.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = V> {
        self.by_node.drain().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::Member;

    #[test]
    fn only_members_have_a_lasting_slot() {
        let mut members = Members::default();
        members.by_node.insert(1, Member::default());
        let mut places = Places::default();
        let mut enter = |node: u64, used: bool| {
            let admitted = places.admits(NodeId(node), &members, |used| *used);
            if admitted {
                places.put(NodeId(node), used);
            }
            admitted
        };
        let many = 100..100 + STRANGERS_MAX as u64;
        assert!(many.clone().all(|node| enter(node, true)));
        assert!(!enter(99, true), "non-members have so many places");
        assert!(enter(1, true) && enter(100, true), "a member has one, and who has one keeps it");
        for node in many {
            enter(node, false);
        }
        assert!((1_000..2_000).all(|node| enter(node, false)), "a place that is not used is given on");
        assert!(places.by_node.len() <= STRANGERS_MAX + 2);
    }
}
