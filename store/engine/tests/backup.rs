//! A backup and what is founded from it, on simulated disks: the same rows under other members, and every cut of the
//! founding leaves a folder that says that it is not whole.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use proto::store::{AppliedState, Command, Frozen, Member, Membership, Txn, TxnCommand, command};
use store_core::{Entry, EntryKind, GroupId, Incarnation, NodeId, Position};
use store_db::{Memory, Space, Table as _, Write as _, apply, state, transfer};
use store_engine::backup::{Backup, BackupWriter, OFFSETS_SKIPPED};
use store_log::sim::SimDisk;
use store_log::{BootId, ClusterId, Identity, Log, Origin, SnapshotInfo, SnapshotReader};

const NOW_MS: i64 = 5_000_000;
const INCARNATION: u64 = 77;
/// What every chunk of an exported state begins with.
const HEAD_BYTES: usize = 5;

fn members(incarnation: u64) -> Membership {
    let voter = Member { node: 1, incarnation, address: "localhost:1".to_owned(), ..Member::default() };
    Membership { voters: vec![voter], outgoing: Vec::new(), learners: Vec::new(), owned: None }
}

fn identity() -> Identity {
    Identity {
        cluster: ClusterId::new(b"new").unwrap(),
        group: GroupId(1),
        node: NodeId(1),
        state_machine_version: store_db::limits::STATE_MACHINE_VERSION,
    }
}

fn boot() -> BootId {
    BootId::new(b"b1").unwrap()
}

/// A table of forty records, and its backup in a file of another disk.
fn backed_up() -> (Memory, SimDisk) {
    backed_up_as(41)
}

/// A table of forty records.
fn table() -> Memory {
    let entry = |offset, kind, payload: Vec<u8>| Entry {
        position: Position::new(3, offset),
        log_time_ms: 1_000 + i64::try_from(offset).unwrap(),
        kind,
        payload: Bytes::from(payload),
    };
    let put = |offset: u64| {
        let txn = Txn::new().put(Bytes::from(format!("k{offset}")), 0, Bytes::from(vec![7; 20_000]));
        let kind = Some(command::Kind::Txn(TxnCommand { txn: Some(txn), identity: None, decide: None }));
        entry(offset, EntryKind::Command, Command { kind }.encode_to_vec())
    };
    let first = entry(1, EntryKind::Membership, members(1).encode_to_vec());
    let entries: Vec<Entry<Bytes>> = [first].into_iter().chain((2..42).map(put)).collect();
    let table = Memory::new();
    table.write(|write| apply(write, &mut store_db::Recent::default(), &entries)).unwrap();
    table
}

/// The same, whose file says that it is of this offset.
fn backed_up_as(offset: u64) -> (Memory, SimDisk) {
    let at = Position::new(3, offset);
    let (table, disk) = (table(), SimDisk::new());
    table
        .read(|read| {
            let state = state::read(read)?;
            let info = SnapshotInfo {
                number: 9,
                position: at,
                log_time_ms: state.log_time_ms,
                state_machine_version: state.state_machine_version,
            };
            let origin = Origin { cluster: ClusterId::new(b"old").unwrap(), group: GroupId(1) };
            let mut writer = BackupWriter::create(disk.clone(), "shop", &origin, info).unwrap();
            let mut rewrite = transfer::Rewrite::new(Space::Decisions, |old| AppliedState {
                applied: Some(proto::store::Position { epoch: 3, offset }),
                ..old.clone()
            });
            transfer::export(read, &mut |chunk| {
                writer.chunk(&rewrite.chunk(&chunk)?).unwrap();
                Ok(())
            })?;
            writer.finish().unwrap();
            Ok(())
        })
        .unwrap();
    (table, disk)
}

