//! The vocabulary of the protocol: ids, epochs, offsets, positions, entries, and [`EpochHistory`], which knows
//! where two logs part.
//!
//! Each type carries its invariant: an offset is never compared with an offset of another log without its
//! epoch, which is why everything that names a place in a log is a [`Position`].

use alloc::vec::Vec;
use core::fmt;

/// A store node of the cluster, by configuration; never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u64);

/// A replica group. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupId(pub u64);

/// The leader's version: every election makes a new, larger one. 0 is before the first election.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u64);

/// The place of an entry in its group's log: 1, 2, 3 … without gaps, running on over all epochs.
/// 0 is the place before the first entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Offset(pub u64);

/// A heartbeat round of one leader: acks name it, so that a read knows which heartbeats came after it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Round(pub u64);

/// The number of one write handed to the log writer, counting up over a replica's life. A late report of an
/// earlier write can therefore never vouch for what was truncated and appended anew since.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WriteSeq(pub u64);

/// The number of one read waiting for its barrier, counting up over a replica's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ReadId(pub u64);

/// The random identity of a node's folder. A node id with an empty folder is another member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Incarnation(pub u64);

impl Epoch {
    /// The epoch that an election started from here would make.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl Offset {
    /// The place before the first entry.
    pub const ZERO: Offset = Offset(0);

    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }

    /// The place before this one; zero stays zero.
    #[must_use]
    pub fn previous(self) -> Offset {
        Offset(self.0.saturating_sub(1))
    }
}

/// The place of an entry and the epoch of the leader that wrote it: together unique for ever.
/// Ordered by epoch first, which is the order of "more up to date" in elections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position {
    /// The epoch of its author, a leader.
    pub epoch: Epoch,
    /// Its place in the log.
    pub offset: Offset,
}

impl Position {
    /// Before the first entry.
    pub const ZERO: Position = Position { epoch: Epoch(0), offset: Offset(0) };

    /// The position of `offset` in `epoch`.
    #[must_use]
    pub const fn new(epoch: u64, offset: u64) -> Position {
        Position { epoch: Epoch(epoch), offset: Offset(offset) }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Position {
    /// `e3:17` — offset 17 of epoch 3.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)
    }
}

/// The identity of a member: the node's id and the incarnation of its folder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Member {
    /// The configured id.
    pub node: NodeId,
    /// The folder's random identity.
    pub incarnation: Incarnation,
}

impl fmt::Display for Member {
    /// The node, and by what its folder is told from others of that node.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (incarnation {:016x})", self.node, self.incarnation.0)
    }
}

/// The members of a group, and their votes. It is in the log: entry 1 of every log is the first membership, and each is in
/// force from its append.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Membership {
    /// The voters, sorted by node.
    pub voters: Vec<Member>,
    /// While a change is under way, the voters before it: then both majorities are needed (joint consensus,
    /// Ongaro 2014, section 4.3). Otherwise empty.
    pub outgoing: Vec<Member>,
    /// Members that receive the log without a say, until they have caught up.
    pub learners: Vec<Member>,
}

impl Membership {
    /// A membership of these voters, none of them twice.
    #[must_use]
    pub fn of(mut voters: Vec<Member>) -> Membership {
        voters.sort_unstable();
        voters.dedup();
        Membership { voters, outgoing: Vec::new(), learners: Vec::new() }
    }

    /// Whether this very member (node and incarnation) has a vote, before or after a change under way.
    #[must_use]
    pub fn is_voter(&self, member: Member) -> bool {
        self.voters.contains(&member) || self.outgoing.contains(&member)
    }

    /// Every member once, sorted by node: voters, outgoing voters, learners.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let mut all: Vec<Member> =
            self.voters.iter().chain(&self.outgoing).chain(&self.learners).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// What an entry is, as far as the protocol cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// The first entry of a new leader: it changes nothing and commits what came before.
    Empty,
    /// A membership, in force from its append.
    Membership,
    /// A command of the state machine.
    Command,
}

