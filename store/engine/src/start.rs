//! A node's beginning: its configuration, and the findings of recovery. No behaviour.

use std::sync::Arc;

use store_core::limits::CHECKPOINT_EVERY;
use store_core::{Config, Offset, Restored};
use store_db::limits::STATE_MACHINE_VERSION;
use store_log::Quarantine;

use crate::claims::Claims;
use crate::headroom::Reserve;
use crate::job::Applied;
use crate::limits::LOG_TIME_JUMP_MS_MAX;
use crate::schedule::Policy;

/// What a node is told once, at its start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Of the core.
    pub core: Config,
    /// Where its randomness begins; another one on each node and at each start.
    pub seed: u64,
    /// What must stay free.
    pub reserve: Reserve,
    /// When snapshots are due.
    pub snapshots: Policy,
    /// A new leader's clock may be ahead of the log's time by this much; what is beyond is refused and reported.
    pub clock_jump_ms_max: i64,
    /// Offsets between two checkpoints of the state: the same on all replicas of a group, or they are never compared.
    pub checkpoint_every: u64,
    /// The last version of the state machine that this program runs: less than it could only where an upgrade is simulated.
    pub state_machine_version: u32,
}

impl NodeConfig {
    /// The defaults around a core configuration.
    #[must_use]
    pub fn new(core: Config, seed: u64) -> NodeConfig {
        let (reserve, snapshots) = (Reserve::default(), Policy::default());
        let checkpoint_every = CHECKPOINT_EVERY;
        NodeConfig {
            core,
            seed,
            reserve,
            snapshots,
            clock_jump_ms_max: LOG_TIME_JUMP_MS_MAX,
            checkpoint_every,
            state_machine_version: STATE_MACHINE_VERSION,
        }
    }
}

/// What recovery found.
pub(crate) struct NodeStart {
    /// For the core.
    pub(crate) restored: Restored,
    /// The memberships in force, with addresses, by offset.
    pub(crate) members: Vec<(Offset, proto::store::Membership)>,
    /// The log's last timestamp.
    pub(crate) log_time_ms: i64,
    /// Where the table stands.
    pub(crate) applied: Applied,
    /// The table is not to be believed.
    pub(crate) quarantine: Option<Quarantine>,
    /// Which request ids of committed entries are answered by whom.
    pub(crate) claims: Arc<Claims>,
}
