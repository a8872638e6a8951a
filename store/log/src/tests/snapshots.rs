//! Snapshots: writing, reading, damage, transfer and resumption, numbers.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::limits::SNAPSHOT_BLOCK_BYTES_MAX;
use crate::{IncomingSnapshot, Offered, SnapshotInfo, SnapshotReader, SnapshotWriter, verify_snapshot};

const POSITION: Position = Position::new(1, 1);

/// 700 bytes that cannot be packed, by `seed`.
fn noise(seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(700).collect()
}

/// `snap.number` with `blocks` blocks of 700 bytes, on a new disk.
fn source(number: u64, blocks: u8) -> (SimDisk, Log<SimDisk>, Vec<u8>) {
    let (disk, log) = fresh();
    let info = SnapshotInfo { number, position: POSITION, log_time_ms: 5, state_machine_version: 1 };
    let mut writer = SnapshotWriter::create(disk.clone(), log.meta(), info).unwrap();
    for i in 0..blocks {
        writer.write(&noise(i)).unwrap();
        writer.end_block().unwrap();
    }
    writer.finish().unwrap();
    let bytes = disk.content(&format!("snap.{number}")).unwrap();
    (disk, log, bytes)
}

fn blocks_of(disk: &SimDisk, log: &Log<SimDisk>, number: u64) -> Vec<Bytes> {
    let mut blocks = Vec::new();
    let reader = SnapshotReader::open(disk, log.meta(), number).unwrap();
    reader
        .each_block(|block| -> Result<(), Error> {
            blocks.push(block);
            Ok(())
        })
        .unwrap();
    blocks
}

fn offered(number: u64, bytes: &[u8]) -> Offered {
    Offered { number, position: POSITION, bytes: bytes.len() as u64 }
}

#[test]
fn what_was_written_is_read_block_by_block() {
    let (disk, log, bytes) = source(1, 3);
    let blocks = blocks_of(&disk, &log, 1);
    assert_eq!(blocks, [noise(0), noise(1), noise(2)]);
    let reader = SnapshotReader::open(&disk, log.meta(), 1).unwrap();
    assert_eq!(reader.raw(0, usize::MAX).unwrap(), bytes);
    assert_eq!(
        (reader.raw(100, 50).unwrap(), reader.raw(1 << 40, 9).unwrap().len()),
        (bytes[100..150].to_vec().into(), 0)
    );
    assert!(matches!(verify_snapshot(&disk, log.meta(), 2), Err(Error::Missing { .. })));
}

#[test]
fn a_long_stream_is_split_into_full_blocks() {
    let (disk, log) = fresh();
    let info = SnapshotInfo { number: 1, position: POSITION, log_time_ms: 5, state_machine_version: 1 };
    let mut writer = SnapshotWriter::create(disk.clone(), log.meta(), info).unwrap();
    let stream: Vec<u8> = (0..SNAPSHOT_BLOCK_BYTES_MAX * 2 + 77).map(|i| (i % 251) as u8).collect();
    stream.chunks(100_000).for_each(|part| writer.write(part).unwrap());
    writer.finish().unwrap();
    let blocks = blocks_of(&disk, &log, 1);
    assert_eq!(
        blocks.iter().map(Bytes::len).collect::<Vec<_>>(),
        [SNAPSHOT_BLOCK_BYTES_MAX, SNAPSHOT_BLOCK_BYTES_MAX, 77]
    );
    assert_eq!(blocks.concat(), stream);
}

#[test]
fn an_empty_state_is_a_snapshot_too() {
    let (disk, log, bytes) = source(1, 0);
    assert_eq!((blocks_of(&disk, &log, 1).len(), bytes.len()), (0, 512 + 64));
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let (disk, log, bytes) = source(1, 2);
    for at in 0..bytes.len() {
        assert!(disk.flip_bit("snap.1", at, 2));
        let error = verify_snapshot(&disk, log.meta(), 1).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "bit flipped at {at}: {error}");
        assert!(disk.flip_bit("snap.1", at, 2));
    }
    for length in 0..bytes.len() {
        disk.put("snap.1", &bytes[..length]);
        assert!(
            matches!(verify_snapshot(&disk, log.meta(), 1), Err(Error::Damaged { .. })),
            "{length} bytes"
        );
    }
    disk.put("snap.1", &[&bytes[..], b"x"].concat());
    assert!(verify_snapshot(&disk, log.meta(), 1).is_err());
    disk.put("snap.2", &bytes);
    assert!(matches!(verify_snapshot(&disk, log.meta(), 2), Err(Error::Foreign { field: "number", .. })));
}

#[test]
fn a_damaged_snapshot_does_not_keep_a_replica_from_starting() {
    let (disk, log, _) = source(1, 2);
    drop(log);
    assert!(disk.flip_bit("snap.1", 20, 1));
    let (_, found) = open(disk, "b1");
    assert!(found.snapshots.is_empty());
    assert_eq!(found.unreadable_snapshots[0].0, "snap.1");
}

