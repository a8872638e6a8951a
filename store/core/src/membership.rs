//! Changes of membership: the possible requests, the membership that follows from each, and the refusals.
//!
//! Pure arithmetic on [`Membership`]s; when a change may begin, and that a joint one is finished, is the leader's
//! business ([`crate::replica`]).
//!
//! ```text
//!   voters 1 2 3                 ── AddLearner 4 ──►  voters 1 2 3     learners 4        one entry: no quorum moves
//!   voters 1 2 3  learners 4     ── Promote 4 ─────►  voters 1 2 3 4   outgoing 1 2 3    joint: both majorities
//!                                   committed ─────►  voters 1 2 3 4                     by itself
//!   voters 1 2 3' learners …     ◄─ committed ──────  voters 1 2 3'    outgoing 1 2 3 ◄─ Replace 3 by 3'
//! ```
//!
//! Joint consensus is Ongaro 2014, section 4.3. A set of voters is never changed in one step, not even by one
//! member: so the mistake of section 4.1's single steps, found in 2015 (two changes begun in two epochs, whose
//! majorities need not meet), cannot be made, and the rule that mends it there is kept all the same: no change
//! before an entry of the leader's own epoch is committed.

use core::fmt;

use crate::limits::MEMBERS_MAX;
use crate::types::{Member, Membership, NodeId, Offset};

/// What an operator may ask a leader for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberChange {
    /// A new member receives the log, without a vote.
    AddLearner(Member),
    /// A learner that has caught up gets a vote.
    Promote(Member),
    /// A voter or a learner leaves; the leader itself may.
    Remove(Member),
    /// A learner that has caught up takes a voter's place, in one change. The two may be the same node: what
    /// stood in its folder was lost, and the new folder is another member.
    Replace {
        /// The voter that goes.
        old: Member,
        /// The member that takes its vote.
        new: Member,
    },
}

/// Why a change was not begun. Nothing was appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeRefusal {
    /// This replica does not lead, or is giving leadership away.
    NotLeader,
    /// It leads, but has not committed an entry of its own epoch yet. Soon it will have.
    NotEstablished,
    /// Another change is not finished yet. Soon it will be.
    UnderWay,
    /// It is so already, and committed.
    Already,
    /// There is no such member.
    NoSuchMember(Member),
    /// Only learners are promoted, and only voters replaced.
    WrongPart(Member),
    /// The node is in the group with another folder, which answers, or has a learner already.
    NodeTaken {
        /// The member that stands in the way.
        by: Member,
    },
    /// The learner is further behind than a replica that keeps up can be, or silent.
    NotCaughtUp {
        /// What it holds durably.
        durable: Offset,
        /// The end of the leader's log.
        last: Offset,
    },
    /// No majority of the voters before the change, or of those after it, has answered the round that was sent for it: the
    /// change could not be finished, and would stop all writes.
    WouldLoseQuorum,
    /// The group would have more than [`MEMBERS_MAX`] members.
    TooManyMembers,
    /// The last voter cannot go.
    LastVoter,
}

impl fmt::Display for ChangeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeRefusal::NotLeader => write!(f, "this node does not lead, or is giving leadership away"),
            ChangeRefusal::NotEstablished => {
                write!(f, "this leader has just been elected and has not committed an entry of its epoch yet")
            }
            ChangeRefusal::UnderWay => write!(f, "another membership change is not finished yet"),
            ChangeRefusal::Already => write!(f, "it is so already"),
            ChangeRefusal::NoSuchMember(member) => write!(f, "{member} is not a member"),
            ChangeRefusal::WrongPart(member) => {
                write!(f, "{member} has another part: only learners are promoted, and only voters replaced")
            }
            ChangeRefusal::NodeTaken { by } => {
                write!(f, "the node is in the group already as {by}; stop that one, or remove it first")
            }
            ChangeRefusal::NotCaughtUp { durable, last } => {
                write!(f, "it has not caught up: it holds offset {durable} of {last}, or does not answer")
            }
            ChangeRefusal::WouldLoseQuorum => {
                write!(
                    f,
                    "no majority of the voters now, or of those that would be left, has answered: writes would stop"
                )
            }
            ChangeRefusal::TooManyMembers => write!(f, "a group has at most {MEMBERS_MAX} members"),
            ChangeRefusal::LastVoter => write!(f, "the last voter cannot be removed"),
        }
    }
}

