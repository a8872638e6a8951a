//! The turns of a portal's reads of single records: each group's by [`Refills`], and the waiting for them.
//!
//! Promises: a read waits [`REFILL_WAIT_MS_MAX`] at most, and is refused then, or at once if too many wait: RESOURCE_EXHAUSTED, nothing was
//! done. Whoever stops waiting (a request that is given up) leaves the queue and takes no turn with it. The reads of one group hold back
//! none of another: a shard without a quorum stops its own alone.
//!
//! Leaves out: lists, the cache's barrier reads and repairs, the sampler, and writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::coherence::{Refills, Turn};
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

#[derive(Debug)]
struct Queue {
    refills: Refills,
    /// Who is told of its turn.
    waiting: HashMap<u64, oneshot::Sender<()>>,
}

/// A turn: one read of the store. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    refilling: Arc<Refilling>,
    group: u64,
    /// It waited for its turn.
    pub(crate) waited: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.refilling.end(self.group);
    }
}

/// A place in the queue, given up when dropped.
struct Place {
    refilling: Arc<Refilling>,
    group: u64,
    number: u64,
    /// The turn was taken over by [`Held`].
    taken: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.taken {
            self.refilling.give_up(self.group, self.number);
        }
    }
}

impl Refilling {
    /// Waits for the turn of a read of this group.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED: too many wait, or it waited too long.
    pub(crate) async fn turn(self: &Arc<Refilling>, group: u64) -> Result<Held, Error> {
        let held = |waited| Held { refilling: Arc::clone(self), group, waited };
        let (number, told) = {
            let mut groups = self.groups.lock();
            let queue = groups.entry(group).or_insert_with(Queue::new);
            match queue.refills.ask() {
                Turn::Now => return Ok(held(false)),
                Turn::Refused => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    return Err(refused("as many wait as may"));
                }
                Turn::Later(number) => {
                    let (tell, told) = oneshot::channel();
                    queue.waiting.insert(number, tell);
                    (number, told)
                }
            }
        };
        self.waited.fetch_add(1, Ordering::Relaxed);
        let mut place = Place { refilling: Arc::clone(self), group, number, taken: false };
        if timeout(Duration::from_millis(REFILL_WAIT_MS_MAX), told).await.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(refused("this one did not come to its turn"));
        }
        place.taken = true;
        Ok(held(true))
    }

    fn end(&self, group: u64) {
        let mut groups = self.groups.lock();
        let Some(queue) = groups.get_mut(&group) else { return };
        let next = queue.refills.end();
        if let Some(tell) = next.and_then(|number| queue.waiting.remove(&number)) {
            // Whoever does not hear it any more gives the turn back by its place.
            let _ = tell.send(());
        }
    }

    fn give_up(&self, group: u64, number: u64) {
        let waits = {
            let mut groups = self.groups.lock();
            let Some(queue) = groups.get_mut(&group) else { return };
            queue.waiting.remove(&number);
            queue.refills.give_up(number)
        };
        if !waits {
            self.end(group);
        }
    }

    /// Reads that had to wait, and those that were refused.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.waited.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}

impl Queue {
    fn new() -> Queue {
        Queue { refills: Refills::new(REFILLS_MAX, REFILLS_WAITING_MAX), waiting: HashMap::new() }
    }
}

fn refused(what: &str) -> Error {
    let why = format!(
        "{REFILLS_MAX} reads of the store are under way for this portal, and {what}; try again later, or at another portal"
    );
    Error::Overloaded { why, own: false }
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

    fn standing(refilling: &Refilling) -> (usize, usize, usize) {
        let groups = refilling.groups.lock();
        let queue = &groups[&GROUP];
        (queue.refills.under_way(), queue.refills.waiting(), queue.waiting.len())
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
        second.await.expect("its turn");
        drop(held);
        assert_eq!((standing(&refilling), refilling.counts()), ((0, 0, 0), (2, 0)));
    }

    #[tokio::test]
    async fn whoever_stops_waiting_takes_no_turn_with_it() {
        let refilling = Arc::new(Refilling::default());
        let mut held = taken(&refilling, REFILLS_MAX).await;
        let mut waiting = Box::pin(refilling.turn(GROUP));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(waiting);
        assert_eq!(standing(&refilling), (REFILLS_MAX, 0, 0));
        let mut told = Box::pin(refilling.turn(GROUP));
        assert!(told.as_mut().now_or_never().is_none());
        held.pop();
        drop(told);
        assert_eq!(standing(&refilling), (REFILLS_MAX - 1, 0, 0), "the turn came, and nobody took it");
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
        assert_eq!(standing(&refilling), (0, 0, 0));
    }
}
