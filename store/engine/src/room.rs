//! Room on the disk and in the table, looked at every few ticks: writes are refused while less than the reserve is
//! left, so that what was admitted always fits, and the log can still take what a leader pushes. Reads go on.

use crate::job::{Lack, Report};
use crate::limits::{HAND_OVER_TICKS, ROOM_TICKS};

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
    /// Ticks since the last look.
    ticks: u32,
    /// Ticks until leadership may be given away for this again: where nobody has room, it must not go round.
    patience: u32,
}

impl Room {
    pub(crate) fn new(reserve: Reserve) -> Room {
        Room { reserve, lack: None, ticks: ROOM_TICKS, patience: 0 }
    }

    /// What there is too little of.
    pub(crate) fn lack(&self) -> Option<Lack> {
        self.lack
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
}
