//! The schedule of snapshots: the next one due, and the one under way. One at a time.
//!
//! ```text
//!  due: log.X rolls at L, its last offset        L applied, nothing after it        written, fsynced, verified
//!  ───────┬──────────────────────────────────────────┬───────────────────────────────────┬──────────────
//!  Idle   │ asked(L)                                 │ (the applier stops for a moment)  │ Idle; purge
//!         └── L truncated: Idle, due again
//! ```

use store_core::{Offset, Position};

use crate::limits::ROLL_PAUSE_TICKS;

/// A large state is written when the log has grown by this part of it: of what it has beyond the bytes that are written
/// in no time.
const STATE_SHARE: u64 = 4;
const STATE_BYTES_SMALL: u64 = 64 << 20;

/// How often the log is rolled and the state written aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// When the log has grown by so many bytes since it was last rolled, and by a [`STATE_SHARE`]th of a large state
    /// too: a snapshot costs as much as the state is large.
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
    /// The last position that a snapshot covers.
    newest: Position,
    /// The last position that a snapshot covers, or that was asked for and failed: the log was rolled there.
    tried: Position,
    /// The one under way.
    requested: Option<Position>,
    /// Ticks since the last one was asked for.
    ticks: u64,
    /// Bytes in the log since it was rolled.
    log_bytes: u64,
    /// Bytes of the state, as they were measured last.
    state_bytes: u64,
    /// Ticks before the next one may be asked for, after the log could not be rolled.
    pause: u32,
    /// A snapshot from elsewhere is being installed.
    installing: bool,
    /// Somebody needs one that is newer than all there are.
    wanted: bool,
}

impl Schedule {
    pub(crate) fn new(policy: Policy, newest: Position) -> Schedule {
        Schedule {
            policy,
            newest,
            tried: newest,
            requested: None,
            ticks: 0,
            log_bytes: 0,
            state_bytes: 0,
            pause: 0,
            installing: false,
            wanted: false,
        }
    }

    /// Bytes in the log since it was rolled.
    pub(crate) fn grew(&mut self, log_bytes: u64) {
        self.log_bytes = log_bytes;
    }

    /// Bytes of the state.
    pub(crate) fn measured(&mut self, state_bytes: u64) {
        self.state_bytes = state_bytes;
    }

    /// Counts a tick; the position to roll at, if it is time. `last` is the end of the log.
    pub(crate) fn due(&mut self, last: Position) -> Option<Position> {
        self.ticks = self.ticks.saturating_add(1);
        let share = self.state_bytes.saturating_sub(STATE_BYTES_SMALL) / STATE_SHARE;
        let has_grown = self.log_bytes >= self.policy.log_bytes.max(share);
        let is_time = self.wanted || self.ticks >= self.policy.ticks || has_grown;
        self.pause = self.pause.saturating_sub(1);
        let is_busy = self.requested.is_some() || self.installing || self.pause > 0;
        if !is_time || is_busy || last.offset <= self.tried.offset {
            return None;
        }
        self.ticks = 0;
        self.wanted = false;
        self.requested = Some(last);
        self.requested
    }

    /// The log has rolled. Until now its bytes were reported of the file before: what was written between the request and
    /// the roll counts there, and makes no other snapshot due.
    pub(crate) fn rolled(&mut self) {
        self.log_bytes = 0;
    }

    /// Somebody needs a snapshot of at least `at`: if there is none, one is due at once.
    pub(crate) fn want(&mut self, at: Offset) {
        self.wanted |= self.newest.offset < at.max(Offset(1));
    }

    /// The log was cut from here on; true if the snapshot under way went with it. It is due again at once.
    pub(crate) fn truncated(&mut self, from: Offset) -> bool {
        let gone = self.requested.take_if(|requested| requested.offset >= from).is_some();
        if gone {
            self.ticks = self.policy.ticks;
        }
        gone
    }

    /// The log could not be rolled at `at`; true if that ends what is under way. It is due again after a pause.
    pub(crate) fn not_rolled(&mut self, at: Offset) -> bool {
        let ended = self.truncated(at);
        if ended {
            self.pause = ROLL_PAUSE_TICKS;
        }
        ended
    }

    /// A snapshot from elsewhere takes the place of whatever is under way, until it is installed.
    pub(crate) fn installing(&mut self) {
        self.requested = None;
        self.installing = true;
    }

    /// The snapshot at `position` is there.
    pub(crate) fn taken(&mut self, position: Position) {
        self.newest = self.newest.max(position);
        self.tried(position);
    }

    /// The snapshot at `position` will not be there; the next one is taken in its turn, or after a pause if somebody needs
    /// one.
    pub(crate) fn failed(&mut self, position: Position) {
        self.pause = ROLL_PAUSE_TICKS;
        self.tried(position);
    }

