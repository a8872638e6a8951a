//! Room on the disk and in the table, looked at every few ticks: writes are refused while less than the reserve is
//! left, so that what was admitted always fits, and the log can still take what a leader pushes. Reads go on.
//!
//! ```text
//!   free     ├──────────────────────┼──────────────┼──────────────┤ 0
//!                writes               reserve         half of it
//!                                     a leader refuses writes and hands over; a replica takes what is pushed
//!                                                    a replica takes an eighth of that, then no entries either:
//!                                                    it falls behind, and lives
//! ```
//!
//! Replicas tell their leader that they lack room: what no majority has room for is refused, not left to wait. The eighth
//! is for what is on its way then, and for the first entries of new leaders, without which nobody could read.

use std::collections::BTreeSet;

use store_core::NodeId;

use crate::job::{Lack, Report};
use crate::limits::{HAND_OVER_TICKS, ROOM_TICKS, SCARCE_SHARE};

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
pub(crate) struct Room {
    /// How much must stay free.
    reserve: Reserve,
    /// What there was too little of at the last look.
    lack: Option<Lack>,
    /// It is down to half of the reserve.
    is_scarce: bool,
    /// Bytes of entries taken since it is.
    taken_bytes: u64,
    /// Peers that said that they lack room.
    peers: BTreeSet<NodeId>,
    /// Ticks since the last look.
    ticks: u32,
    /// Ticks until leadership may be given away for this again: where nobody has room, it must not go round.
    patience: u32,
}

impl Room {
    pub(crate) fn new(reserve: Reserve) -> Room {
        let peers = BTreeSet::new();
        Room { reserve, lack: None, is_scarce: false, taken_bytes: 0, peers, ticks: ROOM_TICKS, patience: 0 }
    }

    /// What there is too little of.
    pub(crate) fn lack(&self) -> Option<Lack> {
        self.lack
    }

    /// Whether a replica may take so many more bytes of entries; if so they count.
    pub(crate) fn takes(&mut self, bytes: usize) -> bool {
        if !self.is_scarce {
            return true;
        }
        let bytes = self.taken_bytes.saturating_add(bytes as u64);
        let takes = bytes <= self.reserve.disk_bytes / 2 / SCARCE_SHARE;
        if takes {
            self.taken_bytes = bytes;
        }
        takes
    }

    /// A peer has said whether it lacks room.
    pub(crate) fn hear(&mut self, peer: NodeId, lacks: bool) {
        if lacks {
            self.peers.insert(peer);
        } else {
            self.peers.remove(&peer);
        }
    }

    /// Another leads, or this one has just begun: what peers said is old.
    pub(crate) fn forget_peers(&mut self) {
        self.peers.clear();
    }

    /// Whether a peer has not said that it lacks room.
    pub(crate) fn has(&self, peer: NodeId) -> bool {
        !self.peers.contains(&peer)
    }

    /// Whether so many of these voters lack room that the others are no majority.
    pub(crate) fn majority_lacks(&self, voters: impl Iterator<Item = NodeId>) -> bool {
        if self.peers.is_empty() {
            return false;
        }
        let (mut all, mut with_room) = (0, 0);
        for voter in voters {
            all += 1;
            with_room += usize::from(self.has(voter));
        }
        with_room <= all / 2
    }

    /// Counts a tick; true if it is time to look.
    pub(crate) fn is_due(&mut self) -> bool {
        self.patience = self.patience.saturating_sub(1);
        self.ticks += 1;
        let due = self.ticks >= ROOM_TICKS;
        if due {
            self.ticks = 0;
        }
        due
    }

    /// Takes what was seen; a report if it has changed.
    pub(crate) fn look(&mut self, disk_free: u64, table_free: u64) -> Option<Report> {
        let lack = if disk_free < self.reserve.disk_bytes {
            Some(Lack::Disk)
        } else if table_free < self.reserve.table_bytes {
            Some(Lack::Table)
        } else {
            None
        };
        self.is_scarce = disk_free < self.reserve.disk_bytes / 2 || table_free < self.reserve.table_bytes / 2;
        if !self.is_scarce {
            self.taken_bytes = 0;
        }
        let before = std::mem::replace(&mut self.lack, lack);
        match lack {
            _ if lack == before => None,
            Some(lack) => Some(Report::NoRoom(lack)),
            None => Some(Report::RoomAgain),
        }
    }

    /// Whether a leader should give its place away for lack of room, now.
    pub(crate) fn should_hand_over(&mut self) -> bool {
        let should = self.lack.is_some() && self.patience == 0;
        if should {
            self.patience = HAND_OVER_TICKS;
        }
        should
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_is_reported_once_and_gives_leadership_away_now_and_then() {
        let mut room = Room::new(Reserve { disk_bytes: 100, table_bytes: 10 });
        assert!(room.is_due() && !room.is_due());
        assert_eq!(room.look(100, 10), None);
        assert_eq!(room.look(99, 10), Some(Report::NoRoom(Lack::Disk)));
        assert_eq!((room.look(99, 10), room.lack()), (None, Some(Lack::Disk)));
        assert!(room.should_hand_over() && !room.should_hand_over());
        assert_eq!(room.look(100, 9), Some(Report::NoRoom(Lack::Table)));
        assert_eq!(room.look(100, 10), Some(Report::RoomAgain));
        assert_eq!(room.lack(), None);
    }

    #[test]
    fn what_no_majority_has_room_for_is_known() {
        let mut room = Room::new(Reserve { disk_bytes: 100, table_bytes: 10 });
        let lacks = |room: &Room, voters: u64| room.majority_lacks((1..=voters).map(NodeId));
        assert!(!lacks(&room, 3));
        room.hear(NodeId(2), true);
        assert!(!lacks(&room, 3) && !lacks(&room, 4));
        room.hear(NodeId(3), true);
        assert!(lacks(&room, 3) && lacks(&room, 4) && !lacks(&room, 5));
        room.hear(NodeId(2), false);
        assert!(!lacks(&room, 3) && room.has(NodeId(2)) && !room.has(NodeId(3)));
        room.forget_peers();
        assert!(room.has(NodeId(3)));
    }

    #[test]
    fn below_half_of_the_reserve_only_an_eighth_of_it_is_taken() {
        let mut room = Room::new(Reserve { disk_bytes: 160, table_bytes: 10 });
        for (disk, table, scarce) in [(159, 9, false), (79, 10, true), (160, 4, true), (80, 5, false)] {
            room.look(disk, table);
            assert_eq!(room.takes(1_000), !scarce, "{disk} {table}");
        }
        room.look(79, 10);
        assert!(room.takes(4) && room.takes(6) && !room.takes(1), "and no more");
        room.look(160, 10);
        room.look(79, 10);
        assert!(room.takes(10), "a new lack begins anew");
    }
}
