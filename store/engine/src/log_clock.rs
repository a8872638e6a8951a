//! Time in the log: each entry carries a timestamp, so that applying it needs no clock and gives the same everywhere.
//!
//! `log time = max(last log time, what a majority of the voters says that it is at least)`: it never falls, no minority of clocks can
//! move it ahead, and a standing leader as well as a new one takes the time at once, also after a night without entries.
//!
//! Where the clocks of the majority do not agree within ten seconds (or there is one voter, and nobody to agree with), they may all
//! be wrong, and a log that was carried years ahead stays there for ever. A new leader then goes an hour (configurable) beyond
//! what it vouches for itself, no further; a standing one lets log time gain on the monotonic clock by as much again: it goes at
//! twice its speed until it is there, and never more than that hour at once. Where no majority tells its clocks, log time stands; only
//! before the first timestamp of all, when no deadline stands, the leader's own clock will do.

use store_core::NodeId;

use crate::clock::Clock;
use crate::job::Report;
use crate::voter_clocks::{ClockApart, OwnClock, Told, VoterClocks};

/// The log's last timestamp, when it was seen here, and the clocks of the voters.
#[derive(Debug)]
pub(crate) struct LogClock<C> {
    /// This node.
    own: NodeId,
    /// Both clocks.
    clock: C,
    /// The log's last timestamp; 0 while no leader has ever timestamped one.
    last_ms: i64,
    /// The monotonic clock when it was last raised.
    seen_at_ms: u64,
    /// How far ahead of the log a new leader may go where the clocks are apart.
    jump_ms_max: i64,
    /// What the peers' clocks show.
    voters: VoterClocks,
}

impl<C: Clock> LogClock<C> {
    pub(crate) fn new(own: NodeId, clock: C, last_ms: i64, jump_ms_max: i64) -> LogClock<C> {
        let seen_at_ms = clock.monotonic_ms();
        LogClock { own, clock, last_ms, seen_at_ms, jump_ms_max, voters: VoterClocks::default() }
    }

    /// An entry of this timestamp is in the log now.
    pub(crate) fn note(&mut self, log_time_ms: i64) {
        if log_time_ms > self.last_ms {
            self.last_ms = log_time_ms;
            self.seen_at_ms = self.clock.monotonic_ms();
        }
    }

    /// The monotonic clock.
    pub(crate) fn monotonic_ms(&self) -> u64 {
        self.clock.monotonic_ms()
    }

    /// A peer has told its clock.
    pub(crate) fn hear(&mut self, peer: NodeId, wall_ms: i64) {
        self.voters.hear(peer, wall_ms, self.clock.monotonic_ms());
    }

    /// The timestamp of the entries that are about to be appended.
    pub(crate) fn next(&mut self, members: &proto::store::Membership) -> i64 {
        let time_ms = match self.told(members) {
            Told::Agreed(ms) => ms,
            Told::Apart(ms) => ms.min(self.vouched().saturating_add(self.gain())),
            Told::Unknown => self.last_ms,
        };
        self.raise(time_ms)
    }

    /// The timestamp of a new leader's first entry.
    pub(crate) fn first(&mut self, members: &proto::store::Membership) -> (i64, Option<Report>) {
        let last_log_time_ms = self.last_ms;
        match self.told(members) {
            // Nothing is timestamped yet, and no deadline stands.
            Told::Unknown if last_log_time_ms == 0 => (self.raise(self.clock.wall_ms()), None),
            Told::Apart(time_ms) if last_log_time_ms == 0 => (self.raise(time_ms), None),
            Told::Apart(time_ms) if time_ms > self.vouched().saturating_add(self.jump_ms_max) => {
                let report = Report::ClockJump { last_log_time_ms, time_ms };
                (self.next(members), Some(report))
            }
            Told::Agreed(time_ms) | Told::Apart(time_ms) => (self.raise(time_ms), None),
            Told::Unknown => (last_log_time_ms, None),
        }
    }

    /// How far the log's time is behind the wall clock, or (negative) the wall clock behind it; 0 while there is no timestamp.
    pub(crate) fn lag_ms(&self) -> i64 {
        if self.last_ms == 0 { 0 } else { self.clock.wall_ms().saturating_sub(self.vouched()) }
    }

