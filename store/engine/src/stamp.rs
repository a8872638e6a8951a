//! Time in the log: each entry carries a stamp, so that applying it needs no clock and gives the same everywhere.
//!
//! `stamp = max(last stamp, min(wall clock, last stamp + monotonic time since it + 1 s))`: it never falls, and a
//! calendar that jumps ahead drags it along only a second an entry. A new leader cannot know how long nobody wrote,
//! so for its first entry the calendar may be up to an hour (configurable) beyond that; a larger jump is refused and reported, and
//! log time goes on from where it was.

use crate::clock::Clock;
use crate::job::Report;
use crate::limits::STAMP_SLACK_MS;

/// The log's last stamp, and when it was seen here.
#[derive(Debug)]
pub(crate) struct Stamps<C> {
    /// Both clocks.
    clock: C,
    /// The log's last stamp; 0 while no leader has ever stamped one.
    last_ms: i64,
    /// The monotonic clock when it was last raised.
    seen_at_ms: u64,
    /// How far ahead of the log a new leader's calendar may be.
    jump_ms_max: i64,
}

impl<C: Clock> Stamps<C> {
    pub(crate) fn new(clock: C, last_ms: i64, jump_ms_max: i64) -> Stamps<C> {
        let seen_at_ms = clock.monotonic_ms();
        Stamps { clock, last_ms, seen_at_ms, jump_ms_max }
    }

    /// An entry of this stamp is in the log now.
    pub(crate) fn note(&mut self, stamp_ms: i64) {
        if stamp_ms > self.last_ms {
            self.last_ms = stamp_ms;
            self.seen_at_ms = self.clock.monotonic_ms();
        }
    }

    /// The stamp of the entries that are about to be appended.
    pub(crate) fn next(&mut self) -> i64 {
        let limit = self.vouched().saturating_add(STAMP_SLACK_MS);
        let stamp = self.last_ms.max(self.clock.wall_ms().min(limit));
        self.note(stamp);
        stamp
    }

    /// The stamp of a new leader's first entry.
    pub(crate) fn first(&mut self) -> (i64, Option<Report>) {
        let (wall_ms, last_stamp_ms) = (self.clock.wall_ms(), self.last_ms);
        if last_stamp_ms > 0 && wall_ms > self.vouched().saturating_add(self.jump_ms_max) {
            return (self.next(), Some(Report::ClockJump { last_stamp_ms, wall_ms }));
        }
        let stamp = last_stamp_ms.max(wall_ms);
        self.note(stamp);
        (stamp, None)
    }

    /// How far the log's time is behind the calendar, or (negative) the calendar behind it; 0 while there is no stamp.
    pub(crate) fn lag_ms(&self) -> i64 {
        if self.last_ms == 0 { 0 } else { self.clock.wall_ms().saturating_sub(self.vouched()) }
    }

    /// The last stamp, moved on by what the monotonic clock says.
    fn vouched(&self) -> i64 {
        let since = self.clock.monotonic_ms().saturating_sub(self.seen_at_ms);
        self.last_ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::STAMP_JUMP_MS_MAX;
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
    fn stamps_never_fall_and_follow_a_jump_only_slowly() {
        let hands = Hands::default();
        hands.set(1_000_000, 50);
        let mut stamps = Stamps::new(hands.clone(), 0, STAMP_JUMP_MS_MAX);
        assert_eq!(stamps.first(), (1_000_000, None));
        hands.set(1_000_400, 450);
        assert_eq!(stamps.next(), 1_000_400);
        hands.set(400_000, 500);
        assert_eq!(stamps.next(), 1_000_400, "the calendar went back");
        hands.set(9_000_000, 600);
        assert_eq!(stamps.next(), 1_000_400 + 150 + 1_000, "the calendar jumped ahead");
    }

    #[test]
    fn the_lag_tells_a_clock_set_back_from_one_set_forward() {
        let hands = Hands::default();
        hands.set(1_000_000, 0);
        let mut stamps = Stamps::new(hands.clone(), 0, STAMP_JUMP_MS_MAX);
        assert_eq!(stamps.lag_ms(), 0, "nobody has stamped anything");
        stamps.first();
        hands.set(1_600_000, 600_000);
        assert_eq!(stamps.lag_ms(), 0, "an idle hour is none");
        hands.set(1_540_000, 600_000);
        assert_eq!(stamps.lag_ms(), -60_000);
        hands.set(1_720_000, 600_000);
        assert_eq!(stamps.lag_ms(), 120_000);
        stamps.next();
        assert_eq!(stamps.lag_ms(), 119_000, "each append catches up by a second");
    }

    #[test]
    fn a_new_leader_jumps_an_hour_at_most_beyond_what_it_vouches_for() {
        let hands = Hands::default();
        hands.set(5_000_000 + STAMP_JUMP_MS_MAX, 10);
        let mut stamps = Stamps::new(hands.clone(), 5_000_000, STAMP_JUMP_MS_MAX);
        assert_eq!(stamps.first(), (5_000_000 + STAMP_JUMP_MS_MAX, None));

        hands.set(5_000_001 + STAMP_JUMP_MS_MAX, 10);
        let mut stamps = Stamps::new(hands.clone(), 5_000_000, STAMP_JUMP_MS_MAX);
        let wall_ms = 5_000_001 + STAMP_JUMP_MS_MAX;
        let report = Report::ClockJump { last_stamp_ms: 5_000_000, wall_ms };
        assert_eq!(stamps.first(), (5_001_000, Some(report)));
        hands.set(wall_ms + 7_200_000, 10 + 7_200_000);
        assert_eq!(stamps.first().1, None, "two idle hours are vouched for by the monotonic clock");
    }
}
