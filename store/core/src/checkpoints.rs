//! Checkpoints of the state, and the verdict on replicas that differ at one.
//!
//! Each replica keeps a running hash of the effects that it applied. Every so many offsets it notes that hash as a
//! [`Checkpoint`]. Two replicas that applied the same entries under the same rules have the same hash at the same
//! offset; and because the hash runs on, replicas that differ once differ at every later checkpoint too, and
//! replicas that are equal at one were equal before it. So it does not matter which offset is compared, only that
//! it is the same on all.
//!
//! ```text
//!  offset        1024      2048      3072                  verdict at 2048, three voters
//!  n1 (leader)   4f…  ───  a1…  ───  7c…   asks for 2048   n2 answers a1…            agreed: n1 and n2 are a majority
//!  n2            4f…  ───  a1…  ───  7c…                   n3 answers 9e…            n3 is the minority: Quarantine to n3
//!  n3            4f…  ─╳─  9e…  ───  05…                   n2 b2…, n3 9e…, n1 a1…    no majority: nobody is right
//! ```
//!
//! Promises: a hash is compared only with one of the same offset and of the same version of the state machine; a
//! minority is named only when a majority of the voters (of both memberships while a change is under way)
//! has one and the same hash; nobody is quarantined on a guess. Leaves out the making of hashes and the table of a
//! quarantined replica: `store/db`, `store/engine`.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::limits::CHECKPOINTS_KEPT;
use crate::quorum::has_quorum;
use crate::types::{Member, Membership, Offset, Position};

/// The running hash of everything that was applied up to a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Where it was taken.
    pub position: Position,
    /// The hash there.
    pub state_hash: u64,
    /// The version of the state machine there: hashes of different versions say nothing about each other.
    pub version: u32,
}

/// The last checkpoints of one replica, oldest first, [`CHECKPOINTS_KEPT`] at most.
#[derive(Clone, Debug, Default)]
pub struct Checkpoints {
    /// By rising offset.
    kept: VecDeque<Checkpoint>,
}

impl Checkpoints {
    /// Those that a table remembers, oldest first.
    #[must_use]
    pub fn new(remembered: impl IntoIterator<Item = Checkpoint>) -> Checkpoints {
        let mut all = Checkpoints::default();
        remembered.into_iter().for_each(|checkpoint| all.add(checkpoint));
        all
    }

    /// Adds the next one; the oldest goes if there are too many. One that is not after the last is not new.
    pub fn add(&mut self, checkpoint: Checkpoint) {
        if self.newest().is_some_and(|newest| newest.position.offset >= checkpoint.position.offset) {
            return;
        }
        if self.kept.len() == CHECKPOINTS_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(checkpoint);
    }

    /// The one at exactly this offset.
    #[must_use]
    pub fn at(&self, offset: Offset) -> Option<Checkpoint> {
        let place = self.kept.binary_search_by_key(&offset, |checkpoint| checkpoint.position.offset).ok()?;
        self.kept.get(place).copied()
    }

    /// The last one.
    #[must_use]
    pub fn newest(&self) -> Option<Checkpoint> {
        self.kept.back().copied()
    }
}

/// What the voters' checkpoints at one offset say together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A majority has this one; a replica with another is in the minority.
    Agreed(Checkpoint),
    /// No majority yet, but one may still come about. `undecided`: two that answered differ already.
    Open {
        /// Two that answered differ.
        undecided: bool,
    },
    /// Whatever those say who have not answered: no majority can come about.
    NoMajority,
}

/// Judges what was answered at one offset. `None`: it has not answered, cannot be compared, or is quarantined.
pub fn verdict(membership: &Membership, answer: impl Fn(Member) -> Option<Checkpoint>) -> Verdict {
    let mut seen: Vec<Checkpoint> = Vec::new();
    for voter in membership.voters.iter().chain(&membership.outgoing) {
        if let Some(found) = answer(*voter).filter(|found| !seen.contains(found)) {
            seen.push(found);
        }
    }
    let has_it = |one: &Checkpoint, member: Member| answer(member) == Some(*one);
    if let Some(agreed) = seen.iter().find(|one| has_quorum(membership, |member| has_it(one, member))) {
        return Verdict::Agreed(*agreed);
    }
    let is_silent = |member: Member| answer(member).is_none();
    let may_win =
        |one: &Checkpoint| has_quorum(membership, |member| is_silent(member) || has_it(one, member));
    if has_quorum(membership, is_silent) || seen.iter().any(may_win) {
        return Verdict::Open { undecided: seen.len() > 1 };
    }
    Verdict::NoMajority
}

