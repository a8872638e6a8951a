//! Many seeds: over all cores, one run a thread at a time, and what they say together. The same seeds give the same
//! answer whatever the number of threads.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

use crate::faults::Swarm;
use crate::plan::{Plan, Planted};
use crate::run::{Outcome, run};
use crate::tally::Tally;

/// What is run.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The seeds.
    pub seeds: Range<u64>,
    /// Runs at one time.
    pub jobs: NonZeroUsize,
    /// These kinds of faults in every seed; `None`: as the seed chooses.
    pub swarm: Option<Swarm>,
    /// A deliberate bug.
    pub planted: Planted,
    /// End at the first failure, or run all.
    pub until_failure: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Caught {
    /// The counts of all runs.
    pub tally: Tally,
    /// Runs that broke a promise, by seed.
    pub failures: Vec<Outcome>,
}

impl Hunt {
    /// A hunt through these seeds, on every core, as they are.
    #[must_use]
    pub fn of(seeds: Range<u64>) -> Hunt {
        let jobs = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Hunt { seeds, jobs, swarm: None, planted: Planted::Nothing, until_failure: true }
    }

    /// The plan of one of its seeds.
    #[must_use]
    pub fn plan(&self, seed: u64) -> Plan {
        Plan { planted: self.planted, ..Plan::with_swarm(seed, self.swarm.clone()) }
    }

    /// Runs them. `each` hears of every run, in the order in which they end.
    pub fn run(&self, mut each: impl FnMut(&Outcome)) -> Caught {
        let mut caught = Caught::default();
        let one = |seed| run(self.plan(seed), false);
        over(self.seeds.clone(), self.jobs, one, |outcome| {
            each(&outcome);
            caught.tally.add(&outcome);
            let has_failed = outcome.violation.is_some();
            caught.failures.extend(has_failed.then_some(outcome));
            !(has_failed && self.until_failure)
        });
        caught.failures.sort_by_key(|outcome| outcome.seed);
        caught
    }
}

/// Runs seeds, so many at one time. `each` hears of every run, in the order in which they end, and says whether to begin others.
pub(crate) fn over<O: Send>(
    seeds: Range<u64>,
    jobs: NonZeroUsize,
    run: impl Fn(u64) -> O + Sync,
    mut each: impl FnMut(O) -> bool,
) {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let (sender, outcomes) = mpsc::sync_channel::<O>(jobs.get());
    std::thread::scope(|scope| {
        for _ in 0..jobs.get() {
            let (sender, next, stop, run) = (sender.clone(), &next, &stop, &run);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || sender.send(run(seed)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for outcome in outcomes {
            if !each(outcome) {
                stop.store(true, Ordering::Relaxed);
            }
        }
    });
}
