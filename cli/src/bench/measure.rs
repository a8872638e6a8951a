//! One round: so many clients for so long, and what was counted in the part of it that counts.
//!
//! ```text
//!   began ──── warm-up ──── from ──────── span ──────── to ── the last answers
//!                           CPU time                    CPU time
//! ```
//!
//! What counts, [`Window::counts`] decides: the rate is of the answers that come between `from` and `to`; a latency belongs to the
//! moment at which its operation was due, whenever its answer comes, so that a slow end of a round is not left out and a slow
//! warm-up is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::load::Load;
use super::machine::Machine;
use super::pace::Pace;
use super::plan::Plan;
use super::servers::{Servers, own_cpu_time};
use super::tally::Tally;

/// A client whose operation failed waits for so long: most failures cost nothing, and would be all that is done.
const AFTER_FAILURE: Duration = Duration::from_millis(10);
/// How often progress is shown.
const SHOW: Duration = Duration::from_millis(200);

/// The part that asks: this process.
pub const LOAD: &str = "load";

/// What came of a round.
#[derive(Clone, Debug)]
pub struct Round {
    /// Latencies and errors.
    pub tally: Tally,
    /// The time in which they were counted.
    pub span: Duration,
    /// Of an open loop: operations due in the round that no client was free to begin.
    pub overdue: u64,
    /// Server processes that were found.
    pub servers: usize,
    /// Their processor time in that time; `None`: there were none, or one was started again.
    pub cpu: Option<Duration>,
    /// The same of each part, and of the load itself as [`LOAD`].
    pub cpu_by_part: BTreeMap<String, Duration>,
    /// The machine before the round.
    pub machine: Machine,
}

impl Round {
    /// Operations that were answered, a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.tally.answered as f64 / self.span.as_secs_f64()
    }
}

/// The part of a round that counts.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Instant,
    to: Instant,
}

/// What of an operation counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Counts {
    /// Its latency, and that it failed.
    outcome: bool,
    /// That it was answered, for the rate.
    answer: bool,
}

impl Window {
    fn counts(&self, due: Instant, ended: Instant) -> Counts {
        let holds = |moment: Instant| self.from <= moment && moment < self.to;
        Counts { outcome: holds(due), answer: holds(ended) }
    }
}

/// Runs a round of so many clients. The bar goes on by the milliseconds of the round.
pub async fn measure(
    load: &Arc<Load>,
    clients: usize,
    plan: &Plan,
    servers: &Servers,
    machine: Machine,
    bar: &ProgressBar,
) -> Round {
    let began = Instant::now();
    let window = Window { from: began + plan.warm_up, to: began + plan.warm_up + plan.span };
    let pace = Pace::new(plan.rate, began, window.to);
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut all = JoinSet::new();
    for client in 0..clients {
        let (load, pace, tally) = (Arc::clone(load), pace.clone(), Arc::clone(&tally));
        all.spawn(async move { work(&load, client, &pace, window, &tally).await });
    }
    wait(window.from, bar).await;
    let (before, own_before) = (servers.cpu_times(), own_cpu_time());
    wait(window.to, bar).await;
    let (later, own_later) = (servers.cpu_times(), own_cpu_time());
    let cpu = before.until(&later);
    let mut cpu_by_part = servers.by_part(&before, &later);
    cpu_by_part.insert(LOAD.to_owned(), own_later.saturating_sub(own_before));
    let overdue = pace.overdue(window.to);
    // Each ends by itself: an operation has its patience.
    while let Some(ended) = all.join_next().await {
        ended.expect("clients neither panic nor are they cancelled");
    }
    let tally = std::mem::take(&mut *tally.lock());
    Round { tally, span: plan.span, overdue, servers: servers.count(), cpu, cpu_by_part, machine }
}

/// A client, from the begin of a round to its last answer.
async fn work(load: &Load, client: usize, pace: &Pace, window: Window, tally: &Mutex<Tally>) {
    while let Some(due) = pace.next().await {
        if Instant::now() >= window.to {
            return;
        }
        let outcome = load.once(client).await;
        let ended = Instant::now();
        let counts = window.counts(due, ended);
        match outcome {
            Ok(()) => {
                let mut tally = tally.lock();
                tally.answered += u64::from(counts.answer);
                if counts.outcome {
                    tally.done(ended.saturating_duration_since(due));
                }
            }
            Err(reason) => {
                if counts.outcome {
                    tally.lock().failed(reason);
                }
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

async fn wait(moment: Instant, bar: &ProgressBar) {
    loop {
        let step = moment.saturating_duration_since(Instant::now()).min(SHOW);
        if step.is_zero() {
            return;
        }
        tokio::time::sleep(step).await;
        bar.inc(u64::try_from(step.as_millis()).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_belongs_to_when_its_operation_was_due_and_the_rate_to_when_answers_come() {
        let began = Instant::now();
        let at = |ms: u64| began + Duration::from_millis(ms);
        let window = Window { from: at(100), to: at(200) };
        let counted = |due: u64, ended: u64| {
            let Counts { outcome, answer } = window.counts(at(due), at(ended));
            (outcome, answer)
        };
        assert_eq!(counted(10, 90), (false, false), "warm-up");
        assert_eq!(counted(10, 150), (false, true), "a slow warm-up is no latency of the round");
        assert_eq!(counted(100, 199), (true, true));
        assert_eq!(counted(199, 9_000), (true, false), "a slow end is not left out");
        assert_eq!(counted(200, 210), (false, false), "begun after the round");
    }
}
