//! Death at every fail point (feature `failpoints`). A replica goes through everything it does with files; the machine
//! dies at each fail point of the table, at its first and at later passings, as a kill and as power losses. Everything
//! promised by then (entries synced, ballots, snapshots with a name) is there afterwards, and it can go on.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::fault::FAIL_POINTS;
use crate::sim::SimDisk;
use crate::{
    IncomingSnapshot, Offered, Quarantine, SnapshotInfo, SnapshotReader, SnapshotWriter, retention,
    verify_log, verify_snapshots,
};

/// The position of the snapshot that is fetched: beyond the log.
const FETCHED: Position = Position::new(2, 70);
/// Passings of one fail point at which the machine dies.
const PASSINGS: u64 = 3;
const POWER_LOSSES: u64 = 3;

/// What a replica has promised, and what it is about to change.
#[derive(Default)]
struct Promises {
    /// The bootstrap returned.
    exists: bool,
    /// Entries that were synced.
    entries: Vec<Entry<Bytes>>,
    /// Entries from here on are being truncated.
    cutting: Option<Offset>,
    /// Log files that hold nothing after this offset may be gone.
    removing: Offset,
    /// The epoch of the ballot that was saved.
    ballot: u64,
    /// Snapshots that have their names, and are not being removed.
    snapshots: Vec<u64>,
    /// The table is known to be wrong, or right again; `None`: that is changing.
    quarantined: Option<bool>,
    /// The log is being thrown away for the fetched snapshot.
    resetting: bool,
    /// It was.
    reset: bool,
}

fn write_snapshot(disk: &SimDisk, number: u64, position: Position) -> Result<(), Error> {
    let meta = crate::read_meta(disk)?.unwrap();
    let info = SnapshotInfo { number, position, log_time_ms: 0, state_machine_version: 1 };
    let mut writer = SnapshotWriter::create(disk.clone(), &meta, info)?;
    writer.write(&[7; 3000])?;
    writer.finish().map(|_| ())
}

/// One life that goes through everything, up to where the machine dies.
fn live(disk: &SimDisk, fetched: &Bytes, done: &mut Promises) -> Result<(), Error> {
    bootstrap(disk, &identity(), INCARNATION, &boot("b1"), &membership())?;
    (done.exists, done.entries) = (true, vec![first()]);
    disk.put("log.9.part", b"left over");
    let (mut log, _) = try_open(disk.clone(), "b1")?;
    for offset in 2..7 {
        let new = [entry(1, offset, 900)];
        log.append(&new, Offset(1))?;
        log.sync()?;
        done.entries.extend(new);
        log.roll(Offset(offset))?;
        write_snapshot(disk, offset - 1, log.last())?;
        done.snapshots.push(offset - 1);
    }
    for cut in [6, 4] {
        done.cutting = Some(Offset(cut));
        log.truncate(Offset(cut), Offset(1))?;
        done.entries.truncate(cut as usize - 1);
        done.cutting = None;
    }
    log.save_ballot(Ballot { epoch: Epoch(2), voted_for: Some(NodeId(1)) })?;
    done.ballot = 2;
    log.append(&[entry(2, 4, 5000)], Offset(3))?;
    log.sync()?;
    done.entries.push(entry(2, 4, 5000));
    done.snapshots.retain(|number| *number != 5);
    retention::remove_snapshot(disk, 5)?;
    done.removing = Offset(2);
    log.remove_before(1)?;
    fetch(disk, &log, fetched, false)?;
    done.quarantined = None;
    log.save_quarantine(Quarantine::default())?;
    done.quarantined = Some(true);
    let newest = adopt(disk, &log, done)?;
    retention::remove_snapshots_before(disk, newest)?;
    done.quarantined = None;
    log.clear_quarantine()?;
    done.quarantined = Some(false);
    let installed = fetch(disk, &log, fetched, true)?;
    done.snapshots.push(installed);
    done.resetting = true;
    log.reset(installed, FETCHED, 0)?;
    done.reset = true;
    Ok(())
}

/// Takes over a snapshot of a position that the log has.
fn adopt(disk: &SimDisk, log: &Log<SimDisk>, done: &mut Promises) -> Result<u64, Error> {
    let source = SimDisk::new();
    make(&source);
    write_snapshot(&source, 2, Position::new(1, 3))?;
    let bytes = source.content("snap.2").unwrap();
    let offered = Offered { number: 2, position: Position::new(1, 3), bytes: bytes.len() as u64 };
    let mut incoming = IncomingSnapshot::begin(disk.clone(), log.meta(), offered)?;
    incoming.write(0, &bytes)?;
    let newest = log.files().last().unwrap().number;
    done.snapshots.clear();
    let verified = incoming.verified()?;
    incoming.adopt(verified, newest)?;
    done.snapshots.push(newest);
    Ok(newest)
}

