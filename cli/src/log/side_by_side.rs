//! The logs of all nodes side by side: a row for each entry, a column for each node.
//!
//! Two entries at one offset are two rows: so a log that diverged is seen at once, with whose entries will go.

use std::collections::BTreeMap;

use proto::store::{LogLine, Position};
use serde_json::{Value, json};

use super::show::{Shown, Wanted, of_either, standing};
use crate::config::load::Loaded;
use crate::failure::Failure;
use crate::kv::view::position;
use crate::reach::nodes;
use crate::show::answer::Answer;
use crate::show::table::{Column, Table};

/// The log of each node, as far as it can be seen.
type Logs = Vec<(u64, Result<Shown, Failure>)>;

/// Shows them.
///
/// # Errors
/// No node's log can be seen.
pub async fn show(loaded: &Loaded, wanted: Wanted, folder: bool) -> Result<Answer, Failure> {
    if let shards @ [_, _, ..] = loaded.config.store.shards().as_slice() {
        return Err(Failure::usage("each shard has a log of its own").next(nodes::one_of(shards)));
    }
    let (config, _) = nodes::of_group(&loaded.config).await;
    // Those that joined too.
    let loaded = &Loaded { config, ..loaded.clone() };
    let ids = loaded.config.store.nodes.iter().map(|node| node.id);
    let wanted = Wanted { from: first(loaded, wanted).await, ..wanted };
    let looks = ids.map(async |id| (id, of_either(loaded, id, wanted, folder).await.map(|(_, shown)| shown)));
    let logs: Logs = futures::future::join_all(looks).await;
    if let [(_, Err(first)), rest @ ..] = logs.as_slice()
        && rest.iter().all(|(_, log)| log.is_err())
    {
        return Err(first.clone());
    }
    Ok(answer(&loaded.config.cluster, wanted.limit, &logs))
}

/// The first offset, the same for all: the last entries of the longest log. `None`: no node runs, each log has its own.
async fn first(loaded: &Loaded, wanted: Wanted) -> Option<u64> {
    if wanted.from.is_some() {
        return wanted.from;
    }
    let statuses = nodes::statuses(&loaded.config).await;
    let last = statuses.iter().flatten().filter_map(|status| status.last).map(|last| last.offset).max();
    last.map(|last| (last + 1).saturating_sub(u64::from(wanted.limit)))
}

/// An entry: where it stands, and what it is.
type Entry = (u64, u64, String);

fn answer(cluster: &str, limit: u32, logs: &Logs) -> Answer {
    let mut rows: BTreeMap<Entry, BTreeMap<u64, &'static str>> = BTreeMap::new();
    let (mut warnings, mut documents) = (Vec::new(), Vec::new());
    for (id, log) in logs {
        match log {
            Ok(shown) => {
                for line in shown.lines.iter().take(limit as usize) {
                    rows.entry(entry_of(line))
                        .or_default()
                        .insert(*id, standing(line, shown.applied.is_some()));
                }
                warnings.extend(shown.problem.as_ref().map(|problem| format!("node {id}: {problem}")));
            }
            Err(failure) => warnings.push(format!("node {id}: its log cannot be seen: {}", failure.message)),
        }
    }
    let of_nodes = logs.iter().map(|(id, _)| Column::whole("").titled(format!("NODE {id}")));
    let columns: Vec<Column> =
        [Column::whole("AT")].into_iter().chain(of_nodes).chain([Column::words("WHAT")]).collect();
    let mut table = Table::new(&columns);
    for ((offset, epoch, what), nodes) in rows {
        let at = Some(Position { epoch, offset });
        let mut row = vec![position(at)];
        row.extend(
            logs.iter().map(|(id, _)| nodes.get(id).map_or("-", |standing| short(standing)).to_owned()),
        );
        row.push(what.clone());
        table.rows.push(row);
        let nodes: serde_json::Map<String, Value> =
            nodes.iter().map(|(id, standing)| (id.to_string(), (*standing).into())).collect();
        documents.push(json!({ "epoch": epoch, "offset": offset, "summary": what, "nodes": nodes }));
    }
    let head = format!("the logs of cluster {cluster:?}");
    Answer::table(head, documents.into(), table).warning(warnings)
}

fn entry_of(line: &LogLine) -> Entry {
    let Position { epoch, offset } = line.position.unwrap_or_default();
    (offset, epoch, line.summary.clone())
}

/// How an entry stands, in a word: whatever is applied is committed.
fn short(standing: &'static str) -> &'static str {
    match standing {
        "committed, applied" => "applied",
        "committed, not applied" => "committed",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(epoch: u64, offset: u64, summary: &str, committed: bool, applied: bool) -> LogLine {
        let position = Some(Position { epoch, offset });
        LogLine { position, summary: summary.to_owned(), committed, applied, ..LogLine::default() }
    }

    #[test]
    fn a_diverged_log_is_seen_beside_the_others() {
        let shown = |lines: Vec<LogLine>| Ok(Shown { lines, applied: Some(1), ..Shown::default() });
        let logs = vec![
            (1, shown(vec![entry(1, 1, "put a", true, true), entry(2, 2, "put b", true, false)])),
            (2, shown(vec![entry(1, 1, "put a", true, true), entry(1, 2, "put x", false, false)])),
            (3, Err(Failure::unreachable("no answer".to_owned()))),
        ];
        let answer = answer("shop", 20, &logs);
        let table = answer.table.expect("a table");
        let titles: Vec<&str> = table.columns.iter().map(|column| &*column.title).collect();
        assert_eq!(titles, ["AT", "NODE 1", "NODE 2", "NODE 3", "WHAT"]);
        assert_eq!(
            table.rows,
            [
                ["e1:1", "applied", "applied", "-", "put a"],
                ["e1:2", "-", "intermediate", "-", "put x"],
                ["e2:2", "committed", "-", "-", "put b"],
            ]
        );
        assert_eq!(answer.warnings, ["node 3: its log cannot be seen: no answer"]);
    }
}
