//! The bytes of each format version, frozen: a change of any of them is a change of what is on people's disks.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::{SnapshotInfo, SnapshotWriter, verify_snapshot};

fn digest(bytes: &[u8]) -> (usize, u64) {
    (bytes.len(), xxhash_rust::xxh3::xxh3_64(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_of_every_file_are_frozen() {
    let (disk, mut log) = fresh();
    log.save_ballot(Ballot { epoch: Epoch(2), voted_for: Some(NodeId(3)) }).unwrap();
    let empty = Entry { kind: EntryKind::Empty, payload: Bytes::new(), ..entry(2, 3, 0) };
    log.append(&[entry(1, 2, 5), empty], Offset(1)).unwrap();
    log.roll(Offset(3)).unwrap();
    let (number, position) = (1, Position::new(2, 3));
    let info = SnapshotInfo { number, position, log_time_ms: 30, state_machine_version: 1 };
    let mut writer = SnapshotWriter::create(disk.clone(), log.meta(), info).unwrap();
    writer.write(b"state").unwrap();
    writer.finish().unwrap();
    let log_file = disk.content("log.0").unwrap();
    assert_eq!(hex(&log_file[..16]), "66656972614c4f470100000001000000");
    assert_eq!(hex(&log_file[640..768]), GOLDEN_BATCH);
    let found: Vec<_> = ["meta", "vote", "boot", "log.0", "log.1", "snap.1"]
        .map(|name| (name, digest(&disk.content(name).unwrap())))
        .to_vec();
    assert_eq!(found, GOLDEN);
    // As the first release wrote it: the same but for the version, since a block is packed only if that pays.
    let mut bytes = disk.content("snap.1").unwrap();
    bytes[8] = 1;
    let crc = crc32c::crc32c(&bytes[..508]);
    bytes[508..512].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(digest(&bytes), GOLDEN_SNAPSHOT_1);
    disk.put("snap.1", &bytes);
    assert_eq!(verify_snapshot(&disk, log.meta(), 1).unwrap().info, info);
    bytes[8] = 3;
    let crc = crc32c::crc32c(&bytes[..508]);
    bytes[508..512].copy_from_slice(&crc.to_le_bytes());
    disk.put("snap.1", &bytes);
    assert!(matches!(verify_snapshot(&disk, log.meta(), 1), Err(Error::Version { found: 3, known: 2, .. })));
}

#[test]
fn the_bytes_of_a_packed_block_are_frozen() {
    let (disk, log) = fresh();
    let info =
        SnapshotInfo { number: 1, position: Position::new(1, 1), log_time_ms: 0, state_machine_version: 1 };
    let mut writer = SnapshotWriter::create(disk.clone(), log.meta(), info).unwrap();
    writer.write(&[b'a'; 100]).unwrap();
    writer.finish().unwrap();
    let bytes = disk.content("snap.1").unwrap();
    assert_eq!(hex(&bytes[512..bytes.len() - 64]), GOLDEN_PACKED);
}

const GOLDEN_PACKED: &str = "66424c5a1000000000000000d16384f9640000001f6101004a60616161616161";
const GOLDEN_SNAPSHOT_1: (usize, u64) = (597, 0xc8e6_998c_28de_ccb8);

const GOLDEN_BATCH: &str = concat!(
    "6642415402000000020000000000000038000000f4c9d7908002000000000000",
    "0cd2a3747495397f010000000000000001000000000000000000000000000000",
    "00000000e776761e010000000000000014000000000000000500000003000000",
    "2d2e2f303102000000000000001e000000000000000000000001000000000000",
);
const GOLDEN: [(&str, (usize, u64)); 6] = [
    ("meta", (256, 0x8568_320d_ac6b_2fe9)),
    ("vote", (64, 0x7234_945f_8aba_8349)),
    ("boot", (128, 0x3584_78b4_6653_f64a)),
    ("log.0", (776, 0xf2cc_6bf6_9cce_d6c1)),
    ("log.1", (2048, 0x7b1d_c1f8_32bf_a956)),
    ("snap.1", (597, 0x6e99_da59_298c_65f2)),
];
