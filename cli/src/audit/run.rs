//! The command: consistent views of all replicas, checked one by one and against each other.

use proto::store::{Position, StatusResponse};
use serde_json::json;
use store_client::Group;

use super::books::{Books, PREFIXES, Summary};
use super::minority;
use super::read::{Entry, ReplicaState, start, view};
use crate::config::load::Loaded;
use crate::cut;
use crate::failure::{Failure, Kind};
use crate::reach::nodes;
use crate::show::answer::{Answer, counted};
use crate::show::table::{Column, Table};

/// The group of a ring of one shard.
const ONLY: Group = 1;

/// Audits every replica.
///
/// # Errors
/// The first difference; or a replica that cannot be reached, after the others were found right.
pub async fn run(loaded: &Loaded) -> Result<Answer, Failure> {
    if loaded.config.store.shard_count() > 1 {
        return ring(loaded).await;
    }
    // All replicas, also those that a file of this machine does not name.
    let (config, statuses) = nodes::of_group(&loaded.config).await;
    let loaded = &Loaded { config, ..loaded.clone() };
    let entry = start(loaded).await?;
    let at = shown_at(entry.position);
    let views = Views::read(loaded, &entry).await?;
    views.check_equal(&at, "")?;
    let mut books = Books::default();
    views.enter(ONLY, &mut books);
    if let Some(difference) = books.first_difference() {
        return Err(Failure::refused(format!("audit at {at}: {difference}")));
    }
    views.check_all(&at, &statuses)?;
    Ok(answer(&at, &books, &views.right))
}

/// Audits every replica of every shard, at one moment.
async fn ring(loaded: &Loaded) -> Result<Answer, Failure> {
    let taken = cut::take(loaded, &PREFIXES).await?;
    let all = taken.shards.iter().map(async |shard| {
        let entry = Entry { id: taken.id.clone(), position: shard.position };
        let at = format!("{} of shard {}", shown_at(shard.position), shard.number);
        Views::read(&shard.loaded, &entry).await.map(|views| (shard, at, views))
    });
    // Each shard's replicas are asked at once: they keep their views for a few seconds only.
    let all: Vec<(&cut::Shard, String, Views)> =
        futures::future::join_all(all).await.into_iter().collect::<Result<_, _>>()?;
    let mut books = Books::default();
    let is_shared = loaded.config.store.is_shared();
    for (shard, at, views) in &all {
        let of = if is_shared { format!(" --shard {}", shard.number) } else { String::new() };
        views.check_equal(at, &of)?;
        views.enter(shard.number, &mut books);
    }
    if let Some(difference) = books.first_difference() {
        let at: Vec<&str> = all.iter().map(|(_, at, _)| at.as_str()).collect();
        return Err(Failure::refused(format!("audit at {}: {difference}", at.join(", "))));
    }
    for (shard, at, views) in &all {
        views.check_all(at, &shard.statuses)?;
    }
    let right: Vec<Right<'_>> = all
        .iter()
        .map(|(shard, _, views)| Right {
            shard: shard.number,
            at: shown_at(shard.position),
            replicas: &views.right,
        })
        .collect();
    Ok(answer_of_ring(&books, &right))
}

/// What the replicas of one shard held at one entry.
struct Views {
    /// How many replicas there are.
    nodes: usize,
    right: Vec<(u64, ReplicaState)>,
    /// The first that could not be read, and why.
    silent: Option<(u64, Failure)>,
}

impl Views {
    async fn read(loaded: &Loaded, entry: &Entry) -> Result<Views, Failure> {
        let replicas = loaded.config.store.replicas();
        let asked = replicas.iter().map(|replica| view(loaded, *replica, entry));
        let mut views = Views { nodes: replicas.len(), right: Vec::new(), silent: None };
        for (replica, view) in replicas.iter().zip(futures::future::join_all(asked).await) {
            let id = replica.node.id;
            match view {
                Ok(view) => views.right.push((id, view)),
                Err(failure) => views.silent = views.silent.or(Some((id, failure))),
            }
        }
        if views.right.is_empty() {
            let failure = views.silent.map(|(_, failure)| failure);
            return Err(failure.unwrap_or_else(|| Failure::unreachable("no replica could be audited")));
        }
        Ok(views)
    }