/// What a leader thinks of the replicas' states.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Divergence {
    /// Nothing speaks against them.
    #[default]
    None,
    /// Two differ, and no majority says yet which is right: a snapshot given now may be of the wrong state.
    Undecided(Offset),
    /// All that can answer have answered, and no majority has the same: no writes until an operator has decided.
    NoMajority(Offset),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, NodeId};

    fn member(node: u64) -> Member {
        Member { node: NodeId(node), incarnation: Incarnation(node) }
    }

    fn at(offset: u64, state_hash: u64) -> Checkpoint {
        Checkpoint { position: Position::new(1, offset), state_hash, version: 1 }
    }

    /// The verdict of voters 1, 2, 3 …, of whom each answered so; 0: not at all.
    fn evaluated(answers: &[u64]) -> Verdict {
        let voters: Vec<Member> = (1..).take(answers.len()).map(member).collect();
        verdict(&Membership::of(voters), |who| {
            let place = usize::try_from(who.node.0 - 1).expect("small");
            (answers[place] != 0).then(|| at(8, answers[place]))
        })
    }

    #[test]
    fn only_a_majority_says_who_is_right() {
        assert_eq!(evaluated(&[7]), Verdict::Agreed(at(8, 7)));
        assert_eq!(evaluated(&[7, 0, 0]), Verdict::Open { undecided: false });
        assert_eq!(evaluated(&[7, 9, 0]), Verdict::Open { undecided: true });
        assert_eq!(evaluated(&[7, 9, 7]), Verdict::Agreed(at(8, 7)));
        assert_eq!(evaluated(&[7, 9, 9]), Verdict::Agreed(at(8, 9)), "the first of them is wrong");
        assert_eq!(evaluated(&[7, 8, 9]), Verdict::NoMajority);
        assert_eq!(evaluated(&[7, 9]), Verdict::NoMajority, "two voters that differ");
        assert_eq!(evaluated(&[7, 7, 9, 9]), Verdict::NoMajority);
        assert_eq!(evaluated(&[7, 7, 9, 0]), Verdict::Open { undecided: true });
        assert_eq!(evaluated(&[7, 8, 9, 0, 0]), Verdict::Open { undecided: true });
        assert_eq!(evaluated(&[7, 7, 8, 8, 9]), Verdict::NoMajority);
    }

    #[test]
    fn while_members_change_both_majorities_must_have_it() {
        let of = |nodes: &[u64]| nodes.iter().map(|node| member(*node)).collect::<Vec<_>>();
        let joint = Membership { voters: of(&[1, 2, 3]), outgoing: of(&[3, 4, 5]), learners: of(&[6]) };
        let evaluate = |answers: &[(u64, u64)]| {
            verdict(&joint, |who| {
                answers.iter().find(|(node, _)| *node == who.node.0).map(|(_, state_hash)| at(8, *state_hash))
            })
        };
        assert_eq!(evaluate(&[(1, 7), (2, 7)]), Verdict::Open { undecided: false });
        assert_eq!(evaluate(&[(1, 7), (2, 7), (4, 9), (5, 9)]), Verdict::NoMajority);
        assert_eq!(evaluate(&[(1, 7), (2, 9), (3, 7), (5, 7), (6, 9)]), Verdict::Agreed(at(8, 7)));
    }

    #[test]
    fn checkpoints_of_different_positions_are_not_the_same() {
        let voters = Membership::of(Vec::from([member(1), member(2)]));
        let epochs = |who: Member| Some(Checkpoint { position: Position::new(who.node.0, 8), ..at(8, 7) });
        assert_eq!(verdict(&voters, epochs), Verdict::NoMajority);
    }

    #[test]
    fn the_last_ones_are_kept_in_order() {
        let mut all = Checkpoints::new((1..=3).map(|n| at(n * 10, n)));
        all.add(at(20, 99));
        assert_eq!((all.at(Offset(20)), all.at(Offset(21))), (Some(at(20, 2)), None));
        for n in 4..=CHECKPOINTS_KEPT as u64 + 1 {
            all.add(at(n * 10, n));
        }
        assert_eq!(all.at(Offset(10)), None, "the oldest went");
        assert_eq!(all.at(Offset(20)), Some(at(20, 2)));
        assert_eq!(all.newest(), Some(at(CHECKPOINTS_KEPT as u64 * 10 + 10, CHECKPOINTS_KEPT as u64 + 1)));
    }
}
