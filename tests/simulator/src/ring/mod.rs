//! A ring, simulated: several groups, each a world of its own with its nodes, its network and its faults, in one time, and clients whose
//! transactions go over them.
//!
//! ```text
//!   shoppers ── production portals ─┐
//!   clients ── Sharded over simulated handles ──► world of group 1 ◄─ handles of each node's driver ─► world of group 2 ◄─► …
//! ```
//!
//! What drives transactions over several groups is the shipped code ([`store_cross`]), on each replica: coordinator, lanes, watch, gate.
//!
//! Promises: the same seed gives the same run. Judged besides what each world's oracle checks: transactions are strictly serializable
//! ([`feira_lincheck::check_transactions`]), transfers conserve the sum in each consistent picture and at the end, each is done once or
//! never, the shop holds the orders that its shoppers know, with the stock that they take, and after healing no branch is prepared and no decision is left.
//!
//! Cuts of all groups are made meanwhile, by whoever dies now and then: each is judged as one transaction that reads everything.
//!
//! Of some rings the groups have the same faults at the same moments, as replicas of one machine do. Leaves out: portals' caches, disks that
//! hang, wrong states, graceful stops, changes of the ring;
//! and where machines have one replica each, no fault parts one group from another but those that keep clients away.

mod clients;
mod cuts;
mod hunt;
mod judge;
mod play;
mod side;

use store_core::ring::Ring as Slots;

pub use self::clients::RingScore;
pub use self::hunt::{RingTally, hunt_rings};
pub(crate) use self::play::Ring;
use crate::faults::{Fault, Kind};
use crate::oracle::Seen;
use crate::plan::Plan;
use crate::run::guarded;
use crate::score::Score;
use crate::time::{Micros, SECOND};
use crate::violation::Violation;

/// The phase with faults lasts so long.
const FAULTS_US: Micros = 30 * SECOND;
/// Rings' seeds are so far apart that no two of their groups have the same.
const SEEDS_APART: u64 = 0x9e37_79b9_7f4a_7c15;

/// A run on a ring, before it begins.
#[derive(Clone, Debug)]
pub struct RingPlan {
    /// Decides everything that is not in the plan.
    pub seed: u64,
    /// One for each group.
    pub groups: Vec<Plan>,
    /// Each machine has a replica of every group.
    pub is_shared: bool,
    /// Clients of the store.
    pub clients: u32,
    /// Shoppers.
    pub shoppers: u32,
    /// Operations of each client; of a shopper half as many.
    pub operations: u32,
}

impl RingPlan {
    /// The plan of a seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> RingPlan {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x0a16_5eed);
        let groups = random.u64(2..5);
        // Of some rings each node has a replica of every group: what befalls one befalls the others of its machine.
        let is_shared = random.u32(..3) == 0;
        // Some groups have no faults, so that the others' are seen alone.
        let plan = |group: u64| {
            let of_group =
                |group: u64| fastrand::Rng::with_seed(seed.wrapping_mul(SEEDS_APART) ^ group).u64(..);
            let is_calm = random.u32(..4) == 0 && !is_shared;
            let faults_of = if is_shared { 0 } else { group };
            let plan = Plan { seed: of_group(group), ..Plan::of_seed(of_group(faults_of)) };
            let faults = plan.faults.iter().filter(|fault| fault.kind != Kind::DiskHangs && !is_calm);
            let faults = faults.filter(|fault| fault.at < FAULTS_US);
            let faults = faults
                .map(|fault| Fault { lasts: fault.lasts.min(FAULTS_US - fault.at), ..*fault })
                .collect();
            Plan { faults, faults_until: FAULTS_US, writers: 0, shoppers: 0, operations: 0, ..plan }
        };
        RingPlan {
            seed,
            groups: (0..groups).map(plan).collect(),
            is_shared,
            clients: random.u32(3..9),
            shoppers: random.u32(2..5),
            operations: random.u32(60..160),
        }
    }

    fn slots(&self) -> Slots {
        Slots::even(self.groups.len()).expect("few groups")
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct RingOutcome {
    /// The seed.
    pub seed: u64,
    /// What was broken, if anything.
    pub violation: Option<Violation>,
    /// When the run ended.
    pub ended_at: Micros,
    /// Events that happened.
    pub events: u64,
    /// One number over all of them: the same for the same plan.
    pub trace: u64,
    /// The last events of each group in words, if the run was watched.
    pub lines: Vec<String>,
    /// What clients of the store counted.
    pub score: RingScore,
    /// What the shop's people counted.
    pub shop: Score,
    /// What the oracles counted, by group.
    pub seen: Vec<Seen>,
}

/// Plays a plan. `watch`: keep the last events in words.
#[must_use]
pub fn run_ring(plan: RingPlan, watch: bool) -> RingOutcome {
    let seed = plan.seed;
    guarded(seed, || Ring::founded(plan, watch), Ring::play, |ring, violation| ring.outcome(seed, violation))
}
