//! The plan of a run: everything that is decided before it begins, from the seed alone, and what a person or the
//! shrinker may change of it.

use store_engine::Policy;

use crate::faults::{self, Fault, Kind, Swarm};
use crate::time::{Micros, SECOND};

/// The phase with faults lasts so long.
const FAULTS_US: Micros = 50 * SECOND;
/// Nodes that wait outside, at most.
const SPARES_MAX: usize = 2;
/// Client operations of an ordinary run, at least.
pub const OPERATIONS_MIN: u32 = 1_000;

/// A deliberate change of how a run is judged or played, for tests of the simulator itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Planted {
    /// None.
    #[default]
    Nothing,
    /// A node's driver reports writes as durable before the writer has seen them.
    EarlyAck,
}

/// A run, before it begins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything that is not in the plan.
    pub seed: u64,
    /// Voters at the beginning.
    pub nodes: usize,
    /// Nodes that wait outside with empty folders.
    pub spares: usize,
    /// The kinds of faults.
    pub swarm: Swarm,
    /// The faults.
    pub faults: Vec<Fault>,
    /// When faults end and healing begins.
    pub faults_until: Micros,
    /// When snapshots are due.
    pub snapshots: Policy,
    /// Operations of clients.
    pub operations: u32,
    /// Clients that work on registers and lists.
    pub writers: u32,
    /// Shoppers.
    pub shoppers: u32,
    /// A deliberate bug of the simulator's.
    pub planted: Planted,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Plan {
        Plan::with_swarm(seed, None)
    }

    /// The plan of a seed, with these kinds of faults.
    #[must_use]
    pub fn with_swarm(seed: u64, swarm: Option<Swarm>) -> Plan {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed_0f91_a700_0001);
        let nodes = [3, 3, 3, 4, 5][random.usize(..5)];
        let chosen = faults::choose(&mut random);
        let swarm = swarm.unwrap_or(chosen);
        let spares = if swarm.contains(&Kind::MemberChange) { random.usize(1..=SPARES_MAX) } else { 0 };
        let faults = faults::schedule(&mut random, &swarm, (nodes, nodes + spares), FAULTS_US);
        let log_bytes = [u64::MAX, 16_000, 40_000, 120_000, 800_000][random.usize(..5)];
        let ticks = if random.u32(..4) == 0 { u64::MAX } else { random.u64(100..3_000) };
        Plan {
            seed,
            nodes,
            spares,
            swarm,
            faults,
            faults_until: FAULTS_US,
            snapshots: Policy { log_bytes, ticks },
            operations: random.u32(OPERATIONS_MIN + 50..OPERATIONS_MIN + 500),
            writers: random.u32(3..7),
            shoppers: random.u32(3..7),
            planted: Planted::Nothing,
        }
    }
}
