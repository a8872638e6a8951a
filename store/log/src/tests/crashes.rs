//! Death at every single step of every call that changes files, as a kill and as power losses: the log found
//! afterwards is the one before or the one after, or (truncation) a prefix between them.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::{IncomingSnapshot, Offered, SnapshotInfo, SnapshotReader, SnapshotWriter};

type Check<'a> = &'a dyn Fn(&SimDisk, &Log<SimDisk>, &Recovered, bool);
type Act = fn(&SimDisk, &mut Log<SimDisk>) -> Result<(), Error>;

/// Three files, synced: entries 1 to 3, 4 and 5, 6.
fn prepared() -> (SimDisk, Log<SimDisk>) {
    let (disk, mut log) = fresh();
    append(&mut log, &[entry(1, 2, 40), entry(1, 3, 2500)]);
    log.roll(Offset(3)).unwrap();
    append(&mut log, &[entry(1, 4, 40), entry(1, 5, 40)]);
    log.roll(Offset(5)).unwrap();
    append(&mut log, &[entry(1, 6, 40)]);
    log.sync().unwrap();
    (disk, log)
}

/// Lets the machine die at each operation of `act`, restarts it by a kill and by power losses, and checks.
fn die_everywhere(act: Act, check: Check<'_>) {
    let mut step = 0;
    loop {
        let mut finished = false;
        for seed in 0..6 {
            let (disk, mut log) = prepared();
            disk.die_at(step, seed);
            finished = act(&disk, &mut log).is_ok();
            drop(log);
            let power_lost = seed > 0;
            if power_lost {
                disk.crash(seed);
            } else {
                disk.kill();
            }
            let (log, found) = open(disk.clone(), if power_lost { "b2" } else { "b1" });
            check(&disk, &log, &found, finished);
            assert!(
                !found.maybe_lost_tail,
                "everything that was cut had never been synced or was cut on purpose"
            );
            let leftovers: Vec<_> =
                disk.list().unwrap().into_iter().filter(|n| n.ends_with(".part")).collect();
            assert_eq!(leftovers, [""; 0], "unfinished writes are removed");
        }
        if finished {
            assert!(step > 3, "the call has steps");
            return;
        }
        step += 1;
        assert!(step < 200, "the call ends");
    }
}

fn last_of(log: &Log<SimDisk>) -> u64 {
    assert_eq!(all(log).last().map_or(log.reader().base(), |e| e.position.offset), log.last().offset);
    log.last().offset.0
}

#[test]
fn truncation_over_two_files() {
    die_everywhere(|_, log| log.truncate(Offset(3), Offset(1)), &|_, log, _, finished| {
        let last = last_of(log);
        assert!([2, 3, 5, 6].contains(&last) && (!finished || last == 2), "{last}");
        let wanted =
            [first(), entry(1, 2, 40), entry(1, 3, 2500), entry(1, 4, 40), entry(1, 5, 40), entry(1, 6, 40)];
        assert_eq!(all(log), wanted[..last as usize]);
    });
}

#[test]
fn rolling() {
    die_everywhere(|_, log| log.roll(Offset(6)).map(|_| ()), &|_, log, _, finished| {
        assert_eq!(last_of(log), 6);
        assert!([3, 4].contains(&log.files().len()) && (!finished || log.files().len() == 4));
    });
}

#[test]
fn removing_old_files() {
    die_everywhere(|_, log| log.remove_before(2), &|_, log, _, finished| {
        assert_eq!(last_of(log), 6);
        let base = log.reader().base().0;
        assert!([0, 3, 5].contains(&base) && (!finished || base == 5), "{base}");
    });
}

#[test]
fn resetting() {
    die_everywhere(|_, log| log.reset(8, Position::new(1, 70), 9), &|disk, log, _, finished| {
        let last = last_of(log);
        assert!([6, 70].contains(&last) && (!finished || last == 70), "{last}");
        let old = disk.exists("log.0").unwrap() || disk.exists("log.2").unwrap();
        assert_eq!(old, last == 6, "leftovers of the old log are removed, and only then");
    });
}

#[test]
fn voting() {
    die_everywhere(
        |_, log| log.save_ballot(Ballot { epoch: Epoch(4), voted_for: Some(NodeId(1)) }),
        &|_, _, found, finished| {
            let epoch = found.ballot.epoch.0;
            assert!([1, 4].contains(&epoch) && (!finished || epoch == 4), "{epoch}");
        },
    );
}

