//! The turns of a portal's reads of single records, for each group: how many the store has at once, however many keys are not cached.
//!
//! Promises: at most [`REFILLS_MAX`] reads of a group are under way, and turns go in the order of asking (tokio's semaphore is fair). A read
//! waits [`REFILL_WAIT_MS_MAX`] at most, and is refused then, or at once if too many wait: RESOURCE_EXHAUSTED, nothing was done. Whoever
//! stops waiting leaves the queue; a read that several may join waits on for all who may come, also when nobody is left. The
//! reads of one group hold back none of another: a shard without a quorum stops its own alone.
//!
//! Leaves out: lists, the cache's barrier reads and repairs, the sampler, and writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::Error;
use crate::limits::{REFILL_WAIT_MS_MAX, REFILLS_MAX, REFILLS_WAITING_MAX};

/// The queues of all groups.
#[derive(Debug, Default)]
pub(crate) struct Refilling {
    groups: Mutex<HashMap<u64, Queue>>,
    /// Reads that had to wait.
    waited: AtomicU64,
    /// Reads that were refused, at once or after waiting.
    refused: AtomicU64,
}

/// The permits of one group: to read, and to wait for that.
#[derive(Clone, Debug)]
struct Queue {
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

/// A turn: one read of the store. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    /// It waited for its turn.
    pub(crate) waited: bool,
    _turn: OwnedSemaphorePermit,
}

impl Refilling {
    /// Waits for the turn of a read of this group.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED: too many wait, or it waited too long.
    pub(crate) async fn turn(&self, group: u64) -> Result<Held, Error> {
        let Queue { turns, places } = self.groups.lock().entry(group).or_default().clone();
        if let Ok(turn) = Arc::clone(&turns).try_acquire_owned() {
            return Ok(Held { waited: false, _turn: turn });
        }
        let Ok(_place) = places.try_acquire_owned() else {
            return Err(self.refused("as many wait as may"));
        };
        self.waited.fetch_add(1, Ordering::Relaxed);
        match timeout(Duration::from_millis(REFILL_WAIT_MS_MAX), turns.acquire_owned()).await {
            Ok(Ok(turn)) => Ok(Held { waited: true, _turn: turn }),
            _ => Err(self.refused("this one did not come to its turn")),
        }
    }

    fn refused(&self, what: &str) -> Error {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let why = format!(
            "{REFILLS_MAX} reads of the store are under way for this portal, and {what}; try again later, or at another portal"
        );
        Error::Overloaded { why, own: false }
    }

    /// Reads that had to wait, and those that were refused.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.waited.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}

impl Default for Queue {
    fn default() -> Queue {
        let (turns, places) = (Semaphore::new(REFILLS_MAX), Semaphore::new(REFILLS_WAITING_MAX));
        Queue { turns: Arc::new(turns), places: Arc::new(places) }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const GROUP: u64 = 1;

    async fn taken(refilling: &Arc<Refilling>, count: usize) -> Vec<Held> {
        let turns = (0..count).map(|_| refilling.turn(GROUP));
        futures::future::join_all(turns).await.into_iter().map(|held| held.expect("a turn")).collect()
    }

    /// Reads under way, and those that wait.
    fn standing(refilling: &Refilling) -> (usize, usize) {
        let Queue { turns, places } = refilling.groups.lock()[&GROUP].clone();
        (REFILLS_MAX - turns.available_permits(), REFILLS_WAITING_MAX - places.available_permits())
    }

    #[tokio::test]
    async fn a_read_waits_for_its_turn_and_other_groups_are_not_held_back() {
        let refilling = Arc::new(Refilling::default());
        let mut held = taken(&refilling, REFILLS_MAX).await;
        let mut first = Box::pin(refilling.turn(GROUP));
        let mut second = Box::pin(refilling.turn(GROUP));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        assert!(refilling.turn(GROUP + 1).now_or_never().is_some_and(|held| held.is_ok()));
        held.pop();
        let turn = first.await.expect("its turn");
        assert!(turn.waited && second.as_mut().now_or_never().is_none());
        drop(turn);
        drop(second.await.expect("its turn"));
        drop(held);
        assert_eq!((standing(&refilling), refilling.counts()), ((0, 0), (2, 0)));
    }

    #[tokio::test]
    async fn whoever_stops_waiting_takes_no_turn_with_it() {
        let refilling = Arc::new(Refilling::default());
        let mut held = taken(&refilling, REFILLS_MAX).await;
        let mut waiting = Box::pin(refilling.turn(GROUP));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(waiting);
        assert_eq!(standing(&refilling), (REFILLS_MAX, 0));
        let mut told = Box::pin(refilling.turn(GROUP));
        assert!(told.as_mut().now_or_never().is_none());
        held.pop();
        drop(told);
        assert_eq!(standing(&refilling), (REFILLS_MAX - 1, 0), "the turn came, and nobody took it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_waits_too_long_and_one_too_many_are_refused() {
        let refilling = Arc::new(Refilling::default());
        let held = taken(&refilling, REFILLS_MAX).await;
        let mut waiting: Vec<_> = (0..REFILLS_WAITING_MAX).map(|_| Box::pin(refilling.turn(GROUP))).collect();
        assert!(waiting.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        let one_more = refilling.turn(GROUP).await;
        assert!(matches!(one_more, Err(Error::Overloaded { own: false, .. })), "{one_more:?}");
        let late = waiting.swap_remove(0).await;
        assert!(matches!(late, Err(Error::Overloaded { own: false, .. })), "{late:?}");
        drop((waiting, held));
        assert_eq!(standing(&refilling), (0, 0));
    }
}
