//! The clients' score: how many operations they asked for, and how those ended.

use std::ops::AddAssign;

/// The counts of one run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Score {
    /// Operations asked for.
    pub asked: u64,
    /// Answered by the state machine: done, or refused by what was there.
    pub succeeded: u64,
    /// Not done, for want of a leader, room or time.
    pub failed: u64,
    /// Nobody could tell at the end of the run.
    pub unknown: u64,
    /// Operations whose answer was lost, at first.
    pub lost: u64,
    /// Of those, settled later.
    pub settled: u64,
    /// Changes of orders done.
    pub orders: u64,
    /// Reads answered by caches.
    pub hits: u64,
    /// Reads that caches did not have.
    pub misses: u64,
    /// Reads past caches that could not be trusted.
    pub bypasses: u64,
    /// Gaps that caches saw between two messages.
    pub gaps: u64,
    /// Gaps of which a portal fetched what it had missed.
    pub repairs: u64,
    /// Open orders that the shop cancelled by its rules.
    pub expired: u64,
    /// Events in the feed.
    pub events: u64,
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Score) {
        self.asked += other.asked;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.lost += other.lost;
        self.settled += other.settled;
        self.orders += other.orders;
        self.hits += other.hits;
        self.misses += other.misses;
        self.bypasses += other.bypasses;
        self.gaps += other.gaps;
        self.repairs += other.repairs;
        self.expired += other.expired;
        self.events += other.events;
    }
}
