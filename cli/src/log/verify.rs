//! `feira log verify`: every byte of a node's log files, checked as recovery would, with damage told by file and byte.

use serde_json::{Value, json};
use store_core::EpochHistory;
use store_log::{FileEnd, LogFileReport, LogReport, verify_log};

use super::folder::Folder;
use crate::config::load::Loaded;
use crate::failure::Failure;
use crate::reach::nodes;
use crate::show::answer::Answer;
use crate::show::out::Out;
use crate::show::table::{Column, Table};

/// Verifies a node's log in its folder, and shows what is there.
///
/// # Errors
/// There is no such node, its folder cannot be read, or its log is damaged (which is shown first).
pub fn run(loaded: &Loaded, id: u64, out: &Out) -> Result<(), Failure> {
    let folder = Folder::of(loaded, nodes::replica_of(&loaded.config, id)?)?;
    let report = verify_log(&folder.disk).map_err(|error| folder.failed(&error))?;
    out.answer(&answer(id, &report));
    match report.damage().next() {
        None => Ok(()),
        Some(first) => Err(folder.failed(first)),
    }
}

/// What is shown.
pub(crate) fn answer(id: u64, report: &LogReport) -> Answer {
    let mut table = Table::new(&[
        Column::whole("FILE"),
        Column::number("AFTER").dropped(2),
        Column::number("LAST"),
        Column::number("BATCHES").dropped(1),
        Column::number("ENTRIES").dropped(3),
        Column::number("BYTES"),
        Column::words("FOUND"),
    ]);
    for file in &report.files {
        table.row([
            file.file.clone(),
            file.header.map_or_else(|| "-".to_owned(), |header| header.base.to_string()),
            file.last.to_string(),
            file.batches.to_string(),
            file.entries.to_string(),
            format!("{} of {}", file.whole_bytes, file.bytes),
            found(&file.end).0,
        ]);
    }
    let damaged = report.damage().count();
    let verdict = if damaged == 0 { "whole".to_owned() } else { format!("DAMAGED ({damaged})") };
    let head = format!(
        "log of node {id}: {verdict}; up to {}, known to be committed up to {}",
        report.history.last(),
        report.commit_mark
    );
    let mut notes = vec![epochs(&report.history), ballot(report)];
    if report.maybe_lost_tail {
        notes.push("it lost a tail that may have been acknowledged".to_owned());
    }
    // The first is told as the failure.
    notes.extend(report.damage().skip(1).map(|error| format!("damage: {error}")));
    Answer { notes, ..Answer::table(head, document(id, report), table) }
}

/// How a file ends, in a word; and at which byte, if it is not whole.
fn found(end: &FileEnd) -> (String, Option<u64>) {
    match end {
        FileEnd::Whole => ("whole".to_owned(), None),
        FileEnd::Torn { at, problem, .. } => (format!("torn at byte {at}: {problem}"), Some(*at)),
        FileEnd::Damaged(store_log::Error::Damaged { at, .. }) => {
            (format!("damaged at byte {at}"), Some(*at))
        }
        FileEnd::Damaged(_) => ("not readable here".to_owned(), None),
    }
}

fn epochs(history: &EpochHistory) -> String {
    let runs = history.runs_from(history.base().offset.next());
    let runs: Vec<String> =
        runs.map(|run| format!("{} wrote {} to {}", run.epoch, run.first, run.last)).collect();
    if runs.is_empty() { format!("no entries after {}", history.base()) } else { runs.join(", ") }
}

fn ballot(report: &LogReport) -> String {
    match &report.ballot {
        None => "the file vote cannot be used".to_owned(),
        Some(ballot) => match ballot.voted_for {
            Some(node) => format!("in {} it voted for node {}", ballot.epoch, node.0),
            None => format!("in {} it has not voted", ballot.epoch),
        },
    }
}

fn document(id: u64, report: &LogReport) -> Value {
    let files: Vec<Value> = report.files.iter().map(file_document).collect();
    let damage: Vec<String> = report.damage().map(ToString::to_string).collect();
    let last = report.history.last();
    json!({
        "node": id, "whole": damage.is_empty(), "files": files, "damage": damage,
        "last": { "epoch": last.epoch.0, "offset": last.offset.0 }, "commit_mark": report.commit_mark.0,
        "durable_mark": report.durable_mark.0, "maybe_lost_tail": report.maybe_lost_tail,
        "ballot": report.ballot.as_ref().map(|ballot| json!({
            "epoch": ballot.epoch.0, "voted_for": ballot.voted_for.map(|node| node.0),
        })),
    })
}

fn file_document(file: &LogFileReport) -> Value {
    let (found, at) = found(&file.end);
    json!({
        "file": file.file, "bytes": file.bytes, "whole_bytes": file.whole_bytes, "batches": file.batches,
        "entries": file.entries, "last": { "epoch": file.last.epoch.0, "offset": file.last.offset.0 },
        "after": file.header.map(|header| json!({
            "epoch": header.base.epoch.0, "offset": header.base.offset.0,
        })),
        "found": found, "at": at,
    })
}