impl MemberChange {
    /// The membership that begins the change: joint if it moves votes. [`Membership::settled`] is what it leads to.
    ///
    /// # Errors
    /// It makes no sense for `from`, which is not joint.
    pub fn begin(self, from: &Membership) -> Result<Membership, ChangeRefusal> {
        match self {
            MemberChange::AddLearner(member) => add_learner(from, member),
            MemberChange::Promote(member) => promote(from, member),
            MemberChange::Remove(member) => remove(from, member),
            MemberChange::Replace { old, new } => replace(from, old, new),
        }
    }

    /// The learner that the change makes a voter.
    #[must_use]
    pub fn promoted(self) -> Option<Member> {
        match self {
            MemberChange::Promote(member) | MemberChange::Replace { new: member, .. } => Some(member),
            MemberChange::AddLearner(_) | MemberChange::Remove(_) => None,
        }
    }
}

impl Membership {
    /// Whether a change of votes is under way.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// What a joint membership leads to.
    #[must_use]
    pub fn settled(&self) -> Membership {
        Membership { outgoing: Default::default(), ..self.clone() }
    }

    /// Whether this very member is in it, in any part.
    #[must_use]
    pub fn contains(&self, member: Member) -> bool {
        self.is_voter(member) || self.learners.contains(&member)
    }

    /// The member meant by a node's id, one for each: where a new folder takes the place of a lost one, the new one. The
    /// old one is never spoken to again, and so never counts.
    pub fn addressed(&self) -> impl Iterator<Item = Member> + '_ {
        let coming = move |node: NodeId| self.learners.iter().any(|m| m.node == node);
        let staying = move |node: NodeId| coming(node) || self.voters.iter().any(|m| m.node == node);
        let voters = self.voters.iter().filter(move |m| !coming(m.node));
        let outgoing = self.outgoing.iter().filter(move |m| !staying(m.node));
        self.learners.iter().chain(voters).chain(outgoing).copied()
    }
}

fn add_learner(from: &Membership, member: Member) -> Result<Membership, ChangeRefusal> {
    if from.contains(member) {
        return Err(ChangeRefusal::Already);
    }
    if let Some(by) = from.learners.iter().find(|learner| learner.node == member.node) {
        return Err(ChangeRefusal::NodeTaken { by: *by });
    }
    let mut next = from.clone();
    next.learners.push(member);
    next.learners.sort_unstable();
    if next.members().len() > MEMBERS_MAX { Err(ChangeRefusal::TooManyMembers) } else { Ok(next) }
}

fn promote(from: &Membership, member: Member) -> Result<Membership, ChangeRefusal> {
    if from.voters.contains(&member) {
        return Err(ChangeRefusal::Already);
    }
    if !from.learners.contains(&member) {
        return Err(ChangeRefusal::NoSuchMember(member));
    }
    if let Some(by) = from.voters.iter().find(|voter| voter.node == member.node) {
        // A node that votes twice would be a majority by itself: the new folder replaces the old one.
        return Err(ChangeRefusal::NodeTaken { by: *by });
    }
    Ok(joint(from, None, Some(member)))
}

fn remove(from: &Membership, member: Member) -> Result<Membership, ChangeRefusal> {
    if from.learners.contains(&member) {
        let mut next = from.clone();
        next.learners.retain(|learner| *learner != member);
        return Ok(next);
    }
    match &from.voters[..] {
        voters if !voters.contains(&member) => Err(ChangeRefusal::Already),
        [_] => Err(ChangeRefusal::LastVoter),
        _ => Ok(joint(from, Some(member), None)),
    }
}

fn replace(from: &Membership, old: Member, new: Member) -> Result<Membership, ChangeRefusal> {
    if from.voters.contains(&new) && !from.contains(old) {
        return Err(ChangeRefusal::Already);
    }
    for (member, part, other) in [(old, &from.voters, &from.learners), (new, &from.learners, &from.voters)] {
        if other.contains(&member) {
            return Err(ChangeRefusal::WrongPart(member));
        }
        if !part.contains(&member) {
            return Err(ChangeRefusal::NoSuchMember(member));
        }
    }
    let taken = |voter: &&Member| voter.node == new.node && **voter != old;
    if let Some(by) = from.voters.iter().find(taken) {
        return Err(ChangeRefusal::NodeTaken { by: *by });
    }
    Ok(joint(from, Some(old), Some(new)))
}

/// The joint membership in which `goes` loses its vote and `comes`, a learner, gets one.
fn joint(from: &Membership, goes: Option<Member>, comes: Option<Member>) -> Membership {
    let mut next = from.clone();
    next.outgoing.clone_from(&from.voters);
    next.voters.retain(|voter| Some(*voter) != goes);
    next.voters.extend(comes);
    next.voters.sort_unstable();
    next.learners.retain(|learner| Some(*learner) != comes);
    next
}
