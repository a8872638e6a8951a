//! Many seeds of rings, over all cores, and what they say together.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;

use super::{RingOutcome, RingPlan, RingScore, run_ring};
use crate::hunt::over;
use crate::score::Score;

/// What the runs of many seeds counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct RingTally {
    /// Runs.
    pub runs: u64,
    /// Leaders elected.
    pub elections: u64,
    /// What clients of the store counted.
    pub score: RingScore,
    /// What the shop's people counted.
    pub shop: Score,
}

impl RingTally {
    fn add(&mut self, outcome: &RingOutcome) {
        self.runs += 1;
        self.elections += outcome.seen.iter().map(|seen| seen.elections).sum::<u64>();
        self.score += outcome.score;
        self.shop += outcome.shop;
    }

    /// What the runs have too little of to prove anything.
    #[must_use]
    pub fn shortfalls(&self) -> Vec<String> {
        let RingScore { across, refused, not_executed, lost_and_done, reads, .. } = self.score;
        let floors = [
            ("transactions over several groups", across, 60 * self.runs),
            ("refused transfers", refused, self.runs),
            ("transactions that were not executed", not_executed, self.runs),
            ("lost answers of what was done", lost_and_done, self.runs / 2),
            ("reads", reads, 20 * self.runs),
            ("cuts of all groups", self.score.cuts, 2 * self.runs),
            ("changes of orders", self.shop.orders, 30 * self.runs),
            ("expired orders", self.shop.expired, self.runs / 2),
            ("leaders", self.elections, 4 * self.runs),
        ];
        let short = floors.into_iter().filter(|(_, count, floor)| count < floor);
        short.map(|(what, count, floor)| format!("{count} {what}, at least {floor}")).collect()
    }
}

impl fmt::Display for RingTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RingScore { within_one, across, refused, not_executed, lost, lost_and_done, reads, cuts } =
            self.score;
        writeln!(f, "{} runs on rings, {} leaders", self.runs, self.elections)?;
        writeln!(
            f,
            "transactions: {across} over several groups, {within_one} within one, {refused} refused, {not_executed} not executed"
        )?;
        write!(
            f,
            "answers lost: {lost}, of those {lost_and_done} of what was done; reads: {reads}; cuts of all groups: {cuts}\norders: {} changes, {} expired",
            self.shop.orders, self.shop.expired
        )
    }
}

/// Runs seeds, so many at one time; `each` hears of every run, in the order in which they end. With `until_failure` it ends at the first.
pub fn hunt_rings(
    seeds: Range<u64>,
    jobs: NonZeroUsize,
    until_failure: bool,
    mut each: impl FnMut(&RingOutcome),
) -> (RingTally, Vec<RingOutcome>) {
    let (mut tally, mut failures) = (RingTally::default(), Vec::new());
    let one = |seed| run_ring(RingPlan::of_seed(seed), false);
    over(seeds, jobs, one, |outcome| {
        each(&outcome);
        tally.add(&outcome);
        let has_failed = outcome.violation.is_some();
        failures.extend(has_failed.then_some(outcome));
        !(has_failed && until_failure)
    });
    failures.sort_by_key(|outcome| outcome.seed);
    (tally, failures)
}
