//! Entries of a log: of a running node by asking it, of a stopped one by reading its files (which changes nothing).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use proto::store::{LogLine, Position, ShowLogRequest};
use serde_json::{Value, json};
use store_log::{describe_log, log_files};
use store_server::describe_entry;

use super::folder::Folder;
use crate::config::load::Loaded;
use crate::failure::{Failure, Kind};
use crate::reach::nodes;
use crate::show::answer::Answer;
use crate::show::table::{Column, Table};

/// What is to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The first offset; `None`: the last ones.
    pub from: Option<u64>,
    /// How many at most.
    pub limit: u32,
}

/// Part of a log.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Shown {
    /// Its entries, by offset.
    pub lines: Vec<LogLine>,
    /// Everything up to here is known to be committed.
    pub committed: u64,
    /// Everything up to here is applied; `None`: not known from the log alone.
    pub applied: Option<u64>,
    /// A stretch that is no log, in words.
    pub problem: Option<String>,
}

/// Shows a node's log.
///
/// # Errors
/// There is no such node, or its folder cannot be read.
pub async fn show(loaded: &Loaded, id: u64, wanted: Wanted, folder: bool) -> Result<Answer, Failure> {
    let (source, shown) = of_either(loaded, id, wanted, folder).await?;
    Ok(answer(id, source, &shown))
}