    /// The voter whose clock is furthest from what a majority says, if they do not agree.
    pub(crate) fn furthest(&self, members: &proto::store::Membership) -> Option<ClockApart> {
        let time_ms = self.told(members).time_ms()?;
        self.voters.furthest(self.own_clock(), ids(&members.voters), time_ms)
    }

    fn told(&self, members: &proto::store::Membership) -> Told {
        let own = self.own_clock();
        if store_core::mutant!(OwnClockIsTime) {
            return Told::Agreed(own.wall_ms);
        }
        let told = self.voters.time(own, ids(&members.voters));
        if members.outgoing.is_empty() {
            told
        } else {
            told.and(self.voters.time(own, ids(&members.outgoing)))
        }
    }

    fn own_clock(&self) -> OwnClock {
        let (wall_ms, monotonic_ms) = (self.clock.wall_ms(), self.clock.monotonic_ms());
        OwnClock { node: self.own, wall_ms, monotonic_ms }
    }

    fn raise(&mut self, time_ms: i64) -> i64 {
        self.note(time_ms);
        self.last_ms
    }

    /// The last timestamp, moved on by the monotonic clock.
    fn vouched(&self) -> i64 {
        self.last_ms.saturating_add(self.since())
    }

    /// What log time may gain beyond that where nobody confirms it: as much again, and after a long idle time no more than a new leader.
    fn gain(&self) -> i64 {
        self.since().min(self.jump_ms_max)
    }

    /// Since the last timestamp was seen.
    fn since(&self) -> i64 {
        let since = self.clock.monotonic_ms().saturating_sub(self.seen_at_ms);
        i64::try_from(since).unwrap_or(i64::MAX)
    }
}

