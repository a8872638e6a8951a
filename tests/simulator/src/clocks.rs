//! The clocks of all nodes, as the oracle knows them: what the log's time may be by those of a majority.
//!
//! The law: the time of an entry is later than that of the entry before it only up to what a majority of the voters' clocks showed
//! lately. So a minority that is ahead by any amount ends no hold and forgets no answer. It leaves out clocks that are behind: they
//! make the log's time late, which breaks nothing.

use bytes::Bytes;
use store_core::{Entry, Member, Membership};

use crate::network::index_of;
use crate::time::{Micros, NodeClock, SECOND};
use crate::violation::ensure;

/// Lately: what a voter told is believed for ten seconds, and may have been as long again and more on its way.
const LATELY: Micros = 90 * SECOND;

/// The clock of each node.
#[derive(Debug)]
pub(crate) struct Clocks(Vec<NodeClock>);

impl Clocks {
    pub(crate) fn new(clocks: Vec<NodeClock>) -> Clocks {
        Clocks(clocks)
    }

    /// An entry is appended for the first time anywhere, by its leader, after one of that time.
    pub(crate) fn look(&self, entry: &Entry<Bytes>, before_ms: i64, membership: &Membership, by: Member) {
        let max_ms = before_ms.max(self.time_ms_max(membership));
        let law = "log time is vouched for";
        ensure((before_ms..=max_ms).contains(&entry.log_time_ms), law, || {
            let (node, at, ms) = (by.node, entry.position, entry.log_time_ms);
            format!(
                "{node} gives {at} the time {ms}, after {before_ms}; a majority has vouched for {max_ms} at most"
            )
        });
    }

    /// The latest time that a majority has vouched for lately.
    fn time_ms_max(&self, membership: &Membership) -> i64 {
        let by_voters = self.by_majority(&membership.voters);
        if membership.outgoing.is_empty() {
            by_voters
        } else {
            by_voters.min(self.by_majority(&membership.outgoing))
        }
    }

    fn by_majority(&self, voters: &[Member]) -> i64 {
        let mut latest: Vec<i64> =
            voters.iter().map(|voter| self.0[index_of(voter.node)].latest_ms(LATELY)).collect();
        latest.sort_unstable_by_key(|ms| std::cmp::Reverse(*ms));
        latest[voters.len() / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Now;
    use store_core::{Incarnation, NodeId};

    #[test]
    fn one_clock_of_three_that_is_ahead_allows_nothing() {
        let now = Now::default();
        let clocks: Vec<NodeClock> = (0..3).map(|_| NodeClock::new(now.clone())).collect();
        let member = |node| Member { node: NodeId(node), incarnation: Incarnation(node) };
        let membership =
            Membership { voters: (1..=3).map(member).collect(), outgoing: Vec::new(), learners: Vec::new() };
        let all = Clocks::new(clocks.clone());
        let right = |now: &Now| now.wall_ms();
        clocks[0].jump(3_600_000);
        assert_eq!(all.time_ms_max(&membership), right(&now));
        clocks[1].jump(5_000);
        assert_eq!(all.time_ms_max(&membership), right(&now) + 5_000, "two are");
        clocks[1].set_right();
        now.advance_to(LATELY / 2);
        assert_eq!(all.time_ms_max(&membership), right(&now) + 5_000, "and what one showed is remembered");
        now.advance_to(LATELY + SECOND);
        assert_eq!(all.time_ms_max(&membership), right(&now), "for a while");
    }
}
