//! One round of a load on a peer: so many clients for so long, in a closed loop, counted as `feira bench` counts.
//!
//! ```text
//!   began ──── warm-up ──── from ──────── span ──────── to ── the last answers
//!                           CPU time                    CPU time
//! ```
//!
//! The rate is of the answers that come between `from` and `to`; a latency belongs to the moment at which its operation began,
//! whenever its answer comes, so that a slow end of a round is not left out and a slow warm-up is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::args::Settings;
use crate::cpu::{Snapshot, TICKS_A_SECOND};
use crate::load::peer::Load;
use crate::record::Outcome;
use crate::stats::Tally;
use crate::wait;

/// A client whose operation failed waits for so long: most failures cost nothing, and would be all that is done.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// The part of a round that counts.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Instant,
    to: Instant,
}

impl Window {
    fn holds(&self, moment: Instant) -> bool {
        self.from <= moment && moment < self.to
    }
}

/// Runs a round; `servers` are the processes whose time is counted, with all below them.
///
/// # Errors
/// There is no /proc.
pub async fn measure(
    load: &Arc<Load>,
    clients: u16,
    settings: &Settings,
    servers: &[u32],
) -> anyhow::Result<Outcome> {
    let from = Instant::now() + settings.before();
    let window = Window { from, to: from + settings.span() };
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut all = JoinSet::new();
    for client in 0..usize::from(clients) {
        let (load, tally) = (Arc::clone(load), Arc::clone(&tally));
        all.spawn(async move { work(&load, client, window, &tally).await });
    }
    wait::until(window.from).await;
    let before = Snapshot::taken()?;
    load.retries();
    wait::until(window.to).await;
    let after = Snapshot::taken()?;
    let retries = load.retries();
    // Each ends by itself: an operation has its patience.
    while let Some(ended) = all.join_next().await {
        ended.context("a client of the load was cut off")?;
    }
    let tally = std::mem::take(&mut *tally.lock());
    let ticks = after.ticks(servers).saturating_sub(before.ticks(servers));
    Ok(Outcome {
        operations_per_second: tally.answered as f64 / settings.span().as_secs_f64(),
        answered: tally.answered,
        latency_us: tally.latency(),
        errors: tally.errors,
        cpu_seconds: Some(ticks as f64 / TICKS_A_SECOND),
        retries,
    })
}

/// A client, from the begin of a round to its last answer.
async fn work(load: &Load, client: usize, window: Window, tally: &Mutex<Tally>) {
    loop {
        let began = Instant::now();
        if began >= window.to {
            return;
        }
        let done = load.once(client).await;
        let ended = Instant::now();
        match done {
            Ok(()) => {
                let mut tally = tally.lock();
                tally.answered += u64::from(window.holds(ended));
                if window.holds(began) {
                    tally.done(ended - began);
                }
            }
            Err(failed) => {
                if window.holds(began) {
                    tally.lock().failed(failed.reason);
                }
                wait::pass(AFTER_FAILURE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_its_begin_and_not_its_end() {
        let from = Instant::now();
        let window = Window { from, to: from + Duration::from_secs(1) };
        assert!(window.holds(from) && !window.holds(window.to));
        assert!(
            window.holds(window.to - Duration::from_nanos(1))
                && !window.holds(from - Duration::from_nanos(1))
        );
    }
}
