//! `feira snapshot show|verify`: what a node's snapshot files hold, every byte checked, damage told by file and byte; and
//! the state inside, down to its rows, which must be of the position that the file says.

use serde_json::{Value, json};
use store_db::Space;
use store_db::transfer::Contents;
use store_engine::snapshot_contents;
use store_log::{BlockLine, SnapshotReport, inspect_snapshot, read_meta, snapshot_files, verify_snapshots};

use super::folder::Folder;
use crate::config::load::Loaded;
use crate::failure::Failure;
use crate::reach::nodes;
use crate::show::answer::Answer;
use crate::show::out::Out;
use crate::show::table::{Column, Table};

/// What `verify` shows of each snapshot.
const VERIFIED: [Column; 7] = [
    Column::whole("FILE"),
    Column::number("STATE AT"),
    Column::number("BLOCKS").dropped(2),
    Column::number("BYTES"),
    Column::number("UNPACKED").dropped(1),
    Column::number("RECORDS").dropped(3),
    Column::whole("FOUND"),
];
/// What `show` shows of each block.
const BLOCKS: [Column; 4] = [
    Column::number("BLOCK"),
    Column::number("AT BYTE"),
    Column::number("BYTES"),
    Column::number("UNPACKED").dropped(1),
];

fn folder_of(loaded: &Loaded, id: u64) -> Result<Folder, Failure> {
    Folder::of(loaded, nodes::replica_of(&loaded.config, id)?)
}

/// What `snap.number` holds; `None` if it was removed meanwhile.
fn contents_of(folder: &Folder, number: u64) -> Result<Option<Contents>, store_engine::Error> {
    let meta = read_meta(&folder.disk)?.ok_or(store_log::Error::NotBootstrapped)?;
    match snapshot_contents(&folder.disk, &meta, number) {
        Err(store_engine::Error::Log(store_log::Error::Missing { .. })) => Ok(None),
        other => other.map(Some),
    }
}

/// The state in a snapshot whose blocks are whole: what it holds, or what is wrong with it. `None`: there is nothing to
/// look at, or it was removed meanwhile.
fn inside(folder: &Folder, report: &SnapshotReport) -> Option<Result<Contents, String>> {
    let listed = report.listed.filter(|_| report.damage.is_none())?;
    let found = contents_of(folder, listed.info.number).transpose()?;
    Some(found.map_err(|error| format!("{}: {error}", report.file)))
}

/// Verifies every snapshot in a node's folder, and shows what is there.
///
/// # Errors
/// There is no such node, its folder cannot be read, or a snapshot is damaged (which is shown first).
pub fn verify(loaded: &Loaded, id: u64, out: &Out) -> Result<(), Failure> {
    let folder = folder_of(loaded, id)?;
    let reports = verify_snapshots(&folder.disk).map_err(|error| folder.failed(&error))?;
    let all: Vec<Inspected> = reports.iter().map(|report| (report, inside(&folder, report))).collect();
    let (answer, problem) = verified(id, &all);
    out.answer(&answer);
    problem.map_or(Ok(()), |problem| Err(folder.failed(&problem)))
}

/// A snapshot, and the state inside.
type Inspected<'a> = (&'a SnapshotReport, Option<Result<Contents, String>>);

/// What is shown of snapshots that were verified, and the first problem.
pub(crate) fn verified(id: u64, reports: &[Inspected<'_>]) -> (Answer, Option<String>) {
    let mut table = Table::new(&VERIFIED);
    let mut problems: Vec<String> = Vec::new();
    let mut documents: Vec<Value> = Vec::new();
    for (report, inside) in reports {
        problems.extend(report.damage.as_ref().map(ToString::to_string));
        problems.extend(inside.iter().filter_map(|state| state.as_ref().err().cloned()));
        let is_whole = report.damage.is_none() && !matches!(inside, Some(Err(_)));
        table.row([
            report.file.clone(),
            report.listed.map_or_else(|| "-".to_owned(), |listed| listed.info.position.to_string()),
            report.blocks.to_string(),
            report.listed.map_or(0, |listed| listed.bytes).to_string(),
            report.plain_bytes.to_string(),
            inside.as_ref().and_then(|state| state.as_ref().ok()).map_or("-".to_owned(), records),
            if is_whole { "whole" } else { "damaged" }.to_owned(),
        ]);
        documents.push(document(report, inside.as_ref()));
    }
    // The first is told as the failure.
    let notes = problems.iter().skip(1).map(|problem| format!("damage: {problem}")).collect();
    let head = format!("snapshots of node {id}: {}, {} of them damaged", reports.len(), problems.len());
    let document = json!({ "node": id, "whole": problems.is_empty(), "snapshots": documents });
    (Answer { notes, ..Answer::table(head, document, table) }, problems.into_iter().next())
}

fn records(contents: &Contents) -> String {
    contents.rows[usize::from(Space::Records.number())].to_string()
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
    let inside = inside(&folder, &report);
    out.answer(&answer(id, &report, inside.as_ref(), &blocks));
    let problem = report.damage.as_ref().map(ToString::to_string);
    let problem = problem.or(inside.and_then(Result::err));
    problem.map_or(Ok(()), |problem| Err(folder.failed(&problem)))
}

/// What is shown of one snapshot.
pub(crate) fn answer(
    id: u64,
    report: &SnapshotReport,
    inside: Option<&Result<Contents, String>>,
    blocks: &[BlockLine],
) -> Answer {
    let mut table = Table::new(&BLOCKS);
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
            ": the state at {}, timestamp {} ms, state-machine version {}, {} bytes",
            info.position, info.log_time_ms, info.state_machine_version, listed.bytes
        )
    });
    let is_whole = report.damage.is_none() && !matches!(inside, Some(Err(_)));
    let verdict = if is_whole { "whole" } else { "DAMAGED" };
    let head = format!("{} of node {id}{of}; {verdict}", report.file);
    let mut notes = Vec::new();
    if let Some(Ok(contents)) = inside {
        let (records, state_hash) = (records(contents), contents.state.state_hash);
        notes.push(format!("records: {records}; state hash {state_hash:016x}"));
    }
    if report.blocks > blocks.len() as u64 {
        notes.push(format!("{} of {} blocks are shown: --limit", blocks.len(), report.blocks));
    }
    let mut told = document(report, inside);
    told["node"] = id.into();
    told["shown"] = documents.into();
    Answer { notes, ..Answer::table(head, told, table) }
}

fn document(report: &SnapshotReport, inside: Option<&Result<Contents, String>>) -> Value {
    let listed = report.listed.map(|listed| {
        let info = listed.info;
        json!({
            "position": { "epoch": info.position.epoch.0, "offset": info.position.offset.0 },
            "log_time_ms": info.log_time_ms, "state_machine_version": info.state_machine_version,
            "bytes": listed.bytes,
        })
    });
    let state = inside.and_then(|state| state.as_ref().ok()).map(|contents| {
        let rows =
            Space::ALL.map(|space| (space.name().to_owned(), contents.rows[usize::from(space.number())]));
        let rows: serde_json::Map<String, Value> =
            rows.into_iter().map(|(name, rows)| (name, rows.into())).collect();
        json!({ "rows": rows, "state_hash": format!("{:016x}", contents.state.state_hash) })
    });
    let damage = report.damage.as_ref().map(ToString::to_string);
    let damage = damage.or(inside.and_then(|state| state.as_ref().err().cloned()));
    json!({
        "file": report.file, "of": listed, "blocks": report.blocks, "data_bytes": report.data_bytes,
        "unpacked_bytes": report.plain_bytes, "state": state, "damage": damage,
    })
}