/// Fetches a snapshot, or gives the transfer up.
fn fetch(disk: &SimDisk, log: &Log<SimDisk>, bytes: &Bytes, whole: bool) -> Result<u64, Error> {
    let offered = Offered { number: 1, position: FETCHED, bytes: bytes.len() as u64 };
    let mut incoming = IncomingSnapshot::begin(disk.clone(), log.meta(), offered)?;
    incoming.write(0, &bytes[..600])?;
    if !whole {
        incoming.discard()?;
        return Ok(0);
    }
    incoming.write(600, &bytes[600..])?;
    let newest = log.files().last().unwrap().number;
    Ok(incoming.finish(newest)?.info.number)
}

/// Opens the folder again and holds the replica to what it had promised.
fn check(disk: &SimDisk, boot_id: &str, promised: &Promises, at: &str) {
    let (mut log, found) = match try_open(disk.clone(), boot_id) {
        Err(Error::BootstrapInterrupted | Error::NotBootstrapped) if !promised.exists => {
            make(disk);
            open(disk.clone(), boot_id)
        }
        opened => opened.unwrap_or_else(|error| panic!("{at}: {error}")),
    };
    assert!(found.ballot.epoch.0 >= promised.ballot, "{at}: vote-stays");
    assert!(
        promised.quarantined.is_none_or(|quarantined| found.quarantine.is_some() == quarantined),
        "{at}: a quarantine stays"
    );
    assert!(found.unreadable_snapshots.is_empty(), "{at}");
    for number in &promised.snapshots {
        SnapshotReader::open(disk, log.meta(), *number).unwrap_or_else(|error| panic!("{at}: {error}"));
    }
    if log.last() == FETCHED {
        assert!(promised.resetting, "{at}");
    } else {
        assert!(!promised.reset, "{at}: durable-stays");
        let there = all(&log);
        let base = log.reader().base();
        assert!(base <= promised.removing, "{at}: only what was to go is gone");
        for entry in &promised.entries {
            let offset = entry.position.offset;
            let may_be_gone = offset <= base || promised.cutting.is_some_and(|cut| offset >= cut);
            assert!(may_be_gone || there.contains(entry), "{at}: durable-stays, {}", entry.position);
        }
    }
    // It can go on, and a look at all of it finds nothing wrong.
    log.save_ballot(ballot(9)).unwrap();
    let position = Position::new(9, log.last().offset.0 + 1);
    append(&mut log, &[Entry { position, ..entry(9, 1, 50) }]);
    log.sync().unwrap();
    log.roll(log.last().offset).unwrap();
    assert_eq!(verify_log(disk).unwrap().damage().count(), 0, "{at}");
    assert!(verify_snapshots(disk).unwrap().iter().all(|report| report.damage.is_none()), "{at}");
    let leftovers = disk.list().unwrap();
    assert!(!leftovers.iter().any(|name| name.ends_with(".part")), "{at}: {leftovers:?}");
}

/// Lives until passing `passing` of the fail point `name`; false if it is not passed so often.
fn die_at(name: &'static str, passing: u64, power_loss: Option<u64>, fetched: &Bytes) -> bool {
    let disk = SimDisk::new();
    let me = std::thread::current().id();
    let passed = Arc::new(AtomicU64::new(0));
    let (machine, count) = (disk.clone(), Arc::clone(&passed));
    // Other tests run beside this one and pass the same points.
    let on_pass = move || {
        if std::thread::current().id() == me && count.fetch_add(1, Ordering::Relaxed) == passing {
            machine.die_at(0, power_loss.unwrap_or(0));
        }
    };
    fail::cfg_callback(name, on_pass).unwrap();
    let mut promised = Promises { quarantined: Some(false), ..Promises::default() };
    let ended = live(&disk, fetched, &mut promised);
    fail::remove(name);
    if passed.load(Ordering::Relaxed) <= passing {
        ended.unwrap();
        return false;
    }
    let at = format!("{name}, passing {passing}, power loss {power_loss:?}");
    assert!(ended.is_err() || promised.reset, "{at}: it went on");
    match power_loss {
        Some(seed) => disk.crash(seed),
        None => disk.kill(),
    }
    check(&disk, if power_loss.is_some() { "b2" } else { "b1" }, &promised, &at);
    true
}

#[test]
fn a_crash_at_every_fail_point_loses_nothing_that_was_promised() {
    let (source, mut log) = fresh();
    log.save_ballot(ballot(2)).unwrap();
    write_snapshot(&source, 1, FETCHED).unwrap();
    let fetched = Bytes::from(source.content("snap.1").unwrap());
    for name in FAIL_POINTS {
        for passing in 0..PASSINGS {
            let power_losses = (0..POWER_LOSSES).map(Some).chain([None]);
            let passed = power_losses.filter(|seed| die_at(name, passing, *seed, &fetched)).count();
            assert!(passing > 0 || passed > 0, "{name} was never passed");
            if passed == 0 {
                break;
            }
        }
    }
}