fn ids(members: &[proto::store::Member]) -> impl Iterator<Item = NodeId> + '_ {
    members.iter().map(|member| NodeId(member.node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{LOG_TIME_JUMP_MS_MAX, MEMBER_TOLD_MS_MAX};
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

    const NIGHT_MS: i64 = 9 * 3_600_000;

    fn voters(count: u64) -> proto::store::Membership {
        let member = |node| proto::store::Member { node, ..proto::store::Member::default() };
        proto::store::Membership { voters: (1..=count).map(member).collect(), ..Default::default() }
    }

    fn log_clock(hands: &Hands, last_ms: i64) -> LogClock<Hands> {
        LogClock::new(NodeId(1), hands.clone(), last_ms, LOG_TIME_JUMP_MS_MAX)
    }

    #[test]
    fn after_a_night_off_the_time_that_a_majority_agrees_on_is_taken_at_once() {
        let hands = Hands::default();
        hands.set(5_000_000 + NIGHT_MS, 10);
        let mut log_clock = log_clock(&hands, 5_000_000);
        log_clock.hear(NodeId(3), 5_000_000 + NIGHT_MS - 70);
        assert_eq!(log_clock.first(&voters(3)), (5_000_000 + NIGHT_MS - 70, None));
        hands.set(5_000_200 + NIGHT_MS, 210);
        assert_eq!(log_clock.next(&voters(3)), 5_000_130 + NIGHT_MS);
    }

    #[test]
    fn a_leaders_own_clock_alone_moves_nothing() {
        let hands = Hands::default();
        hands.set(1_000_000, 0);
        let mut log_clock = log_clock(&hands, 1_000_000);
        log_clock.hear(NodeId(2), 1_000_000);
        log_clock.hear(NodeId(3), 1_000_000);
        hands.set(1_000_000 + NIGHT_MS, 500);
        for _ in 0..1_000 {
            assert_eq!(log_clock.next(&voters(3)), 1_000_500, "however many entries it appends");
        }
    }

    #[test]
    fn it_never_falls_and_stands_while_no_majority_tells_its_clocks() {
        let hands = Hands::default();
        hands.set(1_000_000, 0);
        let mut log_clock = log_clock(&hands, 1_000_000);
        assert_eq!(log_clock.first(&voters(3)), (1_000_000, None));
        log_clock.hear(NodeId(2), 400_000);
        hands.set(2_000_000, 100);
        assert_eq!(log_clock.next(&voters(3)), 1_000_000, "the other clock is behind");
        hands.set(2_000_000, 100 + MEMBER_TOLD_MS_MAX + 1);
        assert_eq!(log_clock.next(&voters(3)), 1_000_000, "and has not been heard of for long");
    }

    #[test]
    fn a_first_leader_takes_the_time_that_there_is() {
        let hands = Hands::default();
        hands.set(1_000_000, 50);
        assert_eq!(log_clock(&hands, 0).first(&voters(1)), (1_000_000, None));
        let mut of_three = log_clock(&hands, 0);
        of_three.hear(NodeId(2), 300_000);
        assert_eq!(of_three.first(&voters(3)), (300_000, None), "two that are apart: the earlier");
    }

    #[test]
    fn where_clocks_are_apart_a_new_leader_jumps_an_hour_at_most_and_then_goes_at_twice_the_speed() {
        let hands = Hands::default();
        hands.set(5_000_000 + LOG_TIME_JUMP_MS_MAX, 10);
        assert_eq!(log_clock(&hands, 5_000_000).first(&voters(1)), (5_000_000 + LOG_TIME_JUMP_MS_MAX, None));

        let time_ms = 5_000_001 + LOG_TIME_JUMP_MS_MAX;
        hands.set(time_ms, 10);
        let mut log_clock = log_clock(&hands, 5_000_000);
        let report = Report::ClockJump { last_log_time_ms: 5_000_000, time_ms };
        assert_eq!(log_clock.first(&voters(1)), (5_000_000, Some(report)));
        hands.set(time_ms + 500, 510);
        assert_eq!(log_clock.next(&voters(1)), 5_001_000);
        assert_eq!(log_clock.next(&voters(1)), 5_001_000, "appends gain nothing");
        hands.set(time_ms + 7_200_000, 10 + 7_200_000);
        assert_eq!(
            log_clock.first(&voters(1)).1,
            None,
            "two idle hours are vouched for by the monotonic clock"
        );
    }

    #[test]
    fn idle_hours_are_no_credit_for_a_jump() {
        let hands = Hands::default();
        hands.set(1_000_000, 0);
        let mut log_clock = log_clock(&hands, 1_000_000);
        let idle_ms = 10 * LOG_TIME_JUMP_MS_MAX;
        hands.set(1_000_000 + 5 * idle_ms, u64::try_from(idle_ms).expect("ten hours"));
        assert_eq!(log_clock.next(&voters(1)), 1_000_000 + idle_ms + LOG_TIME_JUMP_MS_MAX);
    }

    #[test]
    fn the_lag_tells_a_clock_set_back_from_one_set_forward() {
        let hands = Hands::default();
        hands.set(1_000_000, 0);
        let mut log_clock = log_clock(&hands, 0);
        assert_eq!(log_clock.lag_ms(), 0, "nobody has timestamped anything");
        log_clock.first(&voters(1));
        hands.set(1_600_000, 600_000);
        assert_eq!(log_clock.lag_ms(), 0, "an idle hour is none");
        hands.set(1_540_000, 600_000);
        assert_eq!(log_clock.lag_ms(), -60_000);
        hands.set(1_720_000, 600_000);
        assert_eq!(log_clock.lag_ms(), 120_000);
    }

    #[test]
    fn while_members_change_both_majorities_must_say_it() {
        let hands = Hands::default();
        hands.set(1_000_000, 0);
        let mut log_clock = log_clock(&hands, 900_000);
        log_clock.hear(NodeId(2), 1_000_000);
        log_clock.hear(NodeId(4), 950_000);
        let member = |node| proto::store::Member { node, ..proto::store::Member::default() };
        let joint = proto::store::Membership {
            voters: vec![member(1), member(2)],
            outgoing: vec![member(1), member(4)],
            ..Default::default()
        };
        assert_eq!(
            log_clock.next(&joint),
            900_000,
            "apart by fifty seconds: at twice the speed of a clock that stands"
        );
        hands.set(1_060_000, 60_000);
        log_clock.hear(NodeId(4), 1_010_000);
        log_clock.hear(NodeId(2), 1_060_000);
        assert_eq!(log_clock.next(&joint), 1_010_000);
    }
}
