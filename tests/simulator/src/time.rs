//! Simulated time: one clock for all, a wall clock a node, and the queue of what happens when.
//!
//! Promises: of two events at one moment the one that was scheduled first comes first, so the order is total and a run
//! is a function of its seed. Leaves out what the events are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use store_engine::Clock;

/// Microseconds since the run began.
pub type Micros = u64;

/// One millisecond.
pub const MS: Micros = 1_000;
/// One second.
pub const SECOND: Micros = 1_000_000;
/// What wall clocks show at the beginning of a run, milliseconds since 1970.
pub const WALL_MS_FIRST: i64 = 1_790_000_000_000;

/// The clock of a run; clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Now(Arc<AtomicU64>);

impl Now {
    /// The present moment.
    #[must_use]
    pub fn us(&self) -> Micros {
        self.0.load(Ordering::Relaxed)
    }

    /// Moves on; never back.
    pub(crate) fn advance_to(&self, at: Micros) {
        assert!(at >= self.us(), "time does not go back");
        self.0.store(at, Ordering::Relaxed);
    }

    /// What a right wall clock shows now.
    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        WALL_MS_FIRST + i64::try_from(self.us() / MS).unwrap_or(i64::MAX)
    }
}

/// The clocks of one node: its wall clock may be wrong, its monotonic clock is not.
#[derive(Clone, Debug)]
pub struct NodeClock {
    /// The run's.
    now: Now,
    /// How far its wall clock is ahead.
    ahead_ms: Arc<AtomicI64>,
    /// When that changed, and to what.
    changes: Arc<Mutex<Vec<(Micros, i64)>>>,
}

impl NodeClock {
    pub(crate) fn new(now: Now) -> NodeClock {
        NodeClock { now, ahead_ms: Arc::default(), changes: Arc::new(Mutex::new(vec![(0, 0)])) }
    }

    /// The wall clock jumps.
    pub(crate) fn jump(&self, ms: i64) {
        self.set_ahead(self.ahead_ms.load(Ordering::Relaxed) + ms);
    }

    /// The wall clock is set right.
    pub(crate) fn set_right(&self) {
        self.set_ahead(0);
    }

    /// The latest that this clock, had it gone on, would show by anything that it showed within so long.
    pub(crate) fn latest_ms(&self, within: Micros) -> i64 {
        let since = self.now.us().saturating_sub(within);
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = changes.iter().skip(1).map(|(at, _)| *at).chain([Micros::MAX]);
        let shown = changes.iter().zip(ends).filter(|(_, end)| *end >= since);
        self.now.wall_ms() + shown.map(|((_, ahead_ms), _)| *ahead_ms).max().unwrap_or(0)
    }

    fn set_ahead(&self, ms: i64) {
        self.ahead_ms.store(ms, Ordering::Relaxed);
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push((self.now.us(), ms));
    }
}

impl Clock for NodeClock {
    fn wall_ms(&self) -> i64 {
        self.now.wall_ms() + self.ahead_ms.load(Ordering::Relaxed)
    }

    fn monotonic_ms(&self) -> u64 {
        self.now.us() / MS
    }
}

/// What will happen, by time.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    scheduled: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Micros,
    number: u64,
    /// Apart, since a heap moves its entries about.
    event: Box<E>,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Agenda<E> {
        Agenda { heap: BinaryHeap::new(), scheduled: 0 }
    }

    pub(crate) fn add(&mut self, at: Micros, event: E) {
        self.scheduled += 1;
        self.heap.push(Reverse(Entry { at, number: self.scheduled, event: Box::new(event) }));
    }

    /// When the next thing happens.
    pub(crate) fn next_at(&self) -> Option<Micros> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    pub(crate) fn next(&mut self) -> Option<(Micros, E)> {
        self.heap.pop().map(|Reverse(entry)| (entry.at, *entry.event))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