#[test]
fn a_group_founded_from_a_backup_has_its_rows_and_nothing_else_of_the_old_one() {
    let (table, file) = backed_up();
    let backup = Backup::open(&file, "shop").unwrap();
    assert_eq!(backup.origin.cluster.to_string(), "old");
    let disk = SimDisk::new();
    let beginning = backup.beginning(NOW_MS);
    let incarnation = Incarnation(INCARNATION);
    backup.found(&disk, &identity(), incarnation, &boot(), &members(INCARNATION), beginning).unwrap();
    let (log, recovered) =
        Log::open(disk.clone(), &identity(), &boot(), store_log::Options::default()).unwrap();
    assert_eq!(log.last(), Position::new(3, 41 + OFFSETS_SKIPPED));
    assert_eq!(log.last(), beginning.position);
    assert_eq!(recovered.snapshots.len(), 1);
    let contents = store_engine::snapshot_contents(&disk, log.meta(), 1).unwrap();
    assert_eq!(contents.rows, backup.contents.rows);
    let old = table.read(state::read).unwrap();
    let new = &contents.state;
    assert_eq!((new.state_hash, new.log_time_ms), (old.state_hash, NOW_MS));
    assert_ne!(state::log_id(new), state::log_id(&old));
    assert_eq!(new.membership, Some(members(INCARNATION)));
    assert_eq!(new.membership_offset, log.last().offset.0);
    // Log time never goes back, even if the clock does.
    assert_eq!(backup.beginning(0).log_time_ms, old.log_time_ms);
    // What is in the table after an import is what was in the old one.
    let number = usize::from(Space::Records.number());
    assert_eq!(contents.rows[number], 40);
}

/// The whole state of a group that stands still and has not forgotten these decisions, all of it, as a snapshot has it too.
fn standing_still(decisions: &[Vec<u8>]) -> SimDisk {
    let (table, disk) = (table(), SimDisk::new());
    let state = table.read(state::read).unwrap();
    let frozen = Some(Frozen { id: Bytes::from_static(&[7; 16]), offset: 40 });
    let state = AppliedState { frozen, decided_count: decisions.len() as u64, ..state };
    table
        .write(|write| {
            for (number, row) in (1_u64..).zip(decisions) {
                let key = [1, 3, number].map(u64::to_be_bytes).concat();
                write.put(Space::Decisions, &key, row)?;
            }
            write.put(Space::State, b"applied", &state.encode_to_vec())
        })
        .unwrap();
    let info = SnapshotInfo {
        number: 9,
        position: Position::new(3, 41),
        log_time_ms: state.log_time_ms,
        state_machine_version: store_db::limits::STATE_MACHINE_VERSION,
    };
    let origin = Origin { cluster: ClusterId::new(b"old").unwrap(), group: GroupId(1) };
    let mut writer = BackupWriter::create(disk.clone(), "shop", &origin, info).unwrap();
    let whole = table.read(|read| {
        transfer::export(read, &mut |chunk| {
            writer.chunk(&chunk).unwrap();
            Ok(())
        })
    });
    whole.unwrap();
    writer.finish().unwrap();
    disk
}

/// Imports a founded folder's snapshot, as its node will; how many of its chunks are empty.
fn imported(disk: &SimDisk) -> (Memory, usize) {
    let (log, _) = Log::open(disk.clone(), &identity(), &boot(), store_log::Options::default()).unwrap();
    let reader = SnapshotReader::open(disk, log.meta(), 1).unwrap();
    let mut bytes = Vec::new();
    reader
        .each_block(|block: Bytes| {
            bytes.extend_from_slice(&block);
            Ok::<(), store_log::Error>(())
        })
        .unwrap();
    let table = Memory::new();
    let mut import = transfer::Import::begin(table.clone()).unwrap();
    let (mut rest, mut empty, mut is_first) = (&bytes[..], 0, true);
    let mut head = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (chunk, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        if std::mem::take(&mut is_first) {
            head = chunk[..HEAD_BYTES].to_vec();
        }
        empty += usize::from(chunk == head);
        import.chunk(chunk).unwrap();
        rest = after;
    }
    import.finish().unwrap();
    (table, empty)
}

#[test]
fn a_group_founded_from_one_that_stands_still_does_not_and_has_none_of_its_decisions() {
    let row = || vec![7; store_db::limits::CHUNK_BYTES];
    // One decision beside other rows, and so many that chunks have nothing else.
    for (decisions, empty) in [(vec![vec![7; 30]], 0), (vec![row(), row(), row()], 2)] {
        let file = standing_still(&decisions);
        let backup = Backup::open(&file, "shop").unwrap();
        let decided = usize::from(Space::Decisions.number());
        assert!(backup.contents.state.frozen.is_some(), "it says of which cut it is");
        assert_eq!(backup.contents.rows[decided], decisions.len() as u64);
        let disk = SimDisk::new();
        let beginning = backup.beginning(NOW_MS);
        let incarnation = Incarnation(INCARNATION);
        backup.found(&disk, &identity(), incarnation, &boot(), &members(INCARNATION), beginning).unwrap();
        let (table, found_empty) = imported(&disk);
        assert_eq!(found_empty, empty, "chunks that have nothing left");
        let state = table.read(state::read).unwrap();
        assert_eq!((state.frozen, state.decided_count), (None, 0));
        let rows = |space| {
            let mut count = 0;
            let walked = table.read(|read| {
                store_db::Read::walk(read, space, &[], &mut |_, _| {
                    count += 1;
                    Ok(true)
                })
            });
            walked.unwrap();
            count
        };
        assert_eq!((rows(Space::Decisions), rows(Space::Records)), (0, 40));
    }
}

