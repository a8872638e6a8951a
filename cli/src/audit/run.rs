//! The command: consistent views of all replicas, checked one by one and against each other.

use serde_json::json;

use super::books::Books;
use super::minority;
use super::read::{ReplicaState, start, view};
use crate::config::load::Loaded;
use crate::failure::{Failure, Kind};
use crate::reach::nodes;
use crate::show::answer::{Answer, counted};
use crate::show::table::{Column, Table};

/// Audits every replica.
///
/// # Errors
/// The first difference; or a replica that cannot be reached, after the others were found right.
pub async fn run(loaded: &Loaded) -> Result<Answer, Failure> {
    // All replicas, also those that a file of this machine does not name.
    let (config, statuses) = nodes::of_group(&loaded.config).await;
    let loaded = &Loaded { config, ..loaded.clone() };
    let config = &loaded.config;
    let entry = start(loaded).await?;
    let asked = config.store.nodes.iter().map(|node| view(loaded, node, &entry));
    let views = futures::future::join_all(asked).await;
    let mut right: Vec<(u64, ReplicaState)> = Vec::new();
    let mut silent = None;
    for (node, view) in config.store.nodes.iter().zip(views) {
        match view {
            Ok(view) => right.push((node.id, view)),
            Err(failure) => silent = silent.or(Some((node.id, failure))),
        }
    }
    let Some((first, _)) = right.split_first() else {
        let failure = silent.map(|(_, failure)| failure);
        return Err(failure.unwrap_or_else(|| Failure::unreachable("no replica could be audited")));
    };
    let at = format!("e{}:{}", entry.position.epoch, entry.position.offset);
    // Who is right comes before whether the books are: those of a replica that is wrong say nothing.
    if let Some(verdict) = minority::verdict(&right, config.store.nodes.len()) {
        return Err(Failure::refused(format!("audit at {at}: {}", verdict.what)).next(verdict.next));
    }
    let mut books = Books::default();
    for record in &first.1.records {
        books.enter(record);
    }
    if let Some(difference) = books.first_difference() {
        return Err(Failure::refused(format!("audit at {at}: {difference}")));
    }
    if let Some((missing, failure)) = silent {
        let nodes: Vec<String> = right.iter().map(|(id, _)| id.to_string()).collect();
        let (nodes, equal) = (nodes.join(", "), "are right and equal, but not all could be read");
        let failure = failure.of(format!("audit at {at}: nodes {nodes} {equal}"));
        if failure.kind == Kind::Refused {
            return Err(failure);
        }
        if statuses.iter().flatten().any(|status| status.node == missing && !status.quarantined.is_empty()) {
            return Err(failure.next(format!(
                "node {missing} is quarantined and takes the leader's state by itself: audit again when feira health --strict \
                 says that all is well"
            )));
        }
        // A majority serves the shop; whether all replicas are equal only all of them can show.
        return Err(failure.next(format!(
            "an audit needs every replica: start node {missing} (in a local cluster: feira node start {missing}), \
             let it catch up, and audit again"
        )));
    }
    Ok(answer(&at, &books, &right))
}

/// What is shown of replicas that are right and equal.
pub(crate) fn answer(at: &str, books: &Books, right: &[(u64, ReplicaState)]) -> Answer {
    let summary = books.summary();
    let mut table = Table::new(&[
        Column::number("NODE"),
        Column::whole("POSITION").dropped(1),
        Column::number("RECORDS"),
        Column::whole("HASH"),
    ]);
    for (id, view) in right {
        let state_hash = format!("{:016x}", view.state_hash);
        table.row([id.to_string(), at.to_owned(), view.records.len().to_string(), state_hash]);
    }
    let head = format!(
        "audit at {at}: {}, {}, {}; {} to sell, {} held, {} sold: right and equal on all replicas",
        counted(summary.products, "product"),
        counted(summary.clients, "client"),
        counted(summary.orders, "order"),
        counted(summary.available, "unit"),
        summary.held,
        summary.sold
    );
    let document = json!({
        "position": at, "products": summary.products, "clients": summary.clients, "orders": summary.orders,
        "available": summary.available, "held": summary.held, "sold": summary.sold,
        "replicas": right.iter().map(|(id, view)| json!({
            "node": id, "records": view.records.len(), "state_hash": format!("{:016x}", view.state_hash),
        })).collect::<Vec<_>>(),
    });
    Answer::table(head, document, table)
}