/// A node's log: from the node, or from its folder if it does not answer or `folder` says so; and where it is from.
///
/// # Errors
/// There is no such node, or its folder cannot be read.
pub async fn of_either(
    loaded: &Loaded,
    id: u64,
    wanted: Wanted,
    folder: bool,
) -> Result<(&'static str, Shown), Failure> {
    let replica = nodes::replica_of(&loaded.config, id)?;
    if !folder {
        match of_node(loaded, id, wanted).await {
            Ok(shown) => return Ok(("running", shown)),
            Err(failure) if failure.kind == Kind::Unreachable => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(("from its folder", of_folder(&Folder::of(loaded, replica)?, wanted)?))
}

/// What a running node says of its log.
///
/// # Errors
/// It cannot be reached.
pub async fn of_node(loaded: &Loaded, id: u64, wanted: Wanted) -> Result<Shown, Failure> {
    let replica = nodes::replica_of(&loaded.config, id)?;
    let status = nodes::status(replica).await?;
    let last = status.last.unwrap_or_default().offset;
    let from_offset = wanted.from.unwrap_or_else(|| (last + 1).saturating_sub(u64::from(wanted.limit)));
    let request = ShowLogRequest { route: nodes::route(replica), from_offset, limit: wanted.limit };
    let told = nodes::operator(loaded, replica.node)?.show_log(request).await;
    let told = told.map_err(|status| Failure::of_status(&status))?;
    let mut told = told.into_inner();
    mark_retries(&mut told.lines);
    Ok(Shown { lines: told.lines, committed: told.committed, applied: Some(told.applied), problem: None })
}

/// Says of an entry that its request has an entry before it, among those that are shown: a retry, which changes nothing if the
/// first was executed.
fn mark_retries(lines: &mut [LogLine]) {
    let mut first: HashMap<Bytes, u64> = HashMap::new();
    for line in lines.iter_mut().filter(|line| !line.request.is_empty()) {
        let offset = line.position.unwrap_or_default().offset;
        match first.entry(line.request.clone()) {
            Entry::Vacant(place) => {
                place.insert(offset);
            }
            Entry::Occupied(made) => {
                line.summary = format!("same request as {}: {}", made.get(), line.summary);
            }
        }
    }
}

/// What a replica's folder holds.
///
/// # Errors
/// It cannot be read.
pub fn of_folder(folder: &Folder, wanted: Wanted) -> Result<Shown, Failure> {
    let (disk, failed) = (&folder.disk, |error: store_log::Error| folder.failed(&error));
    let mut shown = Shown::default();
    let mut kept: VecDeque<store_core::Entry<Bytes>> = VecDeque::new();
    let limit = wanted.limit as usize;
    for number in log_files(disk).map_err(failed)? {
        let mut visit = |line: store_log::LogLine| {
            match line {
                store_log::LogLine::Batch { commit_mark, .. } => {
                    shown.committed = shown.committed.max(commit_mark.0);
                }
                store_log::LogLine::Entry(entry) => {
                    if wanted.from.is_some_and(|from| entry.position.offset.0 < from) {
                        return true;
                    }
                    if kept.len() == limit {
                        if wanted.from.is_some() {
                            return true;
                        }
                        kept.pop_front();
                    }
                    kept.push_back(entry);
                }
                store_log::LogLine::Bad { at, bytes, problem, torn_write } => {
                    let torn = if torn_write { " (a torn write)" } else { "" };
                    shown.problem = Some(format!("log.{number}, byte {at}: {bytes} bytes: {problem}{torn}"));
                }
                store_log::LogLine::File { .. } | store_log::LogLine::End { .. } => {}
            }
            true
        };
        describe_log(disk, number, &mut visit).map_err(failed)?;
    }
    // What is applied is in the database; the log knows only a lower bound of what is committed.
    shown.lines = kept.iter().map(|entry| describe_entry(entry, shown.committed, 0)).collect();
    mark_retries(&mut shown.lines);
    Ok(shown)
}

/// How an entry stands, in a word.
#[must_use]
pub fn standing(line: &LogLine, applied_known: bool) -> &'static str {
    match (line.committed, line.applied) {
        (true, true) => "committed, applied",
        (true, false) if applied_known => "committed, not applied",
        (true, false) => "committed",
        (false, _) => "intermediate",
    }
}

/// What is shown.
pub(crate) fn answer(id: u64, source: &str, shown: &Shown) -> Answer {
    let mut table = Table::new(&[
        Column::number("EPOCH"),
        Column::number("OFFSET"),
        Column::whole("KIND").dropped(2),
        Column::words("STANDING"),
        Column::number("BYTES").dropped(1),
        Column::words("WHAT"),
    ]);
    let mut documents: Vec<Value> = Vec::new();
    for line in &shown.lines {
        let Position { epoch, offset } = line.position.unwrap_or_default();
        let standing = standing(line, shown.applied.is_some());
        table.row([
            epoch.to_string(),
            offset.to_string(),
            line.kind.clone(),
            standing.to_owned(),
            line.bytes.to_string(),
            line.summary.clone(),
        ]);
        documents.push(json!({
            "epoch": epoch, "offset": offset, "kind": line.kind, "standing": standing,
            "log_time_ms": line.log_time_ms, "bytes": line.bytes, "summary": line.summary,
        }));
    }
    let applied = shown.applied.map_or_else(String::new, |applied| format!(", applied up to {applied}"));
    let problem = shown.problem.as_ref().map_or_else(String::new, |problem| format!("; {problem}"));
    let head = format!(
        "log of node {id} ({source}): committed up to {} as far as it knows{applied}{problem}",
        shown.committed
    );
    let document = json!({
        "node": id, "source": source, "committed": shown.committed, "applied": shown.applied,
        "problem": shown.problem, "entries": documents,
    });
    Answer::table(head, document, table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_whose_request_it_repeats() {
        let line = |offset: u64, request: &'static [u8]| LogLine {
            position: Some(Position { epoch: 2, offset }),
            summary: format!("put {offset}"),
            request: Bytes::from_static(request),
            ..LogLine::default()
        };
        let mut lines =
            [line(4, b"a"), line(5, b""), line(6, b"b"), line(7, b"a"), line(8, b""), line(9, b"a")];
        mark_retries(&mut lines);
        let said: Vec<&str> = lines.iter().map(|line| line.summary.as_str()).collect();
        assert_eq!(
            said,
            ["put 4", "put 5", "put 6", "same request as 4: put 7", "put 8", "same request as 4: put 9",]
        );
    }
}
