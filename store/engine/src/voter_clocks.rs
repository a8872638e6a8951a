//! The wall clocks of the voters, as they tell them in votes and acks, and the time that a majority of them vouches for.
//!
//! A clock that one machine has wrong must move no deadline: the log's time is what a majority of the voters says that it is *at
//! least*. Of n clocks of which a minority is ahead by any amount, the q-th largest (q: a majority) is at most that of a right
//! one; and a minority that is behind holds nothing back once all have told theirs. (The choice of a value that a minority cannot
//! move is that of Marzullo and Owicki, "Maintaining the Time in a Distributed System", 1983.)
//!
//! Leaves out what the log's time does with that: [`crate::log_clock`].

use std::collections::BTreeMap;

use store_core::NodeId;

use crate::limits::{CLOCKS_AGREE_MS, MEMBER_TOLD_MS_MAX, MEMBERS_MAX};

/// The time, as the voters tell it; milliseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// A majority says that it is at least this, and at least two clocks, a majority, agree on it.
    Agreed(i64),
    /// A majority says that it is at least this; their clocks are apart, or there is one voter only.
    Apart(i64),
    /// No majority has told its clocks lately.
    Unknown,
}

/// The voter whose clock is furthest from what a majority says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockApart {
    /// Which voter.
    pub node: NodeId,
    /// How far its clock is ahead; negative: behind. Milliseconds.
    pub ahead_ms: i64,
}

/// What a voter's clock showed, and when that was by the monotonic clock here.
#[derive(Clone, Copy, Debug)]
struct Clock {
    wall_ms: i64,
    heard_at_ms: u64,
}

/// What the peers have told; and, if asked, what follows.
#[derive(Default, Debug)]
pub(crate) struct VoterClocks {
    told: BTreeMap<NodeId, Clock>,
}

/// This node's clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnClock {
    pub(crate) node: NodeId,
    pub(crate) wall_ms: i64,
    pub(crate) monotonic_ms: u64,
}

impl VoterClocks {
    /// A peer tells its clock. It is taken for as late as its message was sent: a message that was long under way makes a clock
    /// seem behind, never ahead.
    pub(crate) fn hear(&mut self, peer: NodeId, wall_ms: i64, monotonic_ms: u64) {
        self.told.retain(|_, clock| clock.is_fresh(monotonic_ms));
        self.told.insert(peer, Clock { wall_ms, heard_at_ms: monotonic_ms });
    }

    /// The time by a majority of these voters.
    pub(crate) fn time(&self, own: OwnClock, voters: impl Iterator<Item = NodeId>) -> Told {
        let mut buffer = [0; MEMBERS_MAX];
        let (mut all, mut known) = (0, 0);
        for voter in voters {
            all += 1;
            if let Some(wall_ms) = self.of(voter, own).filter(|_| known < MEMBERS_MAX) {
                buffer[known] = wall_ms;
                known += 1;
            }
        }
        let majority = all / 2 + 1;
        if known < majority {
            return Told::Unknown;
        }
        let clocks = &mut buffer[..known];
        clocks.sort_unstable_by_key(|wall_ms| std::cmp::Reverse(*wall_ms));
        let time_ms = clocks[majority - 1];
        let agreeing = clocks.iter().filter(|wall_ms| wall_ms.abs_diff(time_ms) <= CLOCKS_AGREE_MS).count();
        if agreeing >= majority.max(2) { Told::Agreed(time_ms) } else { Told::Apart(time_ms) }
    }

    /// Of these voters the one whose clock is furthest from that time, if it is further than clocks that agree.
    pub(crate) fn furthest(
        &self,
        own: OwnClock,
        voters: impl Iterator<Item = NodeId>,
        time_ms: i64,
    ) -> Option<ClockApart> {
        let apart = voters.filter_map(|node| {
            let ahead_ms = self.of(node, own)?.saturating_sub(time_ms);
            Some(ClockApart { node, ahead_ms })
        });
        let worst = apart.max_by_key(|apart| apart.ahead_ms.unsigned_abs());
        worst.filter(|apart| apart.ahead_ms.unsigned_abs() > CLOCKS_AGREE_MS)
    }

    /// What a voter's clock shows now, if it is this node or has told its clock lately.
    fn of(&self, voter: NodeId, own: OwnClock) -> Option<i64> {
        if voter == own.node {
            return Some(own.wall_ms);
        }
        let clock = self.told.get(&voter).filter(|clock| clock.is_fresh(own.monotonic_ms))?;
        let since = own.monotonic_ms.saturating_sub(clock.heard_at_ms);
        Some(clock.wall_ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX)))
    }
}

impl Clock {
    fn is_fresh(self, monotonic_ms: u64) -> bool {
        monotonic_ms.saturating_sub(self.heard_at_ms) <= MEMBER_TOLD_MS_MAX
    }
}

