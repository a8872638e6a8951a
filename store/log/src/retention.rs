//! The files that may go. The rule: the last three (configurable) snapshots and the last three log files are kept; a file
//! goes only if three newer *verified* snapshots make it needless, and never while the caller still needs it. Every
//! kept verified snapshot keeps the log from its position on. So does a snapshot that is being sent: its receiver
//! goes on with the log behind it. So does a slow replica, from its position, but never more than
//! [`FILES_FOR_PEERS`] times the files that are kept anyway: a replica that does not catch up gets a snapshot instead.

use store_core::Offset;

use crate::atomic_write;
use crate::disk::Disk;
use crate::error::Error;
use crate::fault;
use crate::limits::FILES_FOR_PEERS;
use crate::names;

/// A log file and the offset before its first entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileRange {
    /// X of `log.X`.
    pub number: u64,
    /// The offset before its first entry.
    pub base: Offset,
}

/// A snapshot, and whether its bytes were verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotState {
    /// X of `snap.X`.
    pub number: u64,
    /// The last offset in it.
    pub last: Offset,
    /// Its whole content was verified by this process.
    pub verified: bool,
}

/// What the caller still needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Floor {
    /// Entries after this offset: they are not applied yet.
    pub offset: Offset,
    /// Entries after this offset: they are to be pushed to a replica that is slow. `Offset(u64::MAX)` if none is.
    pub peers: Offset,
    /// Snapshots from this number on: they are being sent. `u64::MAX` if none is.
    pub snapshot: u64,
}

/// What may go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Log files below this number.
    pub logs_before: u64,
    /// These snapshots, oldest first.
    pub snapshots: Vec<u64>,
}

/// What may go of `logs` and `snapshots`, both in rising order, so that `kept` of each stay (at least 1).
#[must_use]
pub fn plan(kept: usize, logs: &[FileRange], snapshots: &[SnapshotState], floor: Floor) -> Plan {
    assert!(kept > 0, "a log without a snapshot behind it could not be recovered");
    let verified: Vec<u64> = snapshots.iter().filter(|s| s.verified).map(|s| s.number).collect();
    let Some(oldest_kept) = verified.len().checked_sub(kept).map(|at| verified[at]) else {
        return Plan::default();
    };
    // Where the log must go on from: what is kept, and what is being sent.
    let is_needed = |s: &&SnapshotState| s.number == oldest_kept || s.number == floor.snapshot;
    let needed = snapshots.iter().filter(is_needed).map(|s| s.last).min().unwrap_or(Offset::ZERO);
    let spare = logs.len().saturating_sub(kept);
    let mut logs_before = 0;
    for (at, pair) in logs.windows(2).take(spare).enumerate() {
        // The first file's entries end where the next one's begin.
        let is_bounded = logs.len() - at <= kept.saturating_mul(FILES_FOR_PEERS);
        let is_pushed = is_bounded && pair[1].base > floor.peers;
        if pair[1].base > needed || pair[1].base > floor.offset || is_pushed {
            break;
        }
        logs_before = pair[1].number;
    }
    let old = snapshots.iter().map(|s| s.number);
    let snapshots = old.filter(|number| *number < oldest_kept && *number < floor.snapshot).collect();
    Plan { logs_before, snapshots }
}

/// Removes every snapshot of a number below this one, readable or not, durably: they are of a wrong state.
///
/// # Errors
/// As the operating system says; fatal if the folder cannot be synced.
pub fn remove_snapshots_before<D: Disk>(disk: &D, number: u64) -> Result<(), Error> {
    let listed = disk.list().map_err(|e| Error::of("list", "the folder", e))?;
    let mut before = listed.iter().filter_map(|name| names::snapshot_number(name)).filter(|n| *n < number);
    before.try_for_each(|wrong| remove_snapshot(disk, wrong))
}

