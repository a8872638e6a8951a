//! A log's behaviour, by the same functions on the real and on the simulated disk.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::*;
use crate::disk::DiskFile;
use crate::sim::Operation;
use crate::{LogLine, RealDisk, describe_log, join, plant, read_meta};

/// Runs a test on a simulated disk and in a folder of the operating system.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod simulated {
            $(#[test] fn $name() { super::$name(crate::sim::SimDisk::new()); })*
        }
        mod real {
            $(#[test] fn $name() {
                let folder = tempfile::tempdir().unwrap();
                let disk = crate::RealDisk::open(folder.path().join("groups/7")).unwrap();
                super::$name(std::sync::Arc::new(disk));
            })*
        }
    };
}

on_both!(
    a_restart_finds_what_was_appended,
    files_roll_and_go,
    truncation_over_files_cuts_batches,
    reset_begins_anew,
    what_makes_no_sense_is_refused,
    readers_read_while_the_writer_appends,
    a_planted_conflict_is_well_formed,
    lost_files_ask_for_a_new_member,
    a_learner_joins_with_an_empty_log,
    the_ballot_never_goes_back,
);

fn a_restart_finds_what_was_appended<D: Disk + Clone>(disk: D) {
    make(&disk);
    let (mut log, found) = open(disk.clone(), "b1");
    assert_eq!((found.history.last(), found.maybe_lost_tail), (Position::new(1, 1), false));
    assert_eq!(found.memberships, [(Offset(1), membership())]);
    let entries = [entry(1, 2, 100), entry(1, 3, 0), entry(1, 4, 5000)];
    append(&mut log, &entries[..2]);
    log.append(&entries[2..], Offset(3)).unwrap();
    log.sync().unwrap();
    assert_eq!((log.durable(), log.commit_mark()), (Offset(4), Offset(3)));
    drop(log);
    let (log, found) = open(disk, "b2");
    assert_eq!(all(&log), [&[first()][..], &entries].concat());
    assert_eq!((found.commit_mark, found.last_log_time_ms, found.cut), (Offset(3), 40, None));
    assert!(
        !log.maybe_lost_tail(),
        "nothing was cut, so a restart of the machine is no reason for suspicion"
    );
}

fn files_roll_and_go<D: Disk + Clone>(disk: D) {
    make(&disk);
    let (mut log, _) = open(disk.clone(), "b1");
    for number in 1..=4 {
        append(&mut log, &[entry(1, number + 1, 300)]);
        assert_eq!(log.roll(Offset(number + 1)).unwrap(), number);
        assert!(log.roll(Offset(number + 1)).is_err(), "a file without entries is not rolled");
    }
    append(&mut log, &[entry(1, 6, 10)]);
    assert!(log.roll(Offset(5)).is_err());
    assert_eq!(all(&log).len(), 6);
    log.remove_before(3).unwrap();
    assert_eq!(log.files().iter().map(|f| (f.number, f.base.0)).collect::<Vec<_>>(), [(3, 4), (4, 5)]);
    assert!(matches!(log.reader().read(Offset(4), 1, 1), Err(Error::Purged { base: Offset(4), .. })));
    drop(log);
    let (log, found) = open(disk, "b1");
    assert_eq!(found.history.base(), Position::new(1, 4));
    assert_eq!(all(&log), [entry(1, 5, 300), entry(1, 6, 10)]);
    assert_eq!(found.logs.iter().map(|f| f.number).collect::<Vec<_>>(), [3, 4]);
}

fn truncation_over_files_cuts_batches<D: Disk + Clone>(disk: D) {
    make(&disk);
    let (mut log, _) = open(disk.clone(), "b1");
    append(&mut log, &[entry(1, 2, 50), entry(1, 3, 60), entry(1, 4, 70)]);
    log.roll(Offset(4)).unwrap();
    append(&mut log, &[entry(1, 5, 80)]);
    log.roll(Offset(5)).unwrap();
    append(&mut log, &[entry(1, 6, 90)]);
    let old_reader = log.reader();
    assert!(matches!(log.truncate(Offset(2), Offset(2)), Err(Error::Committed { committed: Offset(2), .. })));
    log.truncate(Offset(6), Offset(1)).unwrap();
    assert_eq!(log.files().len(), 3, "the file that begins at the cut stays, empty");
    log.truncate(Offset(4), Offset(2)).unwrap();
    assert_eq!(all(&log), [first(), entry(1, 2, 50), entry(1, 3, 60)]);
    assert!(matches!(old_reader.read(Offset(4), 9, 9999), Err(Error::Beyond { last: Offset(3), .. })));
    log.save_ballot(ballot(5)).unwrap();
    append(&mut log, &[entry(5, 4, 1)]);
    log.sync().unwrap();
    let expected = all(&log);
    drop(log);
    let (mut log, found) = open(disk, "b1");
    assert_eq!(all(&log), expected);
    assert_eq!(found.history.first_of(Epoch(5)), Some(Offset(4)));
    assert_eq!(log.roll(Offset(4)).unwrap(), 1, "the number is free again");
}

