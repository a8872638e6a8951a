//! Time in the log: each entry carries a timestamp, so that applying it needs no clock and gives the same everywhere.
//!
//! `log_clock = max(last log_clock, min(wall clock, last log_clock + monotonic time since it + 1 s))`: it never falls, and a
//! wall clock that jumps ahead drags it along only a second an entry. A new leader cannot know how long nobody wrote,
//! so for its first entry the wall clock may be up to an hour (configurable) beyond that; a larger jump is refused and reported, and
//! log time goes on from where it was.

use crate::clock::Clock;
use crate::job::Report;
use crate::limits::LOG_TIME_SLACK_MS;

/// The log's last timestamp, and when it was seen here.
#[derive(Debug)]
pub(crate) struct LogClock<C> {
    /// Both clocks.
    clock: C,
    /// The log's last timestamp; 0 while no leader has ever timestamped one.
    last_ms: i64,
    /// The monotonic clock when it was last raised.
    seen_at_ms: u64,
    /// How far ahead of the log a new leader's wall clock may be.
    jump_ms_max: i64,
}

impl<C: Clock> LogClock<C> {
    pub(crate) fn new(clock: C, last_ms: i64, jump_ms_max: i64) -> LogClock<C> {
        let seen_at_ms = clock.monotonic_ms();
        LogClock { clock, last_ms, seen_at_ms, jump_ms_max }
    }

    /// An entry of this timestamp is in the log now.
    pub(crate) fn note(&mut self, log_time_ms: i64) {
        if log_time_ms > self.last_ms {
            self.last_ms = log_time_ms;
            self.seen_at_ms = self.clock.monotonic_ms();
        }
    }

    /// The timestamp of the entries that are about to be appended.
    pub(crate) fn next(&mut self) -> i64 {
        let limit = self.vouched().saturating_add(LOG_TIME_SLACK_MS);
        let log_clock = self.last_ms.max(self.clock.wall_ms().min(limit));
        self.note(log_clock);
        log_clock
    }

    /// The timestamp of a new leader's first entry.
    pub(crate) fn first(&mut self) -> (i64, Option<Report>) {
        let (wall_ms, last_log_time_ms) = (self.clock.wall_ms(), self.last_ms);
        if last_log_time_ms > 0 && wall_ms > self.vouched().saturating_add(self.jump_ms_max) {
            return (self.next(), Some(Report::ClockJump { last_log_time_ms, wall_ms }));
        }
        let log_clock = last_log_time_ms.max(wall_ms);
        self.note(log_clock);
        (log_clock, None)
    }

    /// How far the log's time is behind the wall clock, or (negative) the wall clock behind it; 0 while there is no timestamp.
    pub(crate) fn lag_ms(&self) -> i64 {
        if self.last_ms == 0 { 0 } else { self.clock.wall_ms().saturating_sub(self.vouched()) }
    }

    /// The last timestamp, moved on by what the monotonic clock says.
    fn vouched(&self) -> i64 {
        let since = self.clock.monotonic_ms().saturating_sub(self.seen_at_ms);
        self.last_ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LOG_TIME_JUMP_MS_MAX;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    #[derive(Clone, Default)]
    struct Hands(Arc<(AtomicI64, AtomicU64)>);

    impl Hands {
        fn set(&self, wall_ms: i64, monotonic_ms: u64) {
            self.0.0.store(wall_ms, Ordering::Relaxed);
            self.0.1.store(monotonic_ms, Ordering::Relaxed);
        }
    }

    impl Clock for Hands {
        fn wall_ms(&self) -> i64 {
            self.0.0.load(Ordering::Relaxed)
        }
        fn monotonic_ms(&self) -> u64 {
            self.0.1.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn log_times_never_fall_and_follow_a_jump_only_slowly() {
        let hands = Hands::default();
        hands.set(1_000_000, 50);
        let mut log_clock = LogClock::new(hands.clone(), 0, LOG_TIME_JUMP_MS_MAX);
        assert_eq!(log_clock.first(), (1_000_000, None));
        hands.set(1_000_400, 450);
        assert_eq!(log_clock.next(), 1_000_400);
        hands.set(400_000, 500);
        assert_eq!(log_clock.next(), 1_000_400, "the wall clock went back");
        hands.set(9_000_000, 600);
        assert_eq!(log_clock.next(), 1_000_400 + 150 + 1_000, "the wall clock jumped ahead");
    }

    #[test]
    fn the_lag_tells_a_clock_set_back_from_one_set_forward() {
        let hands = Hands::default();
        hands.set(1_000_000, 0);
        let mut log_clock = LogClock::new(hands.clone(), 0, LOG_TIME_JUMP_MS_MAX);
        assert_eq!(log_clock.lag_ms(), 0, "nobody has timestamped anything");
        log_clock.first();
        hands.set(1_600_000, 600_000);
        assert_eq!(log_clock.lag_ms(), 0, "an idle hour is none");
        hands.set(1_540_000, 600_000);
        assert_eq!(log_clock.lag_ms(), -60_000);
        hands.set(1_720_000, 600_000);
        assert_eq!(log_clock.lag_ms(), 120_000);
        log_clock.next();
        assert_eq!(log_clock.lag_ms(), 119_000, "each append catches up by a second");
    }

    #[test]
    fn a_new_leader_jumps_an_hour_at_most_beyond_what_it_vouches_for() {
        let hands = Hands::default();
        hands.set(5_000_000 + LOG_TIME_JUMP_MS_MAX, 10);
        let mut log_clock = LogClock::new(hands.clone(), 5_000_000, LOG_TIME_JUMP_MS_MAX);
        assert_eq!(log_clock.first(), (5_000_000 + LOG_TIME_JUMP_MS_MAX, None));

        hands.set(5_000_001 + LOG_TIME_JUMP_MS_MAX, 10);
        let mut log_clock = LogClock::new(hands.clone(), 5_000_000, LOG_TIME_JUMP_MS_MAX);
        let wall_ms = 5_000_001 + LOG_TIME_JUMP_MS_MAX;
        let report = Report::ClockJump { last_log_time_ms: 5_000_000, wall_ms };
        assert_eq!(log_clock.first(), (5_001_000, Some(report)));
        hands.set(wall_ms + 7_200_000, 10 + 7_200_000);
        assert_eq!(log_clock.first().1, None, "two idle hours are vouched for by the monotonic clock");
    }
}
