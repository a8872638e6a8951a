//! The operator: lets nodes in, gives votes, takes them away, puts one member in another's place, and mends what was lost.
//! It asks as people do with `feira member`: the node that seems to lead, again if there is no answer, and then without
//! knowing whether the change was made.
//!
//! ```text
//!   a fault sets a goal ─► what is the membership at the leader? ─► next step ─► ask ─► answer, or none in time
//!   a folder is lost ────►   …                                        (mending comes first)
//! ```
//!
//! It asks for what makes no sense, too, since that must be refused; but for nothing that would leave the group to the
//! mercy of a disk that is harmed already, or of two voters while one is: no operator should, and no store could help.

use store_core::{Member, MemberChange, Membership};
use store_engine::Answer;

use crate::oracle::Oracle;
use crate::time::{Micros, SECOND};
use crate::violation::{ensure, violated};

/// A lost folder is noticed within this.
const NOTICE_US_MAX: Micros = 6 * SECOND;
/// Voters that a group keeps while one of its disks is harmed.
pub(crate) const VOTERS_MIN: usize = 3;

/// What the operator wants.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// This node has a vote.
    Vote(usize),
    /// This node learns.
    Learn(usize),
    /// This member is out.
    Leave(Member),
    /// This node has that voter's place.
    Take(Member, usize),
    /// Something that need not make sense is asked for, once.
    Odd(MemberChange),
}

/// A request that may yet be carried out.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) number: u64,
    pub(crate) node: usize,
    /// The life of the node that has taken it.
    pub(crate) boot: Option<u64>,
}

/// The operator's memory.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) random: fastrand::Rng,
    pub(crate) goal: Option<Goal>,
    /// Requests for it.
    pub(crate) tries: u32,
    pub(crate) numbers: u64,
    pub(crate) in_flight: Vec<InFlight>,
    /// Which answer is waited for, and until when.
    pub(crate) waits: Option<(u64, Micros)>,
    /// Nothing is mended before: nobody has noticed.
    pub(crate) mends_at: Micros,
}

impl Operator {
    pub(crate) fn new(seed: u64) -> Operator {
        Operator {
            random: fastrand::Rng::with_seed(seed.rotate_left(29) ^ 0x0e7a_7041),
            goal: None,
            tries: 0,
            numbers: 0,
            in_flight: Vec::new(),
            waits: None,
            mends_at: 0,
        }
    }

    /// A folder was lost.
    pub(crate) fn heard_of_loss(&mut self, now: Micros) {
        self.mends_at = now + self.random.u64(..NOTICE_US_MAX);
    }

    /// What became of a request.
    pub(crate) fn told(&mut self, number: u64, answer: &Answer, oracle: &Oracle) {
        self.waits.take_if(|(waited_for, _)| *waited_for == number);
        match answer {
            Answer::Changed { at } => {
                ensure(*at <= oracle.last_committed(), "committed on a quorum", || {
                    format!("a change at {at} is told to be made; committed: {}", oracle.last_committed())
                });
            }
            Answer::ChangeRefused(_) | Answer::NotLeader { .. } | Answer::Unknown => {}
            other => violated("a change is answered as one", format!("{other:?}")),
        }
    }
}

/// The next step to a goal; `None`: it is reached.
pub(crate) fn step(
    goal: Goal,
    membership: &Membership,
    at: impl Fn(usize) -> Member,
) -> Option<MemberChange> {
    let learns = |member: Member| membership.learners.contains(&member);
    let votes = |member: Member| membership.voters.contains(&member);
    match goal {
        Goal::Vote(node) if votes(at(node)) => None,
        Goal::Vote(node) if learns(at(node)) => Some(MemberChange::Promote(at(node))),
        Goal::Learn(node) if membership.contains(at(node)) => None,
        Goal::Take(old, node) if !votes(old) || votes(at(node)) => None,
        Goal::Take(old, node) if learns(at(node)) => Some(MemberChange::Replace { old, new: at(node) }),
        Goal::Vote(node) | Goal::Learn(node) | Goal::Take(_, node) => {
            Some(MemberChange::AddLearner(at(node)))
        }
        Goal::Leave(member) => membership.contains(member).then_some(MemberChange::Remove(member)),
        Goal::Odd(change) => Some(change),
    }
}
