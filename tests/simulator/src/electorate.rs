//! The voters of every offset: the oracle's own account of every membership that was ever appended, made from the entries
//! themselves. No node is asked.
//!
//! Promises: the membership in force in a log is the last one in it, committed or not; a majority is counted before and
//! after a change under way, learners and nodes without a name in it do not count.

use std::collections::BTreeMap;

use bytes::Bytes;
use store_core::{Entry, EntryKind, Epoch, EpochHistory, Member, Membership, Offset, Position};
use store_engine::convert;

/// What was committed, by offset, from 1; and the epoch of the leader that did.
pub(crate) type Committed = [(Position, Epoch)];

/// All memberships.
#[derive(Debug, Default)]
pub(crate) struct Electorate {
    /// Each that was ever appended by anybody.
    entries: BTreeMap<Position, Membership>,
    /// The last one that was committed and is not joint.
    settled: Membership,
    /// Where the last one that was committed stands.
    committed_at: Position,
}

/// Whether more than half of the voters do something, before and after a change under way: counted here anew, since what
/// is watched must not be judge of itself.
pub(crate) fn is_majority(membership: &Membership, does: impl Fn(Member) -> bool) -> bool {
    let enough = |voters: &[Member]| 2 * voters.iter().filter(|voter| does(**voter)).count() > voters.len();
    enough(&membership.voters) && (membership.outgoing.is_empty() || enough(&membership.outgoing))
}

fn is_committed(position: Position, committed: &Committed) -> bool {
    let at = usize::try_from(position.offset.0 - 1).expect("a short log");
    committed.get(at).is_some_and(|(there, _)| *there == position)
}

impl Electorate {
    /// The initial members' membership, which is entry 1 of every log.
    pub(crate) fn founded(&mut self, at: Position, members: &[Member]) {
        let membership = Membership { voters: members.to_vec(), ..Membership::default() };
        self.settled = membership.clone();
        self.committed_at = at;
        self.entries.insert(at, membership);
    }

    /// An entry was appended somewhere.
    pub(crate) fn appended(&mut self, entry: &Entry<Bytes>) {
        if entry.kind == EntryKind::Membership && !self.entries.contains_key(&entry.position) {
            let wire = convert::membership_of(&entry.payload).expect("a leader writes what can be read");
            let membership = convert::membership_in(&wire).expect("a leader writes what makes sense");
            self.entries.insert(entry.position, membership);
        }
    }

    /// An entry was committed. True: it is a membership with other voters than the last settled one.
    pub(crate) fn committed(&mut self, position: Position) -> bool {
        let Some(membership) = self.entries.get(&position) else { return false };
        self.committed_at = position;
        if membership.is_joint() {
            return false;
        }
        let has_moved = membership.voters != self.settled.voters;
        self.settled = membership.clone();
        has_moved
    }

    /// The membership in force in a log.
    pub(crate) fn in_force(&self, log: &EpochHistory, committed: &Committed) -> &Membership {
        let base = log.base().offset;
        let is_there = |at: &&Position| {
            if at.offset <= base { is_committed(**at, committed) } else { log.contains(**at) }
        };
        let last = self.entries.keys().filter(is_there).max_by_key(|at| at.offset);
        last.map_or(&self.settled, |at| &self.entries[at])
    }

    /// The last membership that was committed, joint or not.
    pub(crate) fn now(&self) -> &Membership {
        self.entries.get(&self.committed_at).unwrap_or(&self.settled)
    }

    /// Where it stands.
    pub(crate) fn at(&self) -> Offset {
        self.committed_at.offset
    }

    /// Whether a log has a membership that may yet come to be, or not.
    pub(crate) fn is_open(&self, log: &EpochHistory, committed: &Committed) -> bool {
        let after = log.base().offset;
        self.entries.keys().any(|at| at.offset > after && log.contains(*at) && !is_committed(*at, committed))
    }
}
