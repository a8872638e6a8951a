//! A node's status at any moment, for people and for the name service.

use store_core::{Checkpoint, DiskView, Divergence, Epoch, NodeId, Offset, PeerView, Position, Role};
use store_log::Quarantine;

use crate::job::{Applied, Shortage};
use crate::voter_clocks::ClockApart;

/// A replica's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Its node.
    pub node: NodeId,
    /// Its part.
    pub role: Role,
    /// Whether it has a vote.
    pub is_voter: bool,
    /// The epoch.
    pub epoch: Epoch,
    /// The leader, if known.
    pub leader: Option<NodeId>,
    /// The end of its log.
    pub last: Position,
    /// Everything up to here is durable in its log.
    pub durable: Offset,
    /// Everything up to here is committed, as far as it knows.
    pub committed: Offset,
    /// Where its table stands.
    pub applied: Applied,
    /// The membership in force stands here in its log.
    pub members_at: Offset,
    /// If it leads: the nodes that a change of members under way waits for.
    pub awaited: Vec<NodeId>,
    /// Its newest snapshot.
    pub snapshot: Position,
    /// Its log lost a tail that may have been acknowledged.
    pub maybe_lost_tail: bool,
    /// Why its table is not to be believed, and is being replaced.
    pub quarantine: Option<Quarantine>,
    /// If it leads: what speaks against the replicas' states.
    pub divergence: Divergence,
    /// Its state's last checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// What it has too little room of itself.
    pub shortage: Option<Shortage>,
    /// If it leads: the room whose lack makes it refuse writes, its own or that of a majority.
    pub writes_shortage: Option<Shortage>,
    /// Whether its disk answers.
    pub disk: DiskView,
    /// Writes that wait for their commit, or to be applied.
    pub writes_waiting: usize,
    /// Its clock minus the log's time (the last timestamp, moved on by its monotonic clock), milliseconds: how far the log's
    /// time lags behind, or (negative) the clock. Of a follower only a clock behind says something: it cannot know how
    /// long nobody wrote before it started.
    pub log_time_lag_ms: i64,
    /// If it leads: the voter whose clock is furthest from what a majority says, if they do not agree.
    pub clock_apart: Option<ClockApart>,
    /// The other replicas, if it leads.
    pub peers: Vec<PeerView>,
}