fn reset_begins_anew<D: Disk + Clone>(disk: D) {
    make(&disk);
    let (mut log, _) = open(disk.clone(), "b1");
    append(&mut log, &[entry(1, 2, 50)]);
    log.roll(Offset(2)).unwrap();
    assert!(log.reset(1, Position::new(1, 90), 5).is_err(), "numbers only rise");
    assert!(log.reset(9, Position::new(4, 90), 5).is_err(), "the ballot was not saved");
    log.save_ballot(ballot(4)).unwrap();
    log.reset(9, Position::new(4, 90), 777).unwrap();
    assert_eq!((log.last(), log.reader().base()), (Position::new(4, 90), Offset(90)));
    drop(log);
    let (mut log, found) = open(disk.clone(), "b1");
    assert_eq!((found.history.base(), found.last_log_time_ms), (Position::new(4, 90), 777));
    append(&mut log, &[entry(4, 91, 8)]);
    log.sync().unwrap();
    drop(log);
    let (log, _) = open(disk.clone(), "b1");
    assert_eq!(all(&log), [entry(4, 91, 8)]);
    assert!(!disk.exists("log.0").unwrap() && !disk.exists("log.1").unwrap());
}

fn what_makes_no_sense_is_refused<D: Disk + Clone>(disk: D) {
    assert!(matches!(try_open(disk.clone(), "b1"), Err(Error::NotBootstrapped)));
    make(&disk);
    let again = bootstrap(&disk, &identity(), INCARNATION, &boot("b1"), &membership());
    assert!(matches!(again, Err(Error::NotEmpty { .. })));
    let refused = |change: &dyn Fn(&mut Identity)| {
        let mut other = identity();
        change(&mut other);
        Log::open(disk.clone(), &other, &boot("b1"), OPTIONS).unwrap_err().to_string()
    };
    assert!(refused(&|i| i.cluster = ClusterId::new(b"fair").unwrap()).contains("another cluster"));
    assert!(refused(&|i| i.group = GroupId(8)).contains("it says 7, expected 8"));
    assert!(refused(&|i| i.node = NodeId(4)).contains("another node"));
    assert!(refused(&|i| i.state_machine_version = 0).contains("newer program"));
    let (mut log, _) = open(disk.clone(), "b1");
    for bad in [
        vec![],
        vec![entry(1, 3, 1)],
        vec![entry(0, 2, 1)],
        vec![entry(2, 2, 1)],
        vec![entry(1, 2, 1), entry(1, 4, 1)],
        vec![entry(1, 2, (1 << 20) + 1)],
        (2..12).map(|offset| entry(1, offset, 1 << 20)).collect(),
    ] {
        let error = log.append(&bad, Offset::ZERO).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)) && !error.is_fatal(), "{error}");
    }
    let (largest, eight) = (entry(1, 2, 1 << 20), (3..10).map(|offset| entry(1, offset, 1 << 20)));
    append(&mut log, &[largest]);
    append(&mut log, &eight.collect::<Vec<_>>());
    assert!(ClusterId::new(&[b'x'; 65]).is_err() && ClusterId::new(b"").is_err());
}

