//! Verifying a folder: what is told of a whole one, and that every kind of damage is told with file and byte.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    FileEnd, LogReport, SnapshotInfo, SnapshotWriter, inspect_snapshot, snapshot_files, verify_log,
    verify_snapshots,
};

/// Three files, two epochs: entries 1 to 3, 4 and 5, 6 and 7 (in a batch that was not synced).
fn prepared() -> (SimDisk, Log<SimDisk>) {
    let (disk, mut log) = fresh();
    append(&mut log, &[entry(1, 2, 40), entry(1, 3, 400)]);
    log.roll(Offset(3)).unwrap();
    log.save_ballot(Ballot { epoch: Epoch(4), voted_for: Some(NodeId(3)) }).unwrap();
    log.append(&[entry(1, 4, 40), entry(4, 5, 40)], Offset(3)).unwrap();
    log.roll(Offset(5)).unwrap();
    log.append(&[entry(4, 6, 40)], Offset(5)).unwrap();
    log.sync().unwrap();
    append(&mut log, &[entry(4, 7, 40)]);
    (disk, log)
}

fn damage(report: &LogReport) -> Vec<String> {
    report.damage().map(ToString::to_string).collect()
}

#[test]
fn a_whole_log_is_told_file_by_file_and_nothing_is_changed() {
    let (disk, log) = prepared();
    let operations = disk.operations();
    let report = verify_log(&disk).unwrap();
    assert_eq!(disk.operations(), operations, "looking changes nothing");
    assert_eq!(damage(&report), [""; 0]);
    let files: Vec<_> =
        report.files.iter().map(|f| (&f.file[..], f.batches, f.entries, f.last.offset.0)).collect();
    assert_eq!(files, [("log.0", 2, 3, 3), ("log.1", 1, 2, 5), ("log.2", 2, 2, 7)]);
    assert!(report.files.iter().all(|file| matches!(file.end, FileEnd::Whole)));
    assert_eq!(report.history.last(), Position::new(4, 7));
    let runs: Vec<_> =
        report.history.runs_from(Offset(1)).map(|r| (r.epoch.0, r.first.0, r.last.0)).collect();
    assert_eq!(runs, [(1, 1, 4), (4, 5, 7)]);
    assert_eq!((report.commit_mark, report.durable_mark), (Offset(5), Offset(6)));
    assert_eq!(report.ballot, Some(log.ballot()));
    assert_eq!(report.meta, *log.meta());
    let whole = report.files[2].whole_bytes;
    assert!(whole == log.current_file_bytes() && report.files[2].bytes > whole, "zeros follow");
}

#[test]
fn a_flipped_bit_anywhere_is_told_with_its_file_and_a_byte_not_behind_it() {
    let (disk, log) = prepared();
    drop(log);
    for (name, later) in [("log.0", 2), ("log.1", 1), ("log.2", 0)] {
        for at in 0..disk.content(name).unwrap().len() {
            assert!(disk.flip_bit(name, at, 1));
            let report = verify_log(&disk).unwrap();
            let found = report.damage().next();
            match found {
                Some(Error::Damaged { file, at: told, .. }) => {
                    assert!(file == name && *told <= at as u64, "{name} {at}: {file} {told}");
                }
                Some(Error::Foreign { file, .. } | Error::Version { file, .. }) => assert_eq!(file, name),
                other => panic!("{name} {at}: {other:?}"),
            }
            assert_eq!(report.files.len(), 3, "the {later} files after it are told too");
            assert!(disk.flip_bit(name, at, 1));
        }
    }
    assert_eq!(damage(&verify_log(&disk).unwrap()), [""; 0]);
}

#[test]
fn a_batch_that_is_being_written_is_not_called_damage() {
    let (disk, log) = prepared();
    let end = log.current_file_bytes() as usize;
    drop(log);
    let whole = disk.content("log.2").unwrap();
    let start = verify_log(&disk).unwrap().files[2].whole_bytes as usize;
    assert_eq!(start, end);
    for cut in [80, 30, 9] {
        let mut torn = whole.clone();
        torn[end - cut..end].fill(0);
        disk.put("log.2", &torn);
        let report = verify_log(&disk).unwrap();
        assert_eq!(damage(&report), [""; 0], "{cut}");
        let FileEnd::Torn { at, bytes, .. } = report.files[2].end else { panic!("{cut}: {report:?}") };
        assert!(at == report.files[2].whole_bytes && bytes > 0 && report.history.last().offset == Offset(6));
        // The same in a file that is not the newest is damage.
        disk.put("log.2", &whole);
    }
    let mut older = disk.content("log.1").unwrap();
    let length = older.len();
    older[length - 30..].fill(0);
    disk.put("log.1", &older);
    let told = damage(&verify_log(&disk).unwrap());
    assert!(
        told[0].starts_with("log.1 is damaged at byte 512") && told[0].contains("later file"),
        "{told:?}"
    );
}

