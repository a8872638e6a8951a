//! Majorities, plain and joint: of votes, and of durable offsets.
//!
//! With a membership change under way both the new and the outgoing voters must agree
//! (Ongaro 2014, "Consensus: Bridging Theory and Practice", section 4.3). Members count, not nodes: a new
//! folder does not count for the folder before it, since it knows none of its votes and acks.

use crate::limits::MEMBERS_MAX;
use crate::mutant;
use crate::types::{Member, Membership, Offset};

/// How many of `voters` are a majority.
#[must_use]
pub fn majority(voters: usize) -> usize {
    mutant!(voters / 2 + 1, HalfIsMajority => voters.div_ceil(2))
}

/// Whether the voters for which `agrees` holds are a quorum. No voters at all are never one.
pub fn has_quorum(membership: &Membership, agrees: impl Fn(Member) -> bool) -> bool {
    let enough =
        |voters: &[Member]| voters.iter().filter(|voter| agrees(**voter)).count() >= majority(voters.len());
    let outgoing = outgoing(membership);
    enough(&membership.voters) && (outgoing.is_empty() || enough(outgoing))
}

/// The highest offset that a quorum holds, given what each voter holds durably.
///
/// No voters hold everything (so that an absent outgoing configuration never limits): callers have at least one.
///
/// # Panics
/// If there are more than [`MEMBERS_MAX`] voters: the maker of the membership checks that.
pub fn committed_offset(membership: &Membership, durable: impl Fn(Member) -> Offset) -> Offset {
    let held = |voters: &[Member]| held_by_majority(voters, &durable);
    held(&membership.voters).min(held(outgoing(membership)))
}

/// The voters before a change under way, whose majority is needed too.
fn outgoing(membership: &Membership) -> &[Member] {
    mutant!(&membership.outgoing, JointForgetsOutgoing => &[])
}

/// The highest offset that a majority of these has reached; `Offset(u64::MAX)` if there is nobody. Asked at every
/// ack, so it allocates nothing.
fn held_by_majority(voters: &[Member], durable: impl Fn(Member) -> Offset) -> Offset {
    if voters.is_empty() {
        return Offset(u64::MAX);
    }
    let mut offsets = [Offset::ZERO; MEMBERS_MAX];
    let held = &mut offsets[..voters.len()];
    for (offset, voter) in held.iter_mut().zip(voters) {
        *offset = durable(*voter);
    }
    held.sort_unstable();
    held[held.len() - majority(held.len())]
}