fn readers_read_while_the_writer_appends<D: Disk + Clone>(disk: D) {
    make(&disk);
    let (mut log, _) = open(disk, "b1");
    let reader = log.reader();
    let reading = std::thread::spawn(move || {
        let (mut next, mut waits) = (1, 0_u64);
        while next <= 400 {
            match reader.read(Offset(next), 7, 2000) {
                Ok(found) => {
                    assert!((1..=7).contains(&found.len()));
                    for one in found {
                        let wanted = if next == 1 { first() } else { entry(1, next, next as usize % 97) };
                        assert_eq!(one, wanted);
                        next += 1;
                    }
                }
                Err(Error::Beyond { .. }) => {
                    waits += 1;
                    assert!(waits < 100_000_000, "the writer stopped");
                    std::thread::yield_now();
                }
                Err(other) => panic!("{other}"),
            }
        }
    });
    let mut next = 2;
    while next <= 400 {
        let until = (next + next % 5 + 1).min(401);
        let batch: Vec<_> = (next..until).map(|offset| entry(1, offset, offset as usize % 97)).collect();
        append(&mut log, &batch);
        if next % 3 == 0 {
            log.roll(log.last().offset).unwrap();
        }
        next = until;
    }
    reading.join().unwrap();
    assert_eq!(log.reader().read(Offset(5), usize::MAX, 0).unwrap().len(), 1, "never none");
    assert_eq!(log.reader().read(Offset(5), 0, usize::MAX).unwrap().len(), 1);
    assert_eq!(log.reader().read(Offset(5), usize::MAX, 1 << 30).unwrap().len(), 396);
}

fn lines<D: Disk>(disk: &D, number: u64) -> Vec<LogLine> {
    let mut lines = Vec::new();
    describe_log(disk, number, &mut |line| {
        lines.push(line);
        true
    })
    .unwrap();
    lines
}

fn a_planted_conflict_is_well_formed<D: Disk + Clone>(disk: D) {
    make(&disk);
    let (mut log, _) = open(disk.clone(), "b1");
    append(&mut log, &[entry(1, 2, 5), entry(1, 3, 5)]);
    log.append(&[entry(1, 4, 5)], Offset(3)).unwrap();
    log.sync().unwrap();
    drop(log);
    let planting =
        |entries: &[Entry<Bytes>], force| plant(disk.clone(), &boot("b1"), entries, Offset(1), force);
    assert!(matches!(planting(&[entry(1, 3, 9)], false), Err(Error::Committed { committed: Offset(3), .. })));
    assert!(matches!(planting(&[entry(2, 5, 9)], false), Err(Error::Invalid(_))), "above the ballot");
    assert!(matches!(planting(&[entry(1, 6, 9)], false), Err(Error::Beyond { .. })));
    assert!(matches!(planting(&[], false), Err(Error::Invalid(_))));
    let planted = planting(&[entry(1, 4, 9), entry(1, 5, 9)], false).unwrap();
    assert_eq!((planted.first, planted.last, planted.cut), (Offset(4), Offset(5), 1));
    let told = lines(&disk, 0);
    assert!(matches!(told[0], LogLine::File { .. }));
    assert!(matches!(told.last(), Some(LogLine::End { .. })));
    let batches = told.iter().filter(|line| matches!(line, LogLine::Batch { .. })).count();
    assert_eq!((batches, told.iter().filter(|line| matches!(line, LogLine::Entry(_))).count()), (3, 5));
    assert!(told.contains(&LogLine::Entry(entry(1, 5, 9))));
    planting(&[entry(1, 2, 1)], true).unwrap();
    let (log, _) = open(disk, "b1");
    assert_eq!(all(&log), [first(), entry(1, 2, 1)]);
}

fn lost_files_ask_for_a_new_member<D: Disk + Clone>(disk: D) {
    make(&disk);
    let (mut log, _) = open(disk.clone(), "b1");
    for offset in 2..4 {
        append(&mut log, &[entry(1, offset, 5)]);
        log.roll(Offset(offset)).unwrap();
    }
    drop(log);
    for name in ["vote", "meta", "log.1"] {
        disk.rename(name, "elsewhere").unwrap();
        let error = try_open(disk.clone(), "b1").unwrap_err();
        assert!(matches!(error, Error::NewMemberNeeded { .. }), "{name}: {error}");
        assert!(error.to_string().contains("as a new member (feira member replace NODE)"));
        disk.rename("elsewhere", name).unwrap();
    }
    disk.remove("boot").unwrap();
    let (mut log, found) = open(disk.clone(), "b1");
    assert!(found.maybe_lost_tail, "nobody knows whether it had lost its tail");
    log.clear_lost_tail().unwrap();
    drop(log);
    assert!(!open(disk.clone(), "b1").1.maybe_lost_tail);
    for number in 0..3 {
        disk.remove(&format!("log.{number}")).unwrap();
    }
    assert!(matches!(try_open(disk, "b1"), Err(Error::NewMemberNeeded { .. })));
}

