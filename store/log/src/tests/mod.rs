//! Tests of the whole crate, on the real and on the simulated disk. Here: what they share.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::needless_pass_by_value)]

mod crashes;
mod damage;
#[cfg(feature = "failpoints")]
mod faults;
mod golden;
mod inspect;
mod random;
mod snapshots;
mod suite;

use bytes::Bytes;
use store_core::{Ballot, Entry, EntryKind, Epoch, GroupId, Incarnation, NodeId, Offset, Position};

use crate::sim::SimDisk;
use crate::{BootId, ClusterId, Disk, Error, Identity, Log, Options, Recovered, bootstrap};

pub(crate) const INCARNATION: Incarnation = Incarnation(0x1122_3344_5566_7788);
/// Small, so that files are extended often.
pub(crate) const OPTIONS: Options = Options { preallocate_bytes: 2048, files_kept: 3 };

pub(crate) fn identity() -> Identity {
    let cluster = ClusterId::new(b"market").unwrap();
    Identity { cluster, group: GroupId(7), node: NodeId(3), state_machine_version: 1 }
}

pub(crate) fn boot(id: &str) -> BootId {
    BootId::new(id.as_bytes()).unwrap()
}

pub(crate) fn membership() -> Bytes {
    Bytes::from_static(b"the first membership")
}

pub(crate) fn first() -> Entry<Bytes> {
    let (kind, payload) = (EntryKind::Membership, membership());
    Entry { position: Position::new(1, 1), log_time_ms: 0, kind, payload }
}

/// A command whose payload has `bytes` bytes that follow from its position.
pub(crate) fn entry(epoch: u64, offset: u64, bytes: usize) -> Entry<Bytes> {
    let payload: Vec<u8> = (0..bytes).map(|i| (epoch * 31 + offset * 7 + i as u64) as u8).collect();
    let position = Position::new(epoch, offset);
    Entry { position, log_time_ms: offset as i64 * 10, kind: EntryKind::Command, payload: payload.into() }
}

pub(crate) fn make<D: Disk>(disk: &D) {
    bootstrap(disk, &identity(), INCARNATION, &boot("b1"), &membership()).unwrap();
}

pub(crate) fn try_open<D: Disk>(disk: D, id: &str) -> Result<(Log<D>, Recovered), Error> {
    Log::open(disk, &identity(), &boot(id), OPTIONS)
}

pub(crate) fn open<D: Disk>(disk: D, id: &str) -> (Log<D>, Recovered) {
    try_open(disk, id).unwrap()
}

/// A bootstrapped, open log on a new simulated disk.
pub(crate) fn fresh() -> (SimDisk, Log<SimDisk>) {
    let disk = SimDisk::new();
    make(&disk);
    let (log, _) = open(disk.clone(), "b1");
    (disk, log)
}

pub(crate) fn ballot(epoch: u64) -> Ballot {
    Ballot { epoch: Epoch(epoch), voted_for: None }
}

/// Everything a log holds.
pub(crate) fn all<D: Disk>(log: &Log<D>) -> Vec<Entry<Bytes>> {
    let reader = log.reader();
    let (base, last) = (reader.base(), reader.last());
    if base == last {
        return Vec::new();
    }
    let mut found: Vec<Entry<Bytes>> = Vec::new();
    while found.last().is_none_or(|entry| entry.position.offset < last) {
        let next = found.last().map_or(base.next(), |entry| entry.position.offset.next());
        found.extend(reader.read(next, 3, 4096).unwrap());
    }
    found
}

pub(crate) fn append<D: Disk>(log: &mut Log<D>, entries: &[Entry<Bytes>]) {
    log.append(entries, Offset::ZERO).unwrap();
}