/// Removes a snapshot, durably.
///
/// # Errors
/// As the operating system says; fatal if the folder cannot be synced.
pub fn remove_snapshot<D: Disk>(disk: &D, number: u64) -> Result<(), Error> {
    fault::step("remove-snapshot", "begin");
    atomic_write::remove(disk, &names::snapshot_file(number))?;
    fault::step("remove-snapshot", "removed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(numbers: std::ops::Range<u64>) -> Vec<FileRange> {
        numbers.map(|number| FileRange { number, base: Offset(number * 10) }).collect()
    }

    fn snapshots(states: &[(u64, bool)]) -> Vec<SnapshotState> {
        states
            .iter()
            .map(|(number, verified)| SnapshotState {
                number: *number,
                last: Offset(number * 10),
                verified: *verified,
            })
            .collect()
    }

    const NONE: Floor = Floor { offset: Offset(u64::MAX), peers: Offset(u64::MAX), snapshot: u64::MAX };

    #[test]
    fn the_last_three_of_each_are_kept() {
        let all = snapshots(&[(1, true), (2, true), (3, true), (4, true), (5, true)]);
        assert_eq!(plan(3, &logs(0..6), &all, NONE), Plan { logs_before: 3, snapshots: vec![1, 2] });
        assert_eq!(plan(3, &logs(0..4), &all[..3], NONE), Plan { logs_before: 1, snapshots: vec![] });
        assert_eq!(plan(3, &logs(0..3), &all[..2], NONE), Plan::default());
        assert_eq!(plan(1, &logs(0..6), &all, NONE), Plan { logs_before: 5, snapshots: vec![1, 2, 3, 4] });
        assert_eq!(plan(5, &logs(0..6), &all, NONE), Plan { logs_before: 1, snapshots: vec![] });
    }

    #[test]
    fn snapshots_that_were_not_verified_do_not_count() {
        let some = snapshots(&[(1, true), (2, true), (3, false), (4, false), (5, true)]);
        assert_eq!(plan(3, &logs(0..6), &some, NONE), Plan { logs_before: 1, snapshots: vec![] });
        let none = snapshots(&[(1, false), (2, false), (3, false), (4, false)]);
        assert_eq!(plan(3, &logs(0..6), &none, NONE), Plan::default());
    }

    #[test]
    fn what_is_needed_stays() {
        let all = snapshots(&[(1, true), (2, true), (3, true), (4, true), (5, true)]);
        let floor = Floor { offset: Offset(19), snapshot: 2, ..NONE };
        assert_eq!(plan(3, &logs(0..6), &all, floor), Plan { logs_before: 1, snapshots: vec![1] });
    }

    #[test]
    fn a_snapshot_that_was_taken_over_keeps_the_log_behind_its_position() {
        let mut all = snapshots(&[(3, true), (4, true), (5, true)]);
        all[0].last = Offset(12);
        assert_eq!(plan(3, &logs(0..6), &all, NONE), Plan { logs_before: 1, snapshots: vec![] });
    }

    #[test]
    fn the_log_behind_a_fetched_snapshot_is_kept() {
        let all = snapshots(&[(1, true), (2, true), (3, true), (4, true), (5, true)]);
        let sending = Floor { snapshot: 2, ..NONE };
        assert_eq!(plan(3, &logs(0..6), &all, sending), Plan { logs_before: 2, snapshots: vec![1] });
    }

    #[test]
    fn a_slow_replica_keeps_the_log_that_is_being_pushed_to_it() {
        let all = snapshots(&[(1, true), (2, true), (3, true), (4, true), (5, true)]);
        let slow = Floor { peers: Offset(15), ..NONE };
        assert_eq!(plan(3, &logs(0..6), &all, slow), Plan { logs_before: 1, snapshots: vec![1, 2] });
    }

    #[test]
    fn a_replica_that_never_catches_up_keeps_a_bounded_log() {
        let all = snapshots(&[(7, true), (8, true), (9, true)]);
        let stuck = Floor { peers: Offset(0), ..NONE };
        assert_eq!(plan(3, &logs(0..10), &all, stuck), Plan { logs_before: 4, snapshots: vec![] });
        assert_eq!(plan(3, &logs(4..10), &all, stuck), Plan::default());
    }
}
