//! Majorities, plain and joint: who has enough votes, and which offset enough voters hold.
//!
//! With a membership change under way both the new and the outgoing voters must agree
//! (Ongaro 2014, "Consensus: Bridging Theory and Practice", section 4.3).

use alloc::vec::Vec;

use crate::types::{Member, Membership, NodeId, Offset};

/// How many of `voters` are a majority.
#[must_use]
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// Whether the voters for which `agrees` holds are a quorum. No voters at all are never one.
pub fn has_quorum(membership: &Membership, agrees: impl Fn(NodeId) -> bool) -> bool {
    let enough = |voters: &[Member]| {
        voters.iter().filter(|voter| agrees(voter.node)).count() >= majority(voters.len())
    };
    enough(&membership.voters) && (membership.outgoing.is_empty() || enough(&membership.outgoing))
}

/// The highest offset that a quorum holds, given what each voter holds durably.
///
/// No voters hold everything (so that an absent outgoing configuration never limits): callers have at least one.
pub fn committed_offset(membership: &Membership, durable: impl Fn(NodeId) -> Offset) -> Offset {
    let held = |voters: &[Member]| held_by_majority(voters.iter().map(|v| durable(v.node)).collect());
    held(&membership.voters).min(held(&membership.outgoing))
}

/// The highest offset that a majority of these has reached; `Offset(u64::MAX)` if there is nobody.
fn held_by_majority(mut durable: Vec<Offset>) -> Offset {
    if durable.is_empty() {
        return Offset(u64::MAX);
    }
    durable.sort_unstable();
    durable[durable.len() - majority(durable.len())]
}