#[test]
fn a_transfer_goes_on_after_a_restart_where_it_was_whole() {
    let (_, _, bytes) = source(4, 5);
    let (disk, log) = fresh();
    let meta = log.meta().clone();
    let mut incoming = IncomingSnapshot::begin(disk.clone(), &meta, offered(4, &bytes)).unwrap();
    assert!(matches!(incoming.write(10, &bytes[10..20]), Err(Error::Gap { received: 0, .. })));
    incoming.write(0, &bytes[..2000]).unwrap();
    incoming.write(500, &bytes[500..2100]).unwrap();
    assert_eq!(incoming.received(), 2100);
    drop((incoming, log));
    disk.kill();
    let (log, found) = open(disk.clone(), "b1");
    assert_eq!(found.incoming, [4]);
    let mut incoming = IncomingSnapshot::begin(disk.clone(), &meta, offered(4, &bytes)).unwrap();
    let resumed = incoming.received();
    assert_eq!(resumed, 512 + 2 * 716, "header and two whole blocks");
    assert!(matches!(incoming.write(resumed, &bytes), Err(Error::Invalid(_))), "more than was offered");
    incoming.write(resumed, &bytes[resumed as usize..]).unwrap();
    let listed = incoming.finish(0).unwrap();
    assert_eq!(listed.info.number, 4, "the sender's number, if it is above our own");
    assert_eq!(blocks_of(&disk, &log, 4).len(), 5);
    assert!(!disk.exists("snap.4.incoming").unwrap());
}

#[test]
fn an_installed_snapshot_never_takes_a_number_in_use() {
    let (_, _, bytes) = source(2, 1);
    for (own_snapshot, log_newest, wanted) in [(1, 0, 2), (2, 0, 3), (5, 3, 6), (1, 8, 9)] {
        let (disk, mut log, _) = source(own_snapshot, 1);
        let mut incoming = IncomingSnapshot::begin(disk.clone(), log.meta(), offered(2, &bytes)).unwrap();
        incoming.write(0, &bytes).unwrap();
        let listed = incoming.finish(log_newest).unwrap();
        assert_eq!(listed.info.number, wanted);
        verify_snapshot(&disk, log.meta(), wanted).unwrap();
        log.reset(wanted, listed.info.position, listed.info.log_time_ms).unwrap();
        drop(log);
        let (_, found) = open(disk, "b1");
        assert_eq!(found.history.base(), POSITION);
    }
}

#[test]
fn a_snapshot_fetched_while_a_wrong_table_is_replaced_is_kept() {
    let (disk, log) = fresh();
    for number in [1, 2, 4, 7] {
        let info = SnapshotInfo { number, position: POSITION, log_time_ms: 5, state_machine_version: 1 };
        SnapshotWriter::create(disk.clone(), log.meta(), info).unwrap().finish().unwrap();
    }
    crate::retention::remove_snapshots_before(&disk, 4).unwrap();
    let names = disk.list().unwrap();
    let left: Vec<u64> = names.iter().filter_map(|name| crate::names::snapshot_number(name)).collect();
    assert_eq!(left, [4, 7]);
}

#[test]
fn what_was_received_wrongly_is_thrown_away() {
    let (_, _, bytes) = source(2, 1);
    let (disk, log) = fresh();
    for (change, at) in [(true, 600), (true, 3), (false, 0)] {
        let mut wrong = bytes.clone();
        wrong[at] ^= u8::from(change);
        let other = Offered { position: Position::new(1, 1 + u64::from(!change)), ..offered(2, &wrong) };
        let mut incoming = IncomingSnapshot::begin(disk.clone(), log.meta(), other).unwrap();
        incoming.write(0, &wrong).unwrap();
        let error = incoming.finish(0).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. } | Error::OtherPosition { .. }), "{error}");
        assert!(!disk.exists("snap.2.incoming").unwrap() && !disk.exists("snap.2").unwrap());
    }
    let short = IncomingSnapshot::begin(disk.clone(), log.meta(), offered(2, &bytes)).unwrap();
    assert!(matches!(short.finish(0), Err(Error::Gap { .. })));
    let huge = Offered { number: u64::MAX, ..offered(2, &bytes) };
    assert!(matches!(IncomingSnapshot::begin(disk, log.meta(), huge), Err(Error::Invalid(_))));
}

#[test]
fn a_full_disk_stops_a_snapshot_and_nothing_else() {
    let (disk, mut log) = fresh();
    let info = SnapshotInfo { number: 1, position: POSITION, log_time_ms: 5, state_machine_version: 1 };
    let mut writer = SnapshotWriter::create(disk.clone(), log.meta(), info).unwrap();
    disk.set_capacity(Some(5000));
    (0..16).for_each(|seed| writer.write(&noise(seed)).unwrap());
    assert!(matches!(writer.finish(), Err(Error::Full { .. })));
    append(&mut log, &[entry(1, 2, 10)]);
    log.sync().unwrap();
    drop(log);
    disk.set_capacity(None);
    assert!(open(disk.clone(), "b1").1.snapshots.is_empty());
    assert!(!disk.exists("snap.1.part").unwrap());
}
