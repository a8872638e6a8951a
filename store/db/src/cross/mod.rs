//! Transactions over several groups, as the log of one of them tells (docs/PROTOCOL.md, 10).
//!
//! ```text
//!   participant:   none ── Prepare ──► prepared at o ── Finish(o, commit): done ──► none
//!                    ▲                      └────────── Finish(o, abort): nothing ──┐
//!                    └──────────────────────────────────────────────────────────────┘
//!   decider:       Txn with `decide`: own part done, answer remembered, decision noted ── Forget ──► none
//! ```
//!
//! Promises: whatever can fail fails when it is prepared, and a branch that is prepared can be finished either way. A branch
//! leaves its place only by a finish that names its offset, or by the abort of the leader that began it. What is prepared changes
//! no record. A decision is done only in the epoch of its leader, and once. All of it is in snapshots and under the state hash.
//!
//! Keys and rows:
//!
//! ```text
//!   Prepared    group (8) | epoch (8) | number (8) | offset of the prepare (8)   → PreparedBranch
//!   Locks       see crate::locks
//!   Decisions   group (8) | epoch (8) | number (8)                               → Decision
//! ```
//!
//! A branch that writes whole records keeps the position of its prepare for them, of which its answer tells; additions, which
//! tell nothing, get that of their finish.
//!
//! Leaves out: the coordinator (`store_core::coordinate`), queues, and ranges that move.

mod decide;
mod finish;
mod prepare;
mod reads;
mod rows;

pub(crate) use decide::{decided, forget, misfit, stops};
pub(crate) use finish::finish;
pub(crate) use prepare::prepare;
pub use reads::{
    Intent, answers_for, decisions, intents, intents_of_page, is_committed, is_decided, is_finished,
    prepared_branches,
};