impl Told {
    /// What both say, where two memberships are in force.
    pub(crate) fn and(self, other: Told) -> Told {
        match (self, other) {
            (Told::Unknown, _) | (_, Told::Unknown) => Told::Unknown,
            (Told::Agreed(one), Told::Agreed(two)) => Told::Agreed(one.min(two)),
            (Told::Agreed(one) | Told::Apart(one), Told::Agreed(two) | Told::Apart(two)) => {
                Told::Apart(one.min(two))
            }
        }
    }

    /// The time, if it is known.
    pub(crate) fn time_ms(self) -> Option<i64> {
        match self {
            Told::Agreed(ms) | Told::Apart(ms) => Some(ms),
            Told::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_000_000_000;
    const HOUR_MS: i64 = 3_600_000;

    fn own(wall_ms: i64) -> OwnClock {
        OwnClock { node: NodeId(1), wall_ms, monotonic_ms: 500 }
    }

    /// The time by voters 1 to n, of which 1 is this node.
    fn time(clocks: &[Option<i64>]) -> Told {
        let mut told = VoterClocks::default();
        for (node, wall_ms) in (1..).zip(clocks) {
            if let Some(wall_ms) = wall_ms.filter(|_| node > 1) {
                told.hear(NodeId(node), wall_ms, 500);
            }
        }
        told.time(own(clocks[0].unwrap()), (1..=clocks.len() as u64).map(NodeId))
    }

    #[test]
    fn clocks_that_agree_give_the_time_that_a_majority_has_reached() {
        assert_eq!(time(&[Some(NOW_MS), Some(NOW_MS - 40), Some(NOW_MS + 90)]), Told::Agreed(NOW_MS));
        assert_eq!(time(&[Some(NOW_MS), Some(NOW_MS - 40), None]), Told::Agreed(NOW_MS - 40));
    }

    #[test]
    fn a_minority_that_is_ahead_moves_nothing() {
        let ahead = Some(NOW_MS + 9 * HOUR_MS);
        assert_eq!(time(&[ahead, Some(NOW_MS), Some(NOW_MS - 7)]), Told::Agreed(NOW_MS));
        assert_eq!(time(&[ahead, Some(NOW_MS), None]), Told::Apart(NOW_MS));
        let five = [ahead, ahead, Some(NOW_MS), Some(NOW_MS - 7), Some(NOW_MS + 5)];
        assert_eq!(time(&five), Told::Agreed(NOW_MS + 5), "the latest of the right ones");
    }

    #[test]
    fn a_minority_that_is_behind_holds_nothing_back_once_all_have_told() {
        assert_eq!(time(&[Some(NOW_MS - HOUR_MS), Some(NOW_MS), Some(NOW_MS + 3)]), Told::Agreed(NOW_MS));
        assert_eq!(time(&[Some(NOW_MS - HOUR_MS), Some(NOW_MS), None]), Told::Apart(NOW_MS - HOUR_MS));
    }

    #[test]
    fn without_a_majority_nothing_is_known_and_one_voter_agrees_with_nobody() {
        assert_eq!(time(&[Some(NOW_MS), None, None]), Told::Unknown);
        assert_eq!(time(&[Some(NOW_MS)]), Told::Apart(NOW_MS));
    }

    #[test]
    fn a_clock_goes_on_after_it_was_told_and_is_forgotten_in_time() {
        let mut clocks = VoterClocks::default();
        clocks.hear(NodeId(2), NOW_MS, 500);
        let voters = || [1, 2].map(NodeId).into_iter();
        let at = |monotonic_ms| OwnClock { node: NodeId(1), wall_ms: NOW_MS + 60_000, monotonic_ms };
        assert_eq!(clocks.time(at(2_500), voters()), Told::Apart(NOW_MS + 2_000));
        assert_eq!(clocks.time(at(501 + MEMBER_TOLD_MS_MAX), voters()), Told::Unknown);
    }

    #[test]
    fn the_furthest_clock_is_named_and_none_where_they_agree() {
        let mut clocks = VoterClocks::default();
        clocks.hear(NodeId(2), NOW_MS - 11_000, 500);
        clocks.hear(NodeId(3), NOW_MS + 9_000, 500);
        let voters = || (1..=3).map(NodeId);
        let apart = ClockApart { node: NodeId(2), ahead_ms: -11_000 };
        assert_eq!(clocks.furthest(own(NOW_MS), voters(), NOW_MS), Some(apart));
        clocks.hear(NodeId(2), NOW_MS, 500);
        assert_eq!(clocks.furthest(own(NOW_MS), voters(), NOW_MS), None);
    }

    #[test]
    fn two_memberships_in_force_must_both_say_it() {
        let (agreed, apart) = (Told::Agreed(20), Told::Apart(10));
        assert_eq!(agreed.and(Told::Agreed(30)), Told::Agreed(20));
        assert_eq!(agreed.and(apart), Told::Apart(10));
        assert_eq!(agreed.and(Told::Unknown), Told::Unknown);
    }
}
