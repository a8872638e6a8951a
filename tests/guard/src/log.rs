//! The log over a disk in memory: batches of 64 entries of 256 bytes, each made durable.
//!
//! The file is as long as all batches from the beginning, so that no run has to lengthen it.

use bytes::Bytes;
use store_core::types::{Entry, EntryKind, Position};
use store_core::{GroupId, Incarnation, NodeId};
use store_log::{BootId, ClusterId, Identity, Log, Options};

use crate::disk::MemoryDisk;
use crate::scenario::{Call, Scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "log-append",
    operation: "64 entries of 256 bytes appended as one batch, and synced, over a disk in memory",
    calls: 200,
    operations_per_call: 1,
    prepare: append,
}];

/// Entries of one batch.
const ENTRIES: usize = 64;
/// Bytes that each entry takes in the file at most, roughly.
const ENTRY_BYTES_MAX: u64 = 512;

/// A command at this offset of epoch 1.
pub(crate) fn entry(offset: u64, payload: Bytes) -> Entry<Bytes> {
    let log_time_ms = 1_800_000_000_000 + i64::try_from(offset).expect("a small offset");
    Entry { position: Position::new(1, offset), log_time_ms, kind: EntryKind::Command, payload }
}

fn opened(preallocate_bytes: u64) -> Log<MemoryDisk> {
    let (disk, boot) = (MemoryDisk::default(), BootId::new(b"boot").expect("an id"));
    let cluster = ClusterId::new(b"guard").expect("an id");
    let identity = Identity { cluster, group: GroupId(1), node: NodeId(1), state_machine_version: 1 };
    let membership = Bytes::from_static(b"the log does not read it");
    store_log::bootstrap(&disk, &identity, Incarnation(1), &boot, &membership).expect("an empty folder");
    let options = Options { preallocate_bytes, ..Options::default() };
    Log::open(disk, &identity, &boot, options).expect("a folder just made").0
}

fn append(calls: usize) -> Call {
    let payload = Bytes::from(vec![b'x'; 256]);
    let mut entries = (2..).map(|offset| entry(offset, payload.clone()));
    let batches: Vec<Vec<Entry<Bytes>>> =
        (0..calls).map(|_| entries.by_ref().take(ENTRIES).collect()).collect();
    let mut log = opened((calls * ENTRIES) as u64 * ENTRY_BYTES_MAX);
    Box::new(move |call| {
        let batch = &batches[call];
        let committed = batch[0].position.offset.previous();
        log.append(batch, committed).expect("the disk takes it");
        log.sync().expect("the disk takes it");
    })
}