fn info(number: u64) -> SnapshotInfo {
    SnapshotInfo { number, position: Position::new(1, 5), log_time_ms: 50, state_machine_version: 1 }
}

fn write(disk: &SimDisk, log: &Log<SimDisk>, number: u64) -> Result<(), Error> {
    let mut writer = SnapshotWriter::create(disk.clone(), log.meta(), info(number))?;
    writer.write(&[7; 3000])?;
    writer.end_block()?;
    writer.write(&[8; 10])?;
    writer.finish().map(|_| ())
}

/// A snapshot has its name only if it is whole.
fn whole_if_there(disk: &SimDisk, log: &Log<SimDisk>, found: &Recovered, number: u64, must: bool) {
    assert!(found.unreadable_snapshots.is_empty());
    let there = disk.exists(&format!("snap.{number}")).unwrap();
    assert!(there || !must);
    if there {
        let reader = SnapshotReader::open(disk, log.meta(), number).unwrap();
        let mut bytes = 0;
        reader
            .each_block(|block| -> Result<(), Error> {
                bytes += block.len();
                Ok(())
            })
            .unwrap();
        assert_eq!((bytes, found.snapshots[0].info.position), (3010, Position::new(1, 5)));
    }
}

#[test]
fn writing_a_snapshot() {
    die_everywhere(|disk, log| write(disk, log, 2), &|disk, log, found, finished| {
        whole_if_there(disk, log, found, 2, finished);
    });
}

#[test]
fn installing_a_snapshot() {
    die_everywhere(
        |disk, log| {
            let (source, source_log) = fresh();
            write(&source, &source_log, 1).unwrap();
            let bytes = source.content("snap.1").unwrap();
            let offered = Offered { number: 1, position: Position::new(1, 5), bytes: bytes.len() as u64 };
            let mut incoming = IncomingSnapshot::begin(disk.clone(), log.meta(), offered)?;
            for (i, part) in bytes.chunks(1000).enumerate() {
                incoming.write(i as u64 * 1000, part)?;
            }
            let listed = incoming.finish(2)?;
            assert_eq!(listed.info.number, 3, "above every own file");
            Ok(())
        },
        &|disk, log, found, finished| {
            whole_if_there(disk, log, found, 3, finished);
        },
    );
}

#[test]
fn bootstrapping_is_all_or_nothing_and_may_be_run_again() {
    for step in 0..60 {
        for seed in 0..6 {
            let disk = SimDisk::new();
            disk.die_at(step, seed);
            let done = bootstrap(&disk, &identity(), INCARNATION, &boot("b1"), &membership()).is_ok();
            if seed > 0 {
                disk.crash(seed);
            } else {
                disk.kill();
            }
            match try_open(disk.clone(), "b1") {
                Ok((log, _)) => assert_eq!(all(&log), [first()]),
                Err(error) => {
                    let again = matches!(error, Error::BootstrapInterrupted | Error::NotBootstrapped);
                    assert!(!done && again, "{error}");
                    make(&disk);
                    assert_eq!(all(&open(disk, "b1").0), [first()]);
                }
            }
        }
    }
}

#[test]
fn a_kill_that_is_followed_by_a_power_loss_takes_back_nothing_that_was_recovered() {
    for seed in 0..200 {
        let (disk, mut log) = prepared();
        append(&mut log, &[entry(1, 7, 2000)]);
        drop(log);
        disk.kill();
        let (log, _) = open(disk.clone(), "b1");
        assert_eq!(last_of(&log), 7, "a kill loses nothing that was written");
        drop(log);
        disk.crash(seed);
        assert_eq!(last_of(&open(disk, "b2").0), 7, "what recovery reported is durable");
    }
}

#[test]
fn what_a_failed_sync_lost_is_not_taken_for_durable() {
    for seed in 0..50 {
        let (disk, mut log) = prepared();
        append(&mut log, &[entry(1, 7, 2000)]);
        disk.fail(crate::sim::Operation::Sync, 0, 5);
        assert!(log.sync().unwrap_err().is_fatal());
        drop(log);
        disk.kill();
        let (log, _) = open(disk.clone(), "b1");
        let found = last_of(&log);
        drop(log);
        disk.crash(seed);
        assert_eq!(last_of(&open(disk, "b2").0), found, "the page cache was not believed");
    }
}
