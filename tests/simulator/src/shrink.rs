//! A failing run made smaller: faults are left out, and operations, as long as the same promise is still broken.
//!
//! Leaving something out changes everything that comes after it, so a smaller run is another run that fails alike. It
//! is told as places in the seed's own schedule, so that it can be played again.

use crate::plan::{OPERATIONS_MIN, Plan};
use crate::run::{Outcome, run};

/// Runs that shrinking may take.
const RUNS_MAX: u32 = 300;
/// Fewer operations than this say little.
const OPERATIONS_LEFT_MIN: u32 = 20;

/// A smaller failing run.
#[derive(Debug)]
pub struct Shrunk {
    /// Places in the schedule of the seed that are kept.
    pub faults: Vec<usize>,
    /// Operations of clients.
    pub operations: u32,
    /// What came of it, watched.
    pub outcome: Outcome,
    /// Runs that it took.
    pub runs: u32,
}

/// The plan with only these of its faults, and so many operations.
#[must_use]
pub fn reduced(plan: &Plan, faults: &[usize], operations: u32) -> Plan {
    let kept = faults.iter().filter_map(|place| plan.faults.get(*place).copied()).collect();
    Plan { faults: kept, operations, ..plan.clone() }
}

/// Looks for a smaller run that breaks the same promise. `None`: this plan breaks none.
#[must_use]
pub fn shrink(plan: &Plan) -> Option<Shrunk> {
    let first = run(plan.clone(), false);
    let invariant = first.violation?.invariant;
    let mut faults: Vec<usize> =
        (0..plan.faults.len()).filter(|at| plan.faults[*at].at <= first.ended_at).collect();
    let mut operations = plan.operations;
    let mut runs = 1;
    let mut fails = |faults: &[usize], operations: u32| {
        runs += 1;
        let outcome = run(reduced(plan, faults, operations), false);
        runs <= RUNS_MAX && outcome.violation.is_some_and(|violation| violation.invariant == invariant)
    };
    if !fails(&faults, operations) {
        faults = (0..plan.faults.len()).collect();
    }
    let mut piece = faults.len().div_ceil(2);
    while piece > 0 && !faults.is_empty() {
        let mut at = 0;
        while at < faults.len() {
            let mut fewer = faults.clone();
            fewer.drain(at..(at + piece).min(faults.len()));
            if fails(&fewer, operations) {
                faults = fewer;
            } else {
                at += piece;
            }
        }
        piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
    }
    while operations / 2 >= OPERATIONS_LEFT_MIN && fails(&faults, operations / 2) {
        operations /= 2;
    }
    debug_assert!(plan.operations >= OPERATIONS_MIN || operations <= plan.operations);
    let outcome = run(reduced(plan, &faults, operations), true);
    Some(Shrunk { faults, operations, outcome, runs })
}