    /// Who is right comes before whether the books are: those of a replica that is wrong say nothing.
    fn check_equal(&self, at: &str, of: &str) -> Result<(), Failure> {
        match minority::verdict(&self.right, self.nodes, of) {
            None => Ok(()),
            Some(verdict) => {
                Err(Failure::refused(format!("audit at {at}: {}", verdict.what)).next(verdict.next))
            }
        }
    }

    fn enter(&self, group: Group, books: &mut Books) {
        for record in self.right.first().iter().flat_map(|(_, first)| &first.records) {
            books.enter(group, record);
        }
    }

    /// A majority serves the shop; whether all replicas are equal only all of them can show.
    fn check_all(&self, at: &str, statuses: &[Result<StatusResponse, Failure>]) -> Result<(), Failure> {
        let Some((missing, failure)) = &self.silent else { return Ok(()) };
        let nodes: Vec<String> = self.right.iter().map(|(id, _)| id.to_string()).collect();
        let (nodes, equal) = (nodes.join(", "), "are right and equal, but not all could be read");
        let failure = failure.clone().of(format!("audit at {at}: nodes {nodes} {equal}"));
        if failure.kind == Kind::Refused {
            return Err(failure);
        }
        if statuses.iter().flatten().any(|status| status.node == *missing && !status.quarantined.is_empty()) {
            return Err(failure.next(format!(
                "node {missing} is quarantined and takes the leader's state by itself: audit again when feira health --strict \
                 says that all is well"
            )));
        }
        Err(failure.next(format!(
            "an audit needs every replica: start node {missing} (in a local cluster: feira node start {missing}), \
             let it catch up, and audit again"
        )))
    }
}

fn shown_at(position: Position) -> String {
    format!("e{}:{}", position.epoch, position.offset)
}

/// A shard whose replicas are right and equal.
pub(crate) struct Right<'a> {
    /// Its number.
    pub(crate) shard: u64,
    /// The position of its view.
    pub(crate) at: String,
    /// What each replica held.
    pub(crate) replicas: &'a [(u64, ReplicaState)],
}

/// What is shown of a ring that is right.
pub(crate) fn answer_of_ring(books: &Books, shards: &[Right<'_>]) -> Answer {
    let mut table = Table::new(&[
        Column::number("SHARD"),
        Column::number("NODE"),
        Column::whole("POSITION").dropped(1),
        Column::number("RECORDS"),
        Column::whole("HASH"),
    ]);
    let mut replicas = Vec::new();
    for Right { shard, at, replicas: of } in shards {
        for (id, view) in *of {
            let (records, hash) = (view.records.len(), format!("{:016x}", view.state_hash));
            table.row([shard.to_string(), id.to_string(), at.clone(), records.to_string(), hash.clone()]);
            replicas.push(json!({
                "shard": shard, "node": id, "position": at, "records": records, "state_hash": hash,
            }));
        }
    }
    let count = shards.len();
    let summary = books.summary();
    let head =
        format!("audit of {count} shards at one moment: {}: right and equal on all replicas", sums(&summary));
    let document = json!({
        "products": summary.products, "clients": summary.clients, "orders": summary.orders,
        "available": summary.available, "held": summary.held, "sold": summary.sold, "replicas": replicas,
    });
    Answer::table(head, document, table)
}

fn sums(summary: &Summary) -> String {
    format!(
        "{}, {}, {}; {} to sell, {} held, {} sold",
        counted(summary.products, "product"),
        counted(summary.clients, "client"),
        counted(summary.orders, "order"),
        counted(summary.available, "unit"),
        summary.held,
        summary.sold
    )
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
    let head = format!("audit at {at}: {}: right and equal on all replicas", sums(&summary));
    let document = json!({
        "position": at, "products": summary.products, "clients": summary.clients, "orders": summary.orders,
        "available": summary.available, "held": summary.held, "sold": summary.sold,
        "replicas": right.iter().map(|(id, view)| json!({
            "node": id, "records": view.records.len(), "state_hash": format!("{:016x}", view.state_hash),
        })).collect::<Vec<_>>(),
    });
    Answer::table(head, document, table)
}
