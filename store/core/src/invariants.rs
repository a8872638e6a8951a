//! The invariants, by name. Asserts in the core, the simulator, tests and docs/ARCHITECTURE.md use these.
//!
//! | name | says |
//! |---|---|
//! | Election safety | at most one leader an epoch |
//! | Log matching | two logs that have one position in common agree on all before it |
//! | Leader completeness | a leader's log has every entry committed in earlier epochs |
//! | State-machine safety | no two replicas apply different entries at one offset |
//! | Committed is immutable | a committed entry is never truncated or replaced |
//! | Commit order | purged ≤ snapshot ≤ applied ≤ committed ≤ last, and committed ≤ what is durable; nothing is ordered to be applied while a snapshot is installed |
//! | Ballot monotonic | epochs never fall, and an epoch has one vote, over a replica's whole life |
//! | Ack only after durable | an acknowledged position is on that replica's disk |
//! | Intermediate is unreadable | nothing uncommitted is applied |
//! | Votes move after a round | a change that moves votes is appended only after majorities of the voters before it and of those after it have acknowledged, within an election timer, a heartbeat that was sent after the request |
//! | One change at a time | a membership is appended only when the one that it follows is committed |
//! | Quarantined with a reason | a replica quarantines itself only when a majority has another hash at the same position, of the same version, when an operator says so, or when its database's own store (LMDB) reports damage to a read; a record that can be read is never a reason |
//! | Quarantined is silent | a quarantined replica neither campaigns nor leads, serves no reads, and gives no snapshots |
//! | Quarantine before discard | a quarantine is durable before anything of the table is thrown away, and goes only after the table was replaced |
//! | A hung disk stops nobody | while no other fault is active and the disks of a majority are well, a write succeeds within 2 s (of a leader's database: ten election timers later), with one change of leader a hang |

use crate::checkpoints::Checkpoint;
use crate::protocol::{Input, Role};
use crate::types::{Epoch, EpochHistory, NodeId, Offset, Position};

/// *Commit order*, of one replica's log; asserted after every step.
///
/// # Panics
/// If it does not hold.
pub fn commit_order(history: &EpochHistory, committed: Offset, durable: Offset) {
    let (base, last) = (history.base(), history.last());
    assert!(base.offset <= committed, "commit order: purged {base} ≤ committed {committed}");
    assert!(committed <= durable, "commit order: committed {committed} ≤ durable {durable}");
    assert!(durable <= last.offset, "commit order: durable {durable} ≤ last {last}");
}

/// *Ballot monotonic*, as far as the carrier of inputs goes: nothing is built on a ballot that is not durable yet.
///
/// # Panics
/// If it does not hold.
pub fn ballot_first(is_saving: bool, input: &Input) {
    assert!(!is_saving || input.needs_no_ballot(), "ballot monotonic: it is saved before {input:?}");
}

/// *Quarantined is silent*, as far as the protocol goes; asserted after every step.
///
/// # Panics
/// If it does not hold.
pub fn quarantined_is_silent(is_quarantined: bool, role: Role) {
    assert!(
        !is_quarantined || role == Role::Follower,
        "quarantined is silent: it stands or leads as {role:?}"
    );
}

/// *Quarantined with a reason*: what is had here and what a majority has can be compared, and differ.
///
/// # Panics
/// If it does not hold.
pub fn quarantined_with_reason(own: Checkpoint, majority: Checkpoint) {
    let is_same_place = own.position.offset == majority.position.offset;
    assert!(
        is_same_place,
        "quarantined with a reason: {} and {} are compared",
        own.position, majority.position
    );
    assert!(own.version == majority.version, "quarantined with a reason: state machines of one version");
    assert!(own != majority, "quarantined with a reason: both have {:x}", own.state_hash);
}

/// *Election safety*: at most one leader an epoch, over everything seen so far.
///
/// # Errors
/// The epoch and the two who led it.
pub fn election_safety(
    leaders: impl IntoIterator<Item = (Epoch, NodeId)>,
) -> Result<(), (Epoch, NodeId, NodeId)> {
    let mut seen: alloc::collections::BTreeMap<Epoch, NodeId> = alloc::collections::BTreeMap::new();
    for (epoch, node) in leaders {
        let first = *seen.entry(epoch).or_insert(node);
        if first != node {
            return Err((epoch, first, node));
        }
    }
    Ok(())
}

/// *Log matching*: below the last position that both logs have, they agree.
///
/// # Errors
/// The offset at which they differ although they agree further on.
pub fn log_matching(a: &EpochHistory, b: &EpochHistory) -> Result<(), Offset> {
    let from = a.base().offset.max(b.base().offset).next();
    let to = a.last().offset.min(b.last().offset);
    let mut differs = None;
    let mut at = from;
    while at <= to {
        match (a.epoch_at(at) == b.epoch_at(at), differs) {
            (true, Some(earlier)) => return Err(earlier),
            (false, None) => differs = Some(at),
            _ => {}
        }
        at = at.next();
    }
    Ok(())
}

/// *Leader completeness*: a leader's log has every committed position.
///
/// # Errors
/// A committed position that it lacks.
pub fn leader_completeness(
    leader: &EpochHistory,
    committed: impl IntoIterator<Item = Position>,
) -> Result<(), Position> {
    let lacks = |position: &Position| position.offset > leader.base().offset && !leader.contains(*position);
    committed.into_iter().find(lacks).map_or(Ok(()), Err)
}
