//! The leader's notes on one comparison of states: its question, and each replica's answer.

use alloc::vec::Vec;

use crate::checkpoints::{Checkpoint, Divergence};
use crate::types::Member;

/// The checkpoint that is compared, and what was answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    /// This replica's own checkpoint at the offset that is asked for.
    pub(crate) compared: Option<Checkpoint>,
    /// What others have there, each by its last word; `None`: of another version of the state machine, so not to be compared.
    pub(crate) answers: Vec<(Member, Option<Checkpoint>)>,
    /// Heartbeats that asked for it.
    pub(crate) heartbeats: u32,
    /// What is thought of the replicas' states.
    pub(crate) divergence: Divergence,
    /// While two differ and no majority says which is right: who has, or had, another state than this leader.
    pub(crate) differing: Vec<Member>,
}

impl Comparison {
    pub(crate) fn answer_of(&self, member: Member) -> Option<Checkpoint> {
        self.answers.iter().find(|(who, _)| *who == member).and_then(|(_, answer)| *answer)
    }

    pub(crate) fn has_answered(&self, member: Member) -> bool {
        self.answers.iter().any(|(who, _)| *who == member)
    }
}