#[test]
fn a_backup_of_a_position_that_no_log_goes_on_from_is_refused() {
    let last = store_core::limits::OFFSET_MAX - OFFSETS_SKIPPED;
    let (_, file) = backed_up_as(last);
    assert_eq!(Backup::open(&file, "shop").unwrap().beginning(0).position.offset.0, last + OFFSETS_SKIPPED);
    for offset in [last + 1, u64::MAX] {
        let (_, file) = backed_up_as(offset);
        let refused = Backup::open(&file, "shop").map(drop).unwrap_err();
        assert!(refused.to_string().contains("no log can go on"), "{refused}");
    }
}

#[test]
fn a_node_that_is_no_initial_member_is_refused_and_a_folder_is_used_once() {
    let (_, file) = backed_up();
    let backup = Backup::open(&file, "shop").unwrap();
    let disk = SimDisk::new();
    let beginning = backup.beginning(NOW_MS);
    let found = |incarnation| {
        let incarnation = Incarnation(incarnation);
        backup.found(&disk, &identity(), incarnation, &boot(), &members(INCARNATION), beginning)
    };
    assert!(found(INCARNATION + 1).unwrap_err().to_string().contains("not among its voters"));
    found(INCARNATION).unwrap();
    assert!(found(INCARNATION).unwrap_err().to_string().contains("wants an empty folder"));
}

#[test]
fn a_founding_that_was_cut_off_anywhere_is_told_from_a_whole_one_and_can_be_done_again() {
    let (_, file) = backed_up();
    let backup = Backup::open(&file, "shop").unwrap();
    let beginning = backup.beginning(NOW_MS);
    let found = |disk: &SimDisk| {
        backup.found(disk, &identity(), Incarnation(INCARNATION), &boot(), &members(INCARNATION), beginning)
    };
    let mut cuts = 0;
    for operations in 0.. {
        let disk = SimDisk::new();
        disk.die_at(operations, operations);
        if found(&disk).is_ok() {
            break;
        }
        cuts += 1;
        disk.crash(operations);
        let opened = || Log::open(disk.clone(), &identity(), &boot(), store_log::Options::default());
        if let Err(error) = opened() {
            let told = error.to_string();
            assert!(
                told.contains("interrupted") || told.contains("holds no replica"),
                "{operations}: {told}"
            );
            found(&disk).unwrap_or_else(|error| panic!("{operations}: {error}"));
        }
        let (log, _) = opened().unwrap_or_else(|error| panic!("{operations}: {error}"));
        assert_eq!(log.last(), beginning.position, "{operations}");
        assert!(store_engine::snapshot_contents(&disk, log.meta(), 1).is_ok(), "{operations}");
    }
    assert!(cuts > 20, "{cuts}");
}

#[test]
fn a_backup_that_was_cut_off_or_changed_is_refused() {
    let (_, file) = backed_up();
    let whole = file.content("shop").unwrap();
    let opens = |bytes: &[u8]| {
        let disk = SimDisk::new();
        disk.put("shop", bytes);
        Backup::open(&disk, "shop").map(|_| ())
    };
    opens(&whole).unwrap();
    for at in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        assert!(opens(&whole[..at]).is_err(), "cut at {at}");
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        assert!(opens(&bytes).is_err(), "changed at {at}");
    }
    // Half of the chunks only: the writer does not let that pass for a backup.
    let info =
        SnapshotInfo { number: 1, position: Position::new(3, 41), log_time_ms: 0, state_machine_version: 1 };
    let origin = Origin { cluster: ClusterId::new(b"old").unwrap(), group: GroupId(1) };
    let disk = Arc::new(SimDisk::new());
    let writer = BackupWriter::create(Arc::clone(&disk), "half", &origin, info).unwrap();
    assert!(writer.finish().is_err());
    assert!(disk.content("half").is_none(), "it has no name");
}
