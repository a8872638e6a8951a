//! One run: a plan is played, and what came of it is told.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::faults::Kind;
use crate::history::History;
use crate::oracle::Seen;
use crate::plan::Plan;
use crate::score::Score;
use crate::time::Micros;
use crate::violation::Violation;
use crate::world::World;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
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
    /// The last events in words, if the run was watched.
    pub lines: Vec<String>,
    /// What clients counted.
    pub score: Score,
    /// What the oracle counted.
    pub seen: Seen,
    /// Snapshots taken and installed.
    pub snapshots: (u64, u64),
    /// Kinds of faults that came.
    pub met: Vec<Kind>,
    /// What clients did to registers and lists.
    pub history: History,
}

thread_local! {
    /// A run is under way on this thread, and tells of panics itself; where the last one was.
    static RUNNING: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics inside a run are told by its outcome, not on standard error.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let in_run = RUNNING.with_borrow_mut(|running| running.as_mut().map(|at| *at = place).is_some());
            if !in_run {
                before(info);
            }
        }));
    });
}

/// Plays a plan. `watch`: keep the last events in words.
#[must_use]
pub fn run(plan: Plan, watch: bool) -> Outcome {
    let seed = plan.seed;
    guarded(seed, || World::new(plan, watch), World::play, |world, violation| outcome(seed, world, violation))
}

/// Plays something that was made for it: a panic of its is told as what was broken.
pub(crate) fn guarded<W, O>(
    seed: u64,
    make: impl FnOnce() -> W,
    play: impl FnOnce(&mut W),
    told: impl FnOnce(&W, Option<Violation>) -> O,
) -> O {
    quiet_panics();
    RUNNING.set(Some(String::new()));
    fastrand::seed(seed);
    store_client::simulate_now_ms(Some(crate::time::WALL_MS_FIRST));
    let mut world = make();
    let played = catch_unwind(AssertUnwindSafe(|| play(&mut world)));
    let place = RUNNING.take().unwrap_or_default();
    let violation = match played {
        Err(panic) => {
            let violation = Violation::of_panic(panic.as_ref());
            Some(Violation { detail: format!("{} ({place})", violation.detail), ..violation })
        }
        // A task of tokio's that panics takes nothing along: its reader is told that it was given up.
        Ok(()) if !place.is_empty() => {
            let detail = format!("a task has panicked ({place})");
            Some(Violation { invariant: "assert in production code".to_owned(), detail })
        }
        Ok(()) => None,
    };
    let outcome = told(&world, violation);
    // What clients still hold may panic when it is dropped in the middle of something; nobody needs it any more.
    drop(catch_unwind(AssertUnwindSafe(|| drop(world))));
    store_client::simulate_now_ms(None);
    outcome
}

fn outcome(seed: u64, world: &World, violation: Option<Violation>) -> Outcome {
    Outcome {
        seed,
        violation,
        ended_at: world.now.us(),
        events: world.trace.events(),
        trace: world.trace.hash(),
        lines: world.trace.lines(),
        score: world.tasks.inside(|| world.bus.counted(*world.score.borrow())),
        seen: world.oracle.seen,
        snapshots: world
            .drivers
            .iter()
            .fold((0, 0), |(t, i), driver| (t + driver.taken, i + driver.installed)),
        met: world.met.clone(),
        history: world.notes.take(),
    }
}