fn a_learner_joins_with_an_empty_log<D: Disk + Clone>(disk: D) {
    join(&disk, &identity(), INCARNATION, &boot("b1")).unwrap();
    assert_eq!(read_meta(&disk).unwrap().unwrap().member.incarnation, INCARNATION);
    let (mut log, found) = open(disk, "b1");
    assert_eq!((found.history.last(), found.ballot), (Position::ZERO, ballot(0)));
    assert!(log.append(&[first()], Offset::ZERO).is_err(), "the epoch first");
    log.save_ballot(ballot(1)).unwrap();
    append(&mut log, &[first()]);
    assert_eq!(all(&log), [first()]);
}

fn the_ballot_never_goes_back<D: Disk + Clone>(disk: D) {
    make(&disk);
    let (mut log, _) = open(disk.clone(), "b1");
    let vote = |epoch, node: u64| Ballot { epoch: Epoch(epoch), voted_for: Some(NodeId(node)) };
    log.save_ballot(ballot(3)).unwrap();
    log.save_ballot(vote(3, 2)).unwrap();
    for bad in [vote(2, 2), vote(3, 1), ballot(3)] {
        assert!(matches!(log.save_ballot(bad), Err(Error::Invalid(_))), "{bad:?}");
    }
    log.save_ballot(vote(3, 2)).unwrap();
    drop(log);
    assert_eq!(open(disk, "b1").1.ballot, vote(3, 2));
}

#[test]
fn a_folder_is_opened_once_and_peeked_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(folder.path()).unwrap());
    make(&disk);
    let (log, _) = open(Arc::clone(&disk), "b1");
    assert!(matches!(RealDisk::open(folder.path()), Err(Error::InUse { .. })));
    let peek = RealDisk::peek(folder.path()).unwrap();
    assert_eq!(lines(&peek, 0).len(), 4);
    assert_eq!(peek.remove("log.0").unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    assert!(
        peek.open("log.9", true).is_err() && peek.open("log.0", false).unwrap().write_at(0, b"x").is_err()
    );
    assert!(peek.free_bytes().unwrap() > 0 && !crate::boot_id().unwrap().as_bytes().is_empty());
    drop((log, disk));
    RealDisk::open(folder.path()).unwrap();
}

#[test]
fn after_a_failed_sync_nothing_more_is_written() {
    let (disk, mut log) = fresh();
    append(&mut log, &[entry(1, 2, 10)]);
    disk.fail(Operation::Sync, 0, 5);
    let error = log.sync().unwrap_err();
    assert!(error.is_fatal() && error.may_have_happened() && matches!(error, Error::Sync { .. }), "{error}");
    assert!(matches!(log.append(&[entry(1, 3, 1)], Offset::ZERO), Err(Error::Poisoned)));
    assert!(matches!(log.sync(), Err(Error::Poisoned)));
    assert!(matches!(log.save_ballot(ballot(2)), Err(Error::Poisoned)));
    assert!(matches!(log.truncate(Offset(2), Offset(1)), Err(Error::Poisoned)));
    assert!(matches!(log.roll(Offset(2)), Err(Error::Poisoned)));
}

#[test]
fn a_full_disk_refuses_and_harms_nothing() {
    let (disk, mut log) = fresh();
    let used = disk.content("log.0").unwrap().len() as u64;
    disk.set_capacity(Some(used + 1024));
    let error = log.append(&[entry(1, 2, 4000)], Offset::ZERO).unwrap_err();
    assert!(matches!(error, Error::Full { .. }) && !error.is_fatal() && error.may_retry(), "{error}");
    append(&mut log, &[entry(1, 2, 100)]);
    assert!(matches!(log.roll(Offset(2)), Err(Error::Full { .. })));
    disk.set_capacity(None);
    append(&mut log, &[entry(1, 3, 4000)]);
    assert_eq!(log.roll(Offset(3)).unwrap(), 1);
    assert_eq!(all(&log), [first(), entry(1, 2, 100), entry(1, 3, 4000)]);
}

#[test]
fn a_write_that_fails_half_way_is_fatal() {
    let (disk, mut log) = fresh();
    disk.fail(Operation::Write, 0, 5);
    let error = log.append(&[entry(1, 2, 100)], Offset::ZERO).unwrap_err();
    assert!(matches!(error, Error::HalfDone { .. }) && error.is_fatal(), "{error}");
    assert!(matches!(log.sync(), Err(Error::Poisoned)));
}
