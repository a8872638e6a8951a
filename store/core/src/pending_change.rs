//! A change of votes that was asked for and waits for its round: a voter that was heard lately may be gone by now, and the
//! change could then not be finished without it.

use crate::membership::MemberChange;
use crate::types::Round;

/// See the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingChange {
    /// What is asked for.
    pub(crate) change: MemberChange,
    /// The heartbeat round that was sent after it was asked for.
    pub(crate) round: Round,
    /// Ticks since.
    pub(crate) ticks: u32,
}
