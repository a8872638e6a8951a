//! The consistent cut: one view of all groups, at one moment, while orders go on (docs/PROTOCOL.md, 11). Pure like the rest of
//! this crate: inputs in, outputs out, no clock.
//!
//! ```text
//!   driver    Freeze all ──► all drained? ──► Cut all ──► all taken? ──► Thaw all
//!   leader      asked ─ decide what is under way ─► entry ─ no branch prepared ─► "drained at o"
//!   log         ──────── Freeze(id) at o ══ Finish, Forget ══ Cut(id, o) ══ Thaw(id) ────────►
//! ```
//!
//! Promises: when every group has said that it is drained, and each freeze is still the same one where its group is cut, then no
//! group has changed from the last of those answers to its cut: all cuts are of that moment. A freeze is named by its id *and* the
//! offset of its entry, so that a copy of the entry that freezes a group anew is another freeze. A leader ends a freeze that
//! it has seen in force for some time, whoever began it: a driver's end leaves no shop frozen. A group is told to go on when its driver
//! hears no more of its freeze, and its leader remembers for a while which cuts are over: a request or an entry that comes
//! late freezes nothing for long.
//!
//! Leaves out: what a frozen group applies (`store_db`), messages and their loss, and whoever asks for a cut.

mod leader;
mod round;
#[cfg(test)]
mod tests;

pub use leader::{FreezeInput, FreezeLeader, FreezeOutput, Refusal};
pub use round::{Round, RoundInput, RoundOutput};

/// Names a cut.
pub type CutId = u128;

/// Ticks of a leader that a request for a freeze waits for the own transactions that are under way to be decided, at most.
pub const DECIDE_TICKS_MAX: u32 = 5;
/// Ticks after which a request for a freeze is given up.
pub const ASK_TICKS_MAX: u32 = 100;
/// Ticks that a leader sees a freeze in force before it ends it.
pub const THAW_TICKS: u32 = 200;
/// Ticks between two entries that end one freeze.
pub const AGAIN_TICKS: u32 = 20;
/// Cuts that a leader remembers to be over, at most; the oldest is forgotten first.
pub const OVER_MAX: usize = 64;

const _: () = assert!(DECIDE_TICKS_MAX < ASK_TICKS_MAX && ASK_TICKS_MAX < THAW_TICKS);

/// A freeze in force.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Freeze {
    /// Of which cut.
    pub id: CutId,
    /// The offset of its entry.
    pub offset: u64,
}