/// An entry of the log. The protocol never looks into `payload`; the engine stores shared bytes there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry<P> {
    /// Its place in the log.
    pub position: Position,
    /// The leader's timestamp in milliseconds since 1970; never falls along a log.
    pub log_time_ms: i64,
    /// What it is.
    pub kind: EntryKind,
    /// Its bytes.
    pub payload: P,
}

/// Consecutive entries of one epoch, by their places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// The epoch of all of them.
    pub epoch: Epoch,
    /// The first.
    pub first: Offset,
    /// The last; never before the first.
    pub last: Offset,
}

/// Which epoch wrote which offsets of one log: all the protocol needs to know of it.
///
/// ```text
/// offsets   1  2  3 | 4  5 | 6  7  8  9
/// epochs    1  1  1 | 2  2 | 5  5  5  5      starts: (1,1) (2,4) (5,6), last 9
/// ```
///
/// Size and every search are in the number of epochs, not of entries. What lies before `base` was purged behind
/// a snapshot; the epoch of `base` itself is still known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EpochHistory {
    /// The last position that is gone from the log ([`Position::ZERO`] if nothing was purged).
    base: Position,
    /// First position of each epoch after `base`, rising in both epoch and offset.
    starts: Vec<Position>,
    /// The last offset of the log.
    last: Offset,
}

impl EpochHistory {
    /// The history of an empty log after `base`.
    #[must_use]
    pub fn starting_after(base: Position) -> EpochHistory {
        EpochHistory { base, starts: Vec::new(), last: base.offset }
    }

    /// The last position that is gone from the log.
    #[must_use]
    pub fn base(&self) -> Position {
        self.base
    }

    /// The last position of the log (`base` if it is empty).
    #[must_use]
    pub fn last(&self) -> Position {
        match self.starts.last() {
            Some(start) => Position { epoch: start.epoch, offset: self.last },
            None => self.base,
        }
    }

    /// The epoch of the entry at `offset`; `None` if it was purged or is not there yet.
    #[must_use]
    pub fn epoch_at(&self, offset: Offset) -> Option<Epoch> {
        if offset == self.base.offset {
            return Some(self.base.epoch);
        }
        if offset < self.base.offset || offset > self.last {
            return None;
        }
        let after = self.starts.partition_point(|start| start.offset <= offset);
        Some(self.starts[after - 1].epoch)
    }

    /// The position of the entry at `offset`, if the log has it.
    #[must_use]
    pub fn position_at(&self, offset: Offset) -> Option<Position> {
        self.epoch_at(offset).map(|epoch| Position { epoch, offset })
    }

    /// Whether exactly this entry is in the log (or is `base`).
    #[must_use]
    pub fn contains(&self, position: Position) -> bool {
        self.epoch_at(position.offset) == Some(position.epoch)
    }

    /// The first offset of `epoch` that the log still has.
    #[must_use]
    pub fn first_of(&self, epoch: Epoch) -> Option<Offset> {
        self.starts.iter().rev().find(|start| start.epoch == epoch).map(|start| start.offset)
    }

    /// The last entry whose epoch is at most `epoch` and whose offset is at most `offset`: the furthest point
    /// at which a log that reads `(epoch, offset)` there can still agree with this one. Never before `base`.
    #[must_use]
    pub fn last_at_most(&self, at: Position) -> Position {
        let mut end = self.last;
        for start in self.starts.iter().rev() {
            if start.epoch <= at.epoch && start.offset <= at.offset {
                return Position { epoch: start.epoch, offset: end.min(at.offset) };
            }
            end = start.offset.previous();
        }
        self.base
    }

    /// Appends `run`, which must continue the log in offset and not go back in epoch.
    ///
    /// # Panics
    /// If it does not continue the log: our own bug.
    pub fn append(&mut self, run: Run) {
        assert_eq!(run.first, self.last.next(), "a run continues the log without a gap");
        assert!(run.last >= run.first, "a run is not empty");
        assert!(run.epoch >= self.last().epoch, "epochs never fall along a log");
        if self.starts.last().is_none_or(|start| start.epoch < run.epoch) {
            self.starts.push(Position { epoch: run.epoch, offset: run.first });
        }
        self.last = run.last;
    }