#[test]
fn files_that_are_gone_are_told() {
    let (disk, log) = prepared();
    drop(log);
    let newest = disk.content("log.2").unwrap();
    disk.remove("log.2").unwrap();
    assert!(damage(&verify_log(&disk).unwrap())[0].starts_with("log.2 is gone"));
    disk.put("log.2", &newest);
    disk.remove("log.1").unwrap();
    assert!(damage(&verify_log(&disk).unwrap())[0].contains("log.1 between"), "a file in the middle");
    disk.remove("vote").unwrap();
    let report = verify_log(&disk).unwrap();
    assert!(damage(&report)[1].starts_with("the file vote is gone") && report.ballot.is_none());
    disk.remove("meta").unwrap();
    assert!(matches!(verify_log(&disk), Err(Error::NotBootstrapped)));
}

/// Two blocks: one that can be packed and one that cannot.
fn with_snapshot() -> (SimDisk, Vec<u8>) {
    let (disk, log) = prepared();
    let (number, position) = (1, Position::new(1, 3));
    let info = SnapshotInfo { number, position, log_time_ms: 30, state_machine_version: 1 };
    let mut writer = SnapshotWriter::create(disk.clone(), log.meta(), info).unwrap();
    writer.write(&[b'x'; 3000]).unwrap();
    writer.end_block().unwrap();
    writer.write(b"short and varied").unwrap();
    writer.finish().unwrap();
    let bytes = disk.content("snap.1").unwrap();
    (disk, bytes)
}

#[test]
fn a_snapshot_is_told_block_by_block() {
    let (disk, bytes) = with_snapshot();
    let operations = disk.operations();
    let mut lines = Vec::new();
    let report = inspect_snapshot(&disk, 1, &mut |line| {
        lines.push((line.number, line.at, line.plain_bytes, line.packed));
        true
    });
    let report = report.unwrap();
    assert_eq!(disk.operations(), operations);
    assert!(report.damage.is_none(), "{report:?}");
    assert_eq!((report.file.as_str(), report.blocks, report.plain_bytes), ("snap.1", 2, 3016));
    assert!(report.data_bytes < 100);
    let listed = report.listed.unwrap();
    assert_eq!((listed.bytes, listed.info.position), (bytes.len() as u64, Position::new(1, 3)));
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0], lines[1].3), ((0, 512, 3000, true), false));
    assert_eq!(snapshot_files(&disk).unwrap(), [1]);
    assert!(matches!(inspect_snapshot(&disk, 2, &mut |_| true), Err(Error::Missing { .. })));
}

#[test]
fn a_flipped_bit_in_a_snapshot_is_told_with_its_place() {
    let (disk, bytes) = with_snapshot();
    for at in 0..bytes.len() {
        assert!(disk.flip_bit("snap.1", at, 3));
        let reports = verify_snapshots(&disk).unwrap();
        match reports[0].damage.as_ref().unwrap() {
            Error::Damaged { file, at: told, .. } => {
                assert!(file == "snap.1" && *told <= at as u64, "{at}: {told}");
            }
            Error::Foreign { .. } | Error::Version { .. } => assert!(at < 512),
            other => panic!("{at}: {other}"),
        }
        assert!(disk.flip_bit("snap.1", at, 3));
    }
}

#[test]
fn a_packed_block_that_cannot_be_unpacked_is_damage_even_under_a_right_checksum() {
    let (disk, bytes) = with_snapshot();
    let data = u32::from_le_bytes(bytes[516..520].try_into().unwrap()) as usize;
    // The length that it unpacks to; the packed bytes themselves.
    for (at, value) in [(528, 0), (528, 0xff), (531, 0xff), (529, 0), (532, 0xff), (533, 0x77)] {
        let mut wrong = bytes.clone();
        wrong[at] = value;
        let covered = crc32c::crc32c(&wrong[516..524]);
        let crc = crc32c::crc32c_append(covered, &wrong[528..528 + data]);
        wrong[524..528].copy_from_slice(&crc.to_le_bytes());
        disk.put("snap.1", &wrong);
        let reports = verify_snapshots(&disk).unwrap();
        let told = reports[0].damage.as_ref().unwrap().to_string();
        assert!(told.starts_with("snap.1 is damaged at byte "), "{at} {value}: {told}");
    }
}
