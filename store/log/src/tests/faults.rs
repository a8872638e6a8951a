//! With the feature `failpoints`: every fail point that the crate's documentation names is passed.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::{IncomingSnapshot, Offered, SnapshotInfo, SnapshotWriter};

const REPLACED: [&str; 10] = [
    "meta",
    "vote",
    "boot",
    "bootstrap-mark",
    "bootstrap",
    "recover",
    "roll",
    "reset",
    "truncate",
    "snapshot",
];
const SINGLE: [&str; 11] = [
    "append.begin",
    "append.written",
    "append.synced",
    "roll.sealed",
    "remove.begin",
    "truncate.removed",
    "snapshot.begun",
    "install.verified",
    "install.synced",
    "install.renamed",
    "install.done",
];

fn names() -> Vec<String> {
    let steps = |place: &str| ["written", "synced", "renamed", "done"].map(|step| format!("{place}.{step}"));
    REPLACED.iter().flat_map(|place| steps(place)).chain(SINGLE.map(str::to_owned)).collect()
}

/// One life that goes through everything.
fn live() {
    let (disk, mut log) = fresh();
    for offset in 2..5 {
        append(&mut log, &[entry(1, offset, 9)]);
        log.sync().unwrap();
        log.roll(Offset(offset)).unwrap();
    }
    log.truncate(Offset(4), Offset(1)).unwrap();
    log.truncate(Offset(3), Offset(1)).unwrap();
    log.remove_before(1).unwrap();
    log.save_ballot(ballot(2)).unwrap();
    let (number, position) = (1, log.last());
    let info = SnapshotInfo { number, position, stamp_ms: 0, state_machine_version: 1 };
    SnapshotWriter::create(disk.clone(), log.meta(), info).unwrap().finish().unwrap();
    let bytes = disk.content("snap.1").unwrap();
    let offered = Offered { number, position, bytes: bytes.len() as u64 };
    let mut incoming = IncomingSnapshot::begin(disk, log.meta(), offered).unwrap();
    incoming.write(0, &bytes).unwrap();
    let installed = incoming.finish(1).unwrap().info;
    log.reset(installed.number, installed.position, 0).unwrap();
}

#[test]
fn every_documented_fail_point_is_passed() {
    let me = std::thread::current().id();
    let counts: Vec<(String, Arc<AtomicU64>)> =
        names().into_iter().map(|name| (name, Arc::default())).collect();
    for (name, count) in &counts {
        let count = Arc::clone(count);
        // Other tests run beside this one and pass the same points.
        let on_pass = move || {
            if std::thread::current().id() == me {
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        fail::cfg_callback(name, on_pass).unwrap();
    }
    live();
    for (name, count) in &counts {
        fail::remove(name);
        assert!(count.load(Ordering::Relaxed) > 0, "{name} was never passed");
    }
}
