//! When a snapshot is due, and whether one is under way. One at a time.
//!
//! ```text
//!  due: log.X rolls at L, its last offset        L applied, nothing after it        written, fsynced, verified
//!  ───────┬──────────────────────────────────────────┬───────────────────────────────────┬──────────────
//!  Idle   │ asked(L)                                 │ (the applier stops for a moment)  │ Idle; purge
//!         └── L truncated: Idle, due again
//! ```

use store_core::{Offset, Position};

/// How often the log is rolled and the state written aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// When the log has grown by so many bytes since it was last rolled.
    pub log_bytes: u64,
    /// When so many ticks have passed and there is something new.
    pub ticks: u64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { log_bytes: 64 << 20, ticks: 360_000 }
    }
}

/// Where the path stands.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// When.
    policy: Policy,
    /// The last position that a snapshot covers, or that was asked for and failed.
    newest: Position,
    /// The one under way.
    asked: Option<Position>,
    /// Ticks since the last one was asked for.
    ticks: u64,
    /// Bytes in the log since it was rolled.
    log_bytes: u64,
}

impl Schedule {
    pub(crate) fn new(policy: Policy, newest: Position) -> Schedule {
        Schedule { policy, newest, asked: None, ticks: 0, log_bytes: 0 }
    }

    /// Bytes in the log since it was rolled.
    pub(crate) fn grew(&mut self, log_bytes: u64) {
        self.log_bytes = log_bytes;
    }

    /// Counts a tick; the position to roll at, if it is time. `last` is the end of the log.
    pub(crate) fn due(&mut self, last: Position) -> Option<Position> {
        self.ticks = self.ticks.saturating_add(1);
        let is_time = self.ticks >= self.policy.ticks || self.log_bytes >= self.policy.log_bytes;
        if !is_time || self.asked.is_some() || last.offset <= self.newest.offset {
            return None;
        }
        self.ticks = 0;
        self.log_bytes = 0;
        self.asked = Some(last);
        self.asked
    }

    /// The log was cut from here on; true if the snapshot under way went with it. It is due again at once.
    pub(crate) fn truncated(&mut self, from: Offset) -> bool {
        let gone = self.asked.take_if(|asked| asked.offset >= from).is_some();
        if gone {
            self.ticks = self.policy.ticks;
        }
        gone
    }

    /// A snapshot from elsewhere takes the place of whatever is under way.
    pub(crate) fn cancel(&mut self) {
        self.asked = None;
    }

    /// The snapshot at `position` is there.
    pub(crate) fn taken(&mut self, position: Position) {
        self.asked.take_if(|asked| *asked == position);
        self.newest = self.newest.max(position);
    }

    /// The snapshot at `position` will not be there; the next one is taken in its turn.
    pub(crate) fn failed(&mut self, position: Position) {
        self.taken(position);
    }

    /// A snapshot from elsewhere is installed.
    pub(crate) fn installed(&mut self, position: Position) {
        self.asked = None;
        self.ticks = 0;
        self.log_bytes = 0;
        self.newest = position;
    }

    /// The one under way.
    pub(crate) fn under_way(&self) -> Option<Position> {
        self.asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { log_bytes: 1_000, ticks: 10 };

    #[test]
    fn one_snapshot_at_a_time_by_bytes_or_by_ticks_and_never_of_nothing_new() {
        let mut schedule = Schedule::new(POLICY, Position::ZERO);
        assert_eq!(schedule.due(Position::new(1, 5)), None);
        schedule.grew(1_000);
        assert_eq!(schedule.due(Position::new(1, 5)), Some(Position::new(1, 5)));
        schedule.grew(5_000);
        assert_eq!(schedule.due(Position::new(1, 9)), None, "one is under way");
        schedule.taken(Position::new(1, 5));
        assert_eq!(schedule.due(Position::new(1, 5)), None, "nothing new");
        assert_eq!(schedule.due(Position::new(1, 9)), Some(Position::new(1, 9)));
        schedule.taken(Position::new(1, 9));
        let asked = (0..20).filter_map(|_| schedule.due(Position::new(1, 10))).collect::<Vec<_>>();
        assert_eq!(asked, [Position::new(1, 10)], "after ten ticks");
    }

    #[test]
    fn a_truncated_one_is_started_anew_at_once() {
        let mut schedule = Schedule::new(POLICY, Position::ZERO);
        schedule.grew(1_000);
        assert!(schedule.due(Position::new(1, 9)).is_some());
        assert!(!schedule.truncated(Offset(10)));
        assert!(schedule.truncated(Offset(9)));
        assert_eq!(schedule.under_way(), None);
        assert_eq!(schedule.due(Position::new(2, 9)), Some(Position::new(2, 9)));
    }
}
