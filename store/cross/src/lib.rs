//! Transactions over several groups, driven: the coordinator of the group that decides ([`store_core::coordinate`]) between the
//! clients, the log and the leaders of the other groups (docs/PROTOCOL.md, 10).
//!
//! ```text
//!   client ── Txn over k groups ──► leader of the tag's group: split, Begin
//!                    │ Prepare (one lane a group, many in a request) ──► the other leaders: log, locks, ack
//!                    │ all prepared: the decision, an entry of this group's log ──► applied: answer the client
//!                    │ Finish (the same lanes) ──► the other leaders: log, effects, ack ──► Forget
//! ```
//!
//! Promises: those of the coordinator. What was given up was never executed and is tried again, under the same request id, for as
//! long as a request may take. A decision whose fate is not known here is settled by a later entry of the same log.
//!
//! A group that is asked to stand still for a consistent cut begins none, and its leader sees to it that it goes on again (`still`).
//!
//! No thread, socket or clock of its own: a [`Host`] is the replica, [`Leaders`] the way to the other groups, and time is tokio's, which a
//! simulation turns by hand.
//!
//! Leaves out: what a participant and a decision do in the log (`store_db::cross`), and the choice among waiting transactions: one
//! that finds another in the way tries again a moment later.

mod driver;
mod forgets;
pub mod gate;
mod host;
mod lane;
mod payload;
pub mod reads;
mod split;
mod still;
mod watch;

/// The version of a ring whose ranges have not moved since it was founded.
pub const RING_VERSION: u64 = 1;

pub use self::driver::Cross;
pub use self::host::{Append, Host, Leaders};