    /// Removes the entry at `from` and all after it.
    ///
    /// # Panics
    /// If `from` was purged: our own bug.
    pub fn truncate(&mut self, from: Offset) {
        assert!(from > self.base.offset, "what was purged is never truncated");
        while self.starts.last().is_some_and(|start| start.offset >= from) {
            self.starts.pop();
        }
        self.last = self.last.min(from.previous());
    }

    /// Forgets what is at or before `up_to`, which the log must have.
    ///
    /// # Panics
    /// If the log does not have `up_to`: our own bug.
    pub fn purge(&mut self, up_to: Offset) {
        if up_to <= self.base.offset {
            return;
        }
        let position = self.position_at(up_to);
        let base = position.expect("only what the log has is purged");
        let after = self.starts.partition_point(|start| start.offset <= up_to);
        let spans =
            self.last > up_to && self.starts.get(after).is_none_or(|start| start.offset > up_to.next());
        self.starts.drain(..after);
        if spans {
            self.starts.insert(0, Position { epoch: base.epoch, offset: up_to.next() });
        }
        self.base = base;
    }

    /// The runs of the log from `from` to its end.
    pub fn runs_from(&self, from: Offset) -> impl Iterator<Item = Run> + '_ {
        self.starts.iter().enumerate().filter_map(move |(i, start)| {
            let last = self.starts.get(i + 1).map_or(self.last, |next| next.offset.previous());
            let first = start.offset.max(from);
            (first <= last).then_some(Run { epoch: start.epoch, first, last })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn history(epochs: &[u64]) -> EpochHistory {
        let mut history = EpochHistory::default();
        for (i, epoch) in (1..).zip(epochs) {
            history.append(Run { epoch: Epoch(*epoch), first: Offset(i), last: Offset(i) });
        }
        history
    }

    fn epochs(history: &EpochHistory) -> Vec<u64> {
        (history.base().offset.0 + 1..=history.last().offset.0)
            .map(|offset| history.epoch_at(Offset(offset)).expect("inside").0)
            .collect()
    }

    #[test]
    fn a_history_knows_the_epoch_of_every_offset() {
        let log = history(&[1, 1, 1, 2, 2, 5, 5]);
        assert_eq!(epochs(&log), [1, 1, 1, 2, 2, 5, 5]);
        assert_eq!(log.epoch_at(Offset(8)), None);
        assert_eq!(log.last(), Position::new(5, 7));
        assert_eq!(log.first_of(Epoch(2)), Some(Offset(4)));
        assert_eq!(log.first_of(Epoch(3)), None);
    }

    #[test]
    fn truncating_and_purging_keep_the_rest() {
        let mut log = history(&[1, 1, 1, 2, 2, 5, 5]);
        log.truncate(Offset(5));
        assert_eq!(epochs(&log), [1, 1, 1, 2]);
        log.purge(Offset(2));
        assert_eq!((log.base(), epochs(&log)), (Position::new(1, 2), vec![1, 2]));
        log.purge(Offset(4));
        assert_eq!((log.last(), epochs(&log)), (Position::new(2, 4), vec![]));
        assert!(log.contains(Position::new(2, 4)) && !log.contains(Position::new(1, 4)));
    }

    #[test]
    fn the_last_possible_agreement_is_found_by_epoch() {
        let log = history(&[1, 1, 1, 4, 4, 5, 5, 6, 6, 6]);
        assert_eq!(log.last_at_most(Position::new(3, 11)), Position::new(1, 3));
        assert_eq!(log.last_at_most(Position::new(4, 11)), Position::new(4, 5));
        assert_eq!(log.last_at_most(Position::new(6, 9)), Position::new(6, 9));
        assert_eq!(log.last_at_most(Position::new(9, 99)), Position::new(6, 10));
    }
}
