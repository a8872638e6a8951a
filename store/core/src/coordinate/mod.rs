//! The coordinator of transactions over several groups: the memory of the leader of the group that decides them
//! (docs/PROTOCOL.md, 10). Pure like the rest of this crate: inputs in, outputs out, no clock.
//!
//! ```text
//!   Begin ─► PREPARING ── all prepared ──► APPENDED ── applied: committed ──► FINISHING ── covered ──► forgotten
//!               │  └───── one failed ────► APPENDED (refusal)                                            │
//!               │                             │ applied: not committed                                   │
//!               └─ hindered ──► given up ◄────┘                                                        ended
//! ```
//!
//! Promises: a transaction is named by group, epoch and number, and never appended twice. Once its decision is appended nothing
//! but the log says what became of it, whatever is heard and however long it takes. One that is given up before was never
//! appended, and never will be: only this leader could. A decision is forgotten when acknowledgements have covered the range of
//! every branch. With leadership all of it is lost; the rows of decisions come back from the table of the next leader.
//!
//! A question about a transaction is answered in two steps: [`Coordinator::ask`] says what this leader can say, and only when
//! it says [`Standing::Look`] is the table read for a decision that names the offset, *after* that. There is one: committed.
//! There is none: aborted for ever.
//!
//! Leaves out: messages and their loss (whoever drives this sends again on [`Input::Resend`]), timers (it says
//! [`Input::Hindered`]), queues, the ring, who owns a tag.

pub mod arc;
mod table;
#[cfg(test)]
mod tests;

pub use arc::Arc;
pub use table::Coordinator;

use alloc::vec::Vec;
use core::fmt;

use crate::types::Epoch;

/// Transactions that a leader has prepared at once.
pub const PREPARING_MAX: usize = 4_096;
/// Transactions of a leader that are not ended.
pub const OPEN_MAX: usize = 16_384;
/// Groups of a transaction, the decider's included.
pub const GROUPS_MAX: usize = 64;

const _: () = assert!(PREPARING_MAX <= OPEN_MAX);

/// Names one try of a transaction over several groups.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CrossId {
    /// The group that decides.
    pub group: u64,
    /// The epoch of its leader that began it.
    pub epoch: Epoch,
    /// Counts in that epoch, from 1.
    pub number: u64,
}

/// What passes through without being looked at.
pub trait Contents: fmt::Debug {
    /// A participant's part.
    type Part: Clone + fmt::Debug;
    /// The decider's own part, with all that the entry of the decision needs besides.
    type Own: fmt::Debug;
    /// What a participant's operations return.
    type Results: fmt::Debug;
    /// Why a participant's part cannot be done.
    type Failure: fmt::Debug;
}

/// A participant that has prepared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Branch<R> {
    /// Its place among the participants.
    pub participant: usize,
    /// The offset of its prepare.
    pub offset: u64,
    /// What it owned then.
    pub range: Arc,
    /// What its operations return.
    pub results: R,
}

/// Why a transaction was given up before anything was decided: it was not executed, and the same request may begin again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hindrance {
    /// Another transaction is in the way at a participant.
    Locked,
    /// An older request waits for one of the keys, here or at a participant, and is before this one.
    Outranked,
    /// A participant stands still for a consistent view.
    Frozen,
    /// A participant does not own the keys.
    WrongRoute,
    /// A participant did not answer in time.
    Silent,
    /// A participant or this leader has too much to do.
    Overloaded,
    /// A participant found a mistake in its part: the same request never succeeds.
    Invalid,
    /// This node stops, or does not lead any more.
    NotLeader,
}

/// One thing that happened.
#[derive(Debug)]
pub enum Input<C: Contents> {
    /// The replica leads, in this epoch.
    Lead(Epoch),
    /// The first entry of its own epoch is applied; these decisions are in the table.
    Ready(Vec<(CrossId, Vec<(Arc, u64)>)>),
    /// The replica leads no longer.
    Lost,
    /// A request over several groups: nothing is remembered of it.
    Begin {
        /// By which the outputs name it.
        request: u64,
        /// The decider's own part.
        own: C::Own,
        /// Those of the participants.
        parts: Vec<C::Part>,
    },
    /// A participant has prepared its part.
    Prepared(CrossId, Branch<C::Results>),
    /// A participant's part cannot be done, whatever becomes of others.
    Failed(CrossId, C::Failure),
    /// A participant cannot prepare now, or has not answered in time.
    Hindered(CrossId, Hindrance),
    /// The log has not taken the entry of a decision or of a refusal, and never will: it was refused before anything of it was
    /// written. Not whatever only looks like that, such as leadership lost on the way.
    NotAppended(CrossId, Hindrance),
    /// The entry of a decision or of a refusal is applied.
    Applied {
        /// Of which transaction.
        id: CrossId,
        /// It decided to commit (`store_db::Reply::commits`).
        is_committed: bool,
    },
    /// No prepare of a transaction at this offset is live in this range.
    Acked(CrossId, u64, Arc),
    /// The entry that forgets a decision is applied.
    Forgotten(CrossId),
    /// What may have been lost is to be sent again.
    Resend,
}

/// One thing to do.
#[derive(Debug)]
pub enum Output<C: Contents> {
    /// Send a participant its part.
    Prepare {
        /// Of which transaction.
        id: CrossId,
        /// Its place among the participants.
        participant: usize,
        /// The part.
        part: C::Part,
    },
    /// Append the decision, in this epoch or never.
    AppendDecision {
        /// Of which transaction.
        id: CrossId,
        /// The own part.
        own: C::Own,
        /// The participants.
        branches: Vec<Branch<C::Results>>,
    },
    /// Append the refusal, in this epoch or never.
    AppendRefusal {
        /// Of which transaction.
        id: CrossId,
        /// The own part, of which the tag counts.
        own: C::Own,
        /// Why.
        failure: C::Failure,
    },
    /// Tell the owners of a range to commit the branch prepared at an offset.
    Commit {
        /// Of which transaction.
        id: CrossId,
        /// The offset of its prepare.
        offset: u64,
        /// What the participant owned then.
        range: Arc,
    },
    /// Tell the participant of a part to abort whatever is prepared of it. May be lost.
    Abort {
        /// Of which transaction.
        id: CrossId,
        /// The part.
        part: C::Part,
    },
    /// Append that a decision is forgotten.
    AppendForget(CrossId),
    /// Tell a request that it was not executed.
    GiveUp(u64, Hindrance),
    /// Tell a request that nobody here knows whether it was executed.
    AnswerUnknown(u64),
}

/// What a leader can say of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Look in the table, now: what is decided is there.
    Look,
    /// It is not decided at this moment.
    Preparing,
    /// Its decision is appended, and may be committed: ask again.
    Appended,
    /// Ask another.
    Elsewhere,
}