    fn tried(&mut self, position: Position) {
        self.requested.take_if(|requested| *requested == position);
        self.tried = self.tried.max(position);
    }

    /// A snapshot from elsewhere is installed.
    pub(crate) fn installed(&mut self, position: Position) {
        self.requested = None;
        self.installing = false;
        self.ticks = 0;
        self.log_bytes = 0;
        (self.newest, self.tried) = (position, position);
    }

    /// The one under way.
    pub(crate) fn under_way(&self) -> Option<Position> {
        self.requested
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
        schedule.rolled();
        schedule.grew(5_000);
        assert_eq!(schedule.due(Position::new(1, 9)), None, "one is under way");
        schedule.taken(Position::new(1, 5));
        assert_eq!(schedule.due(Position::new(1, 5)), None, "nothing new");
        assert_eq!(schedule.due(Position::new(1, 9)), Some(Position::new(1, 9)));
        schedule.rolled();
        schedule.taken(Position::new(1, 9));
        let requested = (0..20).filter_map(|_| schedule.due(Position::new(1, 10))).collect::<Vec<_>>();
        assert_eq!(requested, [Position::new(1, 10)], "after ten ticks");
    }

    #[test]
    fn bytes_that_were_written_between_a_request_and_its_roll_make_no_second_snapshot_due() {
        let mut schedule = Schedule::new(POLICY, Position::ZERO);
        schedule.grew(1_000);
        assert!(schedule.due(Position::new(1, 5)).is_some());
        schedule.grew(1_500);
        schedule.rolled();
        schedule.taken(Position::new(1, 5));
        assert_eq!(schedule.due(Position::new(1, 6)), None, "the new file holds one entry");
        schedule.grew(1_000);
        assert_eq!(schedule.due(Position::new(1, 9)), Some(Position::new(1, 9)));
    }

    #[test]
    fn one_that_somebody_needs_is_due_at_once() {
        let mut schedule = Schedule::new(POLICY, Position::new(1, 5));
        schedule.want(Offset(5));
        assert_eq!(schedule.due(Position::new(1, 9)), None, "there is one");
        schedule.want(Offset(6));
        assert_eq!(schedule.due(Position::new(1, 9)), Some(Position::new(1, 9)));
        schedule.taken(Position::new(1, 9));
        assert_eq!(schedule.due(Position::new(1, 10)), None, "one was enough");
    }

    #[test]
    fn a_replica_in_need_of_a_snapshot_gets_one_after_one_has_failed() {
        let mut schedule = Schedule::new(Policy { ticks: u64::MAX, ..POLICY }, Position::ZERO);
        schedule.grew(1_000);
        assert!(schedule.due(Position::new(1, 5)).is_some());
        schedule.failed(Position::new(1, 5));
        schedule.want(Offset(0));
        let waited = (1..1_000).find(|_| schedule.due(Position::new(1, 6)).is_some());
        assert_eq!(waited, Some(ROLL_PAUSE_TICKS), "there is none, whatever was tried");
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

    #[test]
    fn one_that_could_not_be_rolled_waits_and_none_is_taken_while_another_is_installed() {
        let mut schedule = Schedule::new(POLICY, Position::ZERO);
        schedule.grew(1_000);
        assert!(schedule.due(Position::new(1, 9)).is_some());
        assert!(schedule.not_rolled(Offset(9)));
        let waited = (1..).find(|_| schedule.due(Position::new(1, 9)).is_some());
        assert_eq!(waited, Some(ROLL_PAUSE_TICKS));
        schedule.installing();
        schedule.grew(1_000);
        assert_eq!(schedule.due(Position::new(1, 12)), None);
        schedule.installed(Position::new(1, 50));
        schedule.grew(1_000);
        assert!(schedule.due(Position::new(1, 51)).is_some());
    }

    #[test]
    fn a_large_state_is_written_the_less_often_and_in_time_all_the_same() {
        let mut schedule = Schedule::new(POLICY, Position::ZERO);
        schedule.measured(STATE_BYTES_SMALL);
        schedule.grew(1_000);
        assert!(schedule.due(Position::new(1, 4)).is_some(), "a small one");
        schedule.rolled();
        schedule.taken(Position::new(1, 4));
        schedule.measured(STATE_BYTES_SMALL + 8_000);
        schedule.grew(1_999);
        assert_eq!(schedule.due(Position::new(1, 5)), None);
        schedule.grew(2_000);
        assert!(schedule.due(Position::new(1, 5)).is_some());
        schedule.rolled();
        schedule.taken(Position::new(1, 5));
        let by_ticks = (0..POLICY.ticks).find_map(|_| schedule.due(Position::new(1, 6)));
        assert_eq!(by_ticks, Some(Position::new(1, 6)));
    }
}
