//! Headroom on the disk and in the table, looked at every few ticks: writes are refused while less than the reserve is
//! left, so that admitted writes always fit, and the log can still take a leader's pushes. Reads go on.
//!
//! ```text
//!   free     ├──────────────────────┼──────────────┼──────────────┤ 0
//!                writes               reserve         half of it
//!                                     a leader refuses writes and transfers leadership; a replica takes pushes
//!                                                    a replica takes an eighth of that, then no entries either:
//!                                                    it falls behind, and lives
//! ```
//!
//! Replicas tell their leader that they are out of space: a write without room on a majority is refused, not left to
//! wait. The eighth is for entries on their way, and for the first entries of new leaders, without which nobody could read.

use std::collections::BTreeSet;

use store_core::NodeId;

use crate::job::{Report, Shortage};
use crate::limits::{HEADROOM_TICKS, LOW_SHARE, TRANSFER_TICKS};

/// How much must stay free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reserve {
    /// Bytes of the file system.
    pub disk_bytes: u64,
    /// Bytes of the table.
    pub table_bytes: u64,
}

impl Default for Reserve {
    fn default() -> Reserve {
        Reserve { disk_bytes: 256 << 20, table_bytes: 64 << 20 }
    }
}

/// What is known of it.
#[derive(Debug)]
pub(crate) struct Headroom {
    /// How much must stay free.
    reserve: Reserve,
    /// What there was too little of at the last look.
    shortage: Option<Shortage>,
    /// It is down to half of the reserve.
    is_low: bool,
    /// Bytes of entries taken since it is.
    taken_bytes: u64,
    /// Peers that said that they lack room.
    peers: BTreeSet<NodeId>,
    /// Ticks since the last look.
    ticks: u32,
    /// Ticks until leadership may be given away for this again: where nobody has room, it must not go round.
    patience: u32,
}

impl Headroom {
    pub(crate) fn new(reserve: Reserve) -> Headroom {
        let peers = BTreeSet::new();
        Headroom {
            reserve,
            shortage: None,
            is_low: false,
            taken_bytes: 0,
            peers,
            ticks: HEADROOM_TICKS,
            patience: 0,
        }
    }

    /// What there is too little of.
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        self.shortage
    }

    /// Whether a replica may take so many more bytes of entries; if so they count.
    pub(crate) fn takes(&mut self, bytes: usize) -> bool {
        if !self.is_low {
            return true;
        }
        let bytes = self.taken_bytes.saturating_add(bytes as u64);
        let takes = bytes <= self.reserve.disk_bytes / 2 / LOW_SHARE;
        if takes {
            self.taken_bytes = bytes;
        }
        takes
    }

    /// A peer has said whether it is out of space.
    pub(crate) fn hear(&mut self, peer: NodeId, is_out_of_space: bool) {
        if is_out_of_space {
            self.peers.insert(peer);
        } else {
            self.peers.remove(&peer);
        }
    }

    /// Another leads, or this one has just begun: what peers said is old.
    pub(crate) fn forget_peers(&mut self) {
        self.peers.clear();
    }

    /// Whether a peer has not said that it is out of space.
    pub(crate) fn has(&self, peer: NodeId) -> bool {
        !self.peers.contains(&peer)
    }

    /// Whether so many of these voters lack room that the others are no majority.
    pub(crate) fn majority_is_out_of_space(&self, voters: impl Iterator<Item = NodeId>) -> bool {
        if self.peers.is_empty() {
            return false;
        }
        let (mut all, mut with_headroom) = (0, 0);
        for voter in voters {
            all += 1;
            with_headroom += usize::from(self.has(voter));
        }
        with_headroom <= all / 2
    }

    /// Counts a tick; true if it is time to look.
    pub(crate) fn is_due(&mut self) -> bool {
        self.patience = self.patience.saturating_sub(1);
        self.ticks += 1;
        let due = self.ticks >= HEADROOM_TICKS;
        if due {
            self.ticks = 0;
        }
        due
    }

    /// Takes what was seen; a report if it has changed.
    pub(crate) fn look(&mut self, disk_free: u64, table_free: u64) -> Option<Report> {
        let shortage = if disk_free < self.reserve.disk_bytes {
            Some(Shortage::Disk)
        } else if table_free < self.reserve.table_bytes {
            Some(Shortage::Table)
        } else {
            None
        };
        self.is_low = disk_free < self.reserve.disk_bytes / 2 || table_free < self.reserve.table_bytes / 2;
        if !self.is_low {
            self.taken_bytes = 0;
        }
        let before = std::mem::replace(&mut self.shortage, shortage);
        match shortage {
            _ if shortage == before => None,
            Some(shortage) => Some(Report::OutOfSpace(shortage)),
            None => Some(Report::HeadroomAgain),
        }
    }

    /// Whether a leader should give its place away for lack of space, now.
    pub(crate) fn should_transfer(&mut self) -> bool {
        let should = self.shortage.is_some() && self.patience == 0;
        if should {
            self.patience = TRANSFER_TICKS;
        }
        should
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_reported_once_and_transfers_leadership_now_and_then() {
        let mut headroom = Headroom::new(Reserve { disk_bytes: 100, table_bytes: 10 });
        assert!(headroom.is_due() && !headroom.is_due());
        assert_eq!(headroom.look(100, 10), None);
        assert_eq!(headroom.look(99, 10), Some(Report::OutOfSpace(Shortage::Disk)));
        assert_eq!((headroom.look(99, 10), headroom.shortage()), (None, Some(Shortage::Disk)));
        assert!(headroom.should_transfer() && !headroom.should_transfer());
        assert_eq!(headroom.look(100, 9), Some(Report::OutOfSpace(Shortage::Table)));
        assert_eq!(headroom.look(100, 10), Some(Report::HeadroomAgain));
        assert_eq!(headroom.shortage(), None);
    }

    #[test]
    fn what_no_majority_has_space_for_is_known() {
        let mut headroom = Headroom::new(Reserve { disk_bytes: 100, table_bytes: 10 });
        let is_out_of_space =
            |headroom: &Headroom, voters: u64| headroom.majority_is_out_of_space((1..=voters).map(NodeId));
        assert!(!is_out_of_space(&headroom, 3));
        headroom.hear(NodeId(2), true);
        assert!(!is_out_of_space(&headroom, 3) && !is_out_of_space(&headroom, 4));
        headroom.hear(NodeId(3), true);
        assert!(
            is_out_of_space(&headroom, 3) && is_out_of_space(&headroom, 4) && !is_out_of_space(&headroom, 5)
        );
        headroom.hear(NodeId(2), false);
        assert!(!is_out_of_space(&headroom, 3) && headroom.has(NodeId(2)) && !headroom.has(NodeId(3)));
        headroom.forget_peers();
        assert!(headroom.has(NodeId(3)));
    }

    #[test]
    fn below_half_of_the_reserve_only_an_eighth_of_it_is_taken() {
        let mut headroom = Headroom::new(Reserve { disk_bytes: 160, table_bytes: 10 });
        for (disk, table, is_low) in [(159, 9, false), (79, 10, true), (160, 4, true), (80, 5, false)] {
            headroom.look(disk, table);
            assert_eq!(headroom.takes(1_000), !is_low, "{disk} {table}");
        }
        headroom.look(79, 10);
        assert!(headroom.takes(4) && headroom.takes(6) && !headroom.takes(1), "and no more");
        headroom.look(160, 10);
        headroom.look(79, 10);
        assert!(headroom.takes(10), "a new lack begins anew");
    }
}
