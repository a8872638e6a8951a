//! `feira snapshot show|verify`: what a node's snapshot files hold, every byte checked, damage told by file and byte.

use serde_json::{Value, json};
use store_log::{BlockLine, SnapshotReport, inspect_snapshot, snapshot_files, verify_snapshots};

use super::folder::Folder;
use crate::config::load::Loaded;
use crate::failure::Failure;
use crate::reach::nodes;
use crate::show::answer::{Answer, Table};
use crate::show::out::Out;

fn folder_of(loaded: &Loaded, id: u64) -> Result<Folder, Failure> {
    let node = nodes::node_of(&loaded.config, id)?;
    Folder::of_node(&node.folder_in(&loaded.folder()))
}

/// Verifies every snapshot in a node's folder, and shows what is there.
///
/// # Errors
/// There is no such node, its folder cannot be read, or a snapshot is damaged (which is shown first).
pub fn verify(loaded: &Loaded, id: u64, out: &Out) -> Result<(), Failure> {
    let folder = folder_of(loaded, id)?;
    let reports = verify_snapshots(&folder.disk).map_err(|error| folder.failed(&error))?;
    let columns = ["FILE", "STATE AT", "BLOCKS", "BYTES", "UNPACKED", "FOUND"];
    let mut table = Table::new(&columns, &[1, 2, 3, 4]);
    for report in &reports {
        table.row([
            report.file.clone(),
            report.listed.map_or_else(|| "-".to_owned(), |listed| listed.info.position.to_string()),
            report.blocks.to_string(),
            report.listed.map_or(0, |listed| listed.bytes).to_string(),
            report.plain_bytes.to_string(),
            if report.damage.is_some() { "damaged" } else { "whole" }.to_owned(),
        ]);
    }
    let damage = || reports.iter().filter_map(|report| report.damage.as_ref());
    // The first is told as the failure.
    let notes = damage().skip(1).map(|error| format!("damage: {error}")).collect();
    let head = format!("snapshots of node {id}: {}, {} of them damaged", reports.len(), damage().count());
    let documents: Vec<Value> = reports.iter().map(document).collect();
    let document = json!({ "node": id, "whole": damage().next().is_none(), "snapshots": documents });
    out.answer(&Answer { notes, ..Answer::table(head, document, table) });
    damage().next().map_or(Ok(()), |error| Err(folder.failed(error)))
}

/// Shows one snapshot (the newest, if none is named), block by block.
///
/// # Errors
/// There is no such node or snapshot, the folder cannot be read, or it is damaged (which is shown first).
pub fn show(loaded: &Loaded, id: u64, number: Option<u64>, limit: usize, out: &Out) -> Result<(), Failure> {
    let folder = folder_of(loaded, id)?;
    let there = snapshot_files(&folder.disk).map_err(|error| folder.failed(&error))?;
    let number = match (number, there.last()) {
        (Some(number), _) if there.contains(&number) => number,
        (None, Some(newest)) => *newest,
        (Some(number), Some(_)) => {
            let known: Vec<String> = there.iter().map(|number| format!("snap.{number}")).collect();
            return Err(Failure::usage(format!("there is no snap.{number} in the folder of node {id}"))
                .next(format!("its snapshots are {}", known.join(", "))));
        }
        (_, None) => {
            return Err(Failure::refused(format!("node {id} has no snapshot yet"))
                .next("store.snapshot_seconds and store.snapshot_bytes say when one is taken"));
        }
    };
    let mut blocks: Vec<BlockLine> = Vec::new();
    let mut keep = |block: BlockLine| {
        if blocks.len() < limit {
            blocks.push(block);
        }
        true
    };
    let report = inspect_snapshot(&folder.disk, number, &mut keep).map_err(|error| folder.failed(&error))?;
    out.answer(&answer(id, &report, &blocks));
    report.damage.as_ref().map_or(Ok(()), |error| Err(folder.failed(error)))
}

fn answer(id: u64, report: &SnapshotReport, blocks: &[BlockLine]) -> Answer {
    let mut table = Table::new(&["BLOCK", "AT BYTE", "BYTES", "UNPACKED"], &[0, 1, 2, 3]);
    let mut documents: Vec<Value> = Vec::new();
    for block in blocks {
        table.row([
            block.number.to_string(),
            block.at.to_string(),
            block.data_bytes.to_string(),
            block.plain_bytes.to_string(),
        ]);
        documents.push(json!({
            "block": block.number, "at": block.at, "bytes": block.data_bytes, "unpacked": block.plain_bytes,
            "packed": block.packed,
        }));
    }
    let of = report.listed.map_or_else(String::new, |listed| {
        let info = listed.info;
        format!(
            ": the state at {}, stamp {} ms, state-machine version {}, {} bytes",
            info.position, info.stamp_ms, info.state_machine_version, listed.bytes
        )
    });
    let verdict = if report.damage.is_some() { "DAMAGED" } else { "whole" };
    let head = format!("{} of node {id}{of}; {verdict}", report.file);
    let mut notes = Vec::new();
    if report.blocks > blocks.len() as u64 {
        notes.push(format!("{} of {} blocks are shown: --limit", blocks.len(), report.blocks));
    }
    let mut told = document(report);
    told["node"] = id.into();
    told["shown"] = documents.into();
    Answer { notes, ..Answer::table(head, told, table) }
}

fn document(report: &SnapshotReport) -> Value {
    let listed = report.listed.map(|listed| {
        let info = listed.info;
        json!({
            "position": { "epoch": info.position.epoch.0, "offset": info.position.offset.0 },
            "stamp_ms": info.stamp_ms, "state_machine_version": info.state_machine_version,
            "bytes": listed.bytes,
        })
    });
    json!({
        "file": report.file, "of": listed, "blocks": report.blocks, "data_bytes": report.data_bytes,
        "unpacked_bytes": report.plain_bytes, "damage": report.damage.as_ref().map(ToString::to_string),
    })
}
