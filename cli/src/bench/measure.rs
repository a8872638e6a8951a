//! One round: so many clients for so long, and what was counted in the part of it that counts.
//!
//! ```text
//!   began ──── warm-up ──── from ──────── span ──────── to ── the last answers
//!                           CPU time                    CPU time
//! ```
//!
//! A success counts if it is answered between `from` and `to`; a failure, if it is after `from`: one that is only told when the
//! round is over belongs to it too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::load::Load;
use super::machine::Machine;
use super::pace::Pace;
use super::plan::Plan;
use super::servers::Servers;
use super::tally::Tally;

/// A client whose operation failed waits for so long: most failures cost nothing, and would be all that is done.
const AFTER_FAILURE: Duration = Duration::from_millis(10);
/// How often progress is shown.
const SHOW: Duration = Duration::from_millis(200);

/// What came of a round.
#[derive(Clone, Debug)]
pub struct Round {
    /// Latencies and errors.
    pub tally: Tally,
    /// The time in which they were counted.
    pub span: Duration,
    /// Of an open loop: operations due in the round that no client was free to begin.
    pub overdue: u64,
    /// Processor time of all server processes in that time; `None`: none was found.
    pub cpu: Option<Duration>,
    /// The machine before the round.
    pub machine: Machine,
}

impl Round {
    /// Operations a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.tally.operations() as f64 / self.span.as_secs_f64()
    }
}

/// The part of a round that counts.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Instant,
    to: Instant,
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
    let before = servers.taken();
    wait(window.to, bar).await;
    let cpu = before.until(&servers.taken());
    let overdue = pace.overdue(window.to);
    // Each ends by itself: an operation has its patience.
    while let Some(ended) = all.join_next().await {
        ended.expect("clients neither panic nor are they cancelled");
    }
    let tally = std::mem::take(&mut *tally.lock());
    Round { tally, span: plan.span, overdue, cpu, machine }
}

/// A client, from the begin of a round to its last answer.
async fn work(load: &Load, client: usize, pace: &Pace, window: Window, tally: &Mutex<Tally>) {
    while let Some(due) = pace.next().await {
        if Instant::now() >= window.to {
            return;
        }
        let outcome = load.once(client).await;
        let ended = Instant::now();
        match outcome {
            Ok(()) if ended >= window.from && ended < window.to => tally.lock().done(ended - due),
            Ok(()) => {}
            Err(reason) => {
                if ended >= window.from {
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
