//! The pace of a load: the next operation when the last is answered (a closed loop), or so many a second whatever is answered
//! (an open loop).
//!
//! ```text
//!   closed:  begin ──► answer, begin ──► answer, begin …          latency: from begin
//!   open:    due 0 · due 1/rate · due 2/rate · due 3/rate …       latency: from due, also for what was begun late
//! ```
//!
//! Promise of the open loop: no operation is left out because the ones before it were slow; what is due and not begun when
//! time is over is counted. Timers of tokio are too coarse for it (1 ms): a thread of its own says what is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

const NANOS: u128 = 1_000_000_000;
/// What was due no longer ago than this may not be begun yet, at any rate.
const PUNCTUAL: Duration = Duration::from_millis(20);

/// When operations begin.
#[derive(Clone, Debug)]
pub enum Pace {
    /// When the client's last one is answered.
    Closed,
    /// When they are due.
    Open(Arc<Schedule>),
}

/// An open loop's operations, numbered from 0.
#[derive(Debug)]
pub struct Schedule {
    /// When number 0 is due.
    began: Instant,
    /// Operations a second.
    rate: u64,
    /// One permit for each operation that is due and not begun.
    due: Semaphore,
    /// Operations begun.
    begun: AtomicU64,
}

impl Pace {
    /// A pace from this moment until `end`, after which nothing is begun.
    #[must_use]
    pub fn new(rate: Option<u64>, began: Instant, end: Instant) -> Pace {
        let Some(rate) = rate else { return Pace::Closed };
        let schedule = Arc::new(Schedule { began, rate, due: Semaphore::new(0), begun: AtomicU64::new(0) });
        let released = Arc::clone(&schedule);
        // It ends by itself, at `end`.
        thread::spawn(move || released.release_due(end));
        Pace::Open(schedule)
    }

    /// Waits until an operation may begin; the moment from which its latency counts. `None`: time is over.
    pub async fn next(&self) -> Option<Instant> {
        match self {
            Pace::Closed => Some(Instant::now()),
            Pace::Open(schedule) => {
                schedule.due.acquire().await.ok()?.forget();
                let number = schedule.begun.fetch_add(1, Ordering::Relaxed);
                Some(schedule.began + due_after(number, schedule.rate))
            }
        }
    }

    /// Operations that were due clearly before this moment and are not begun.
    #[must_use]
    pub fn overdue(&self, moment: Instant) -> u64 {
        match self {
            Pace::Closed => 0,
            Pace::Open(schedule) => {
                let passed = moment.saturating_duration_since(schedule.began);
                let due = due_within(passed.saturating_sub(PUNCTUAL), schedule.rate);
                due.saturating_sub(schedule.begun.load(Ordering::Relaxed))
            }
        }
    }
}

impl Schedule {
    /// Lets begin what is due, until the end.
    fn release_due(&self, end: Instant) {
        let mut released = 0;
        loop {
            let now = Instant::now();
            if now >= end {
                self.due.close();
                return;
            }
            let due = due_within(now.saturating_duration_since(self.began), self.rate);
            self.due.add_permits(usize::try_from(due - released).unwrap_or(usize::MAX));
            released = due;
            let next = self.began + due_after(due, self.rate);
            thread::sleep(next.min(end).saturating_duration_since(Instant::now()));
        }
    }
}

/// How long after the begin an operation is due.
fn due_after(number: u64, rate: u64) -> Duration {
    let nanos = (u128::from(number) * NANOS).div_ceil(u128::from(rate.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// How many operations are due so long after the begin.
fn due_within(passed: Duration, rate: u64) -> u64 {
    u64::try_from(passed.as_nanos() * u128::from(rate) / NANOS)
        .map_or(u64::MAX, |whole| whole.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_due_at_equal_distances_from_the_begin() {
        let due: Vec<u128> = (0..5).map(|number| due_after(number, 4).as_millis()).collect();
        assert_eq!(due, [0, 250, 500, 750, 1_000]);
        assert_eq!(due_after(3_600_000_000, 1_000_000), Duration::from_secs(3_600), "no drift");
    }

    #[test]
    fn what_is_due_is_what_has_come() {
        assert_eq!(due_within(Duration::ZERO, 7), 1, "the first, at once");
        for rate in [1, 3, 7, 999, 1_000_000] {
            for number in [0, 1, 2, 5, 1_000, 123_456] {
                let due = due_after(number, rate);
                assert_eq!(due_within(due, rate), number + 1, "{number} at {rate}");
                if number > 0 {
                    assert_eq!(due_within(due - Duration::from_nanos(1), rate), number, "{number} at {rate}");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_nobody_begins_is_overdue_and_what_is_begun_late_counts_from_when_it_was_due() {
        let began = Instant::now();
        let pace = Pace::new(Some(1_000), began, began + Duration::from_secs(600));
        for number in 0..20 {
            let due = pace.next().await;
            assert_eq!(due, Some(began + Duration::from_millis(number)));
            assert!(due <= Some(Instant::now()), "nothing is begun before it is due");
        }
        assert_eq!(pace.overdue(began + Duration::from_millis(49) + PUNCTUAL), 30);
        let over = Pace::new(Some(1_000), began, began);
        while over.next().await.is_some() {}
    }

    #[tokio::test]
    async fn a_closed_loop_waits_for_nothing_and_owes_nothing() {
        let pace = Pace::new(None, Instant::now(), Instant::now());
        assert!(pace.next().await.is_some());
        assert_eq!(pace.overdue(Instant::now() + Duration::from_secs(9)), 0);
    }
}
