//! The settings of one replica: its identity, and its timers in ticks.

use crate::limits;
use crate::types::{Member, NodeId};

/// What a replica is told once, at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// This replica.
    pub member: Member,
    /// Ticks between heartbeats of an idle leader.
    pub ticks_heartbeat: u32,
    /// The shortest election timer.
    pub ticks_election_min: u32,
    /// The longest election timer.
    pub ticks_election_max: u32,
    /// Entries on their way to one replica without an ack.
    pub entries_in_flight_max: u64,
    /// The node that should lead when it can; the same on all nodes.
    pub preferred: Option<NodeId>,
    /// For so long it is remembered that the disk hung.
    pub ticks_hang_remembered: u32,
}

impl Config {
    /// The default timing for `member`.
    #[must_use]
    pub fn new(member: Member) -> Config {
        Config {
            member,
            ticks_heartbeat: limits::TICKS_HEARTBEAT,
            ticks_election_min: limits::TICKS_ELECTION_MIN,
            ticks_election_max: limits::TICKS_ELECTION_MAX,
            entries_in_flight_max: limits::ENTRIES_IN_FLIGHT_MAX,
            preferred: None,
            ticks_hang_remembered: limits::TICKS_HANG_REMEMBERED,
        }
    }
}
