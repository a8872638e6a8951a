//! `feira status`: each replica's role, epoch, log, committed and applied offset, and each portal's cache.

use std::time::Duration;

use proto::portal::PortalStatusResponse;
use proto::store::{Role, StatusResponse};
use serde_json::{Value, json};

use crate::admin::cache::portal_document;
use crate::config::shape::Config;
use crate::failure::Failure;
use crate::kv::view::position;
use crate::reach::nodes;
use crate::show::answer::{Answer, Table};
use crate::show::out::Out;
use crate::up::ready;

/// Between two pictures of `--watch`.
const WATCH: Duration = Duration::from_secs(1);

/// Shows the cluster once, or again and again.
///
/// # Errors
/// No node of the store answers.
pub async fn run(config: &Config, watch: bool, out: &Out) -> Result<(), Failure> {
    loop {
        let (nodes, portals, some) = look(config).await;
        if watch {
            out.clear();
        }
        if out.json {
            let document = json!({ "nodes": nodes.document, "portals": portals.document });
            out.answer(&Answer::line("", document));
        } else {
            out.answer(&nodes);
            out.answer(&portals);
        }
        if !watch {
            return if some {
                Ok(())
            } else {
                Err(Failure::unreachable("no node of the store answers")
                    .next("feira up starts a local cluster"))
            };
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// The nodes, the portals, and whether any node answers.
async fn look(config: &Config) -> (Answer, Answer, bool) {
    let statuses = nodes::statuses(config).await;
    let some = statuses.iter().any(Result::is_ok);
    (of_nodes(config, &statuses), of_portals(config).await, some)
}

/// The nodes as a table, and what ails them below it.
#[must_use]
pub fn of_nodes(config: &Config, statuses: &[Result<StatusResponse, Failure>]) -> Answer {
    let columns = ["NODE", "ADDRESS", "ROLE", "EPOCH", "LAST", "COMMIT", "APPLIED", "SNAP", "EFFECTS"];
    let mut table = Table::new(&columns, &[0, 3, 4, 5, 6, 7]);
    let (mut documents, mut notes) = (Vec::new(), Vec::new());
    for (node, status) in config.store.nodes.iter().zip(statuses) {
        let (id, address) = (node.id.to_string(), node.reached_at().to_owned());
        let note = match status {
            Ok(status) => {
                table.row([
                    id,
                    address,
                    role(status.role()).to_owned(),
                    status.epoch.to_string(),
                    position(status.last),
                    status.committed.to_string(),
                    status.applied.unwrap_or_default().offset.to_string(),
                    status.snapshot.to_string(),
                    // Enough to see by eye whether two differ; --json has all of it.
                    format!("{:08x}", status.effects >> 32),
                ]);
                documents.push(document(node.id, node.reached_at(), status));
                status.problem.as_str()
            }
            Err(failure) => {
                table.row_begun([id, address, "down".to_owned()]);
                documents.push(json!({ "node": node.id, "address": node.reached_at(), "role": "down" }));
                failure.message.lines().next().unwrap_or_default()
            }
        };
        if !note.is_empty() {
            notes.push(format!("node {}: {note}", node.id));
        }
    }
    let head = format!("cluster {:?}", config.cluster);
    Answer { notes, ..Answer::table(head, documents.into(), table) }
}

fn document(id: u64, address: &str, status: &StatusResponse) -> Value {
    let place = |at: Option<proto::store::Position>| {
        let at = at.unwrap_or_default();
        json!({ "epoch": at.epoch, "offset": at.offset })
    };
    json!({
        "node": id, "address": address, "role": role(status.role()), "epoch": status.epoch,
        "leader": status.leader.as_ref().map(|leader| leader.node), "last": place(status.last),
        "committed": status.committed, "applied": place(status.applied), "snapshot": status.snapshot,
        "effects": format!("{:016x}", status.effects), "problem": status.problem, "up_ms": status.up_ms,
    })
}

/// A role in one word.
#[must_use]
pub fn role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Outside => "outside",
        Role::Unspecified => "unknown",
    }
}

async fn of_portals(config: &Config) -> Answer {
    let columns = ["PORTAL", "ADDRESS", "CACHE", "LEASE", "CACHED", "HITS", "MISSES", "BYPASSES"];
    let mut table = Table::new(&columns, &[3, 4, 5, 6, 7]);
    let mut documents = Vec::new();
    for (word, instances) in
        [("admin-portal", &config.admin_portals), ("client-portal", &config.client_portals)]
    {
        for (at, instance) in (1..).zip(instances) {
            let (name, address) = (format!("{word}-{at}"), instance.listen.clone());
            match ready::portal(&address).await {
                Ok(status) => {
                    documents.push(portal_document(&address, &status));
                    table.row(portal_row(name, address, &status));
                }
                Err(_) => {
                    documents.push(json!({ "name": name, "address": address, "state": "down" }));
                    table.row_begun([name, address, "down".to_owned()]);
                }
            }
        }
    }
    Answer::table("", documents.into(), table)
}

fn portal_row(name: String, address: String, status: &PortalStatusResponse) -> [String; 8] {
    let states: Vec<&str> = status.groups.iter().map(|group| group.state.as_str()).collect();
    let lease = status.groups.iter().map(|group| group.lease_ms).min().unwrap_or(0);
    [
        name,
        address,
        states.join(" "),
        format!("{lease} ms"),
        status.cached.to_string(),
        status.hits.to_string(),
        status.misses.to_string(),
        status.bypasses.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::shape::Config;

    #[test]
    fn the_nodes_fit_in_a_hundred_columns() {
        let config = Config::default();
        let at = |offset| Some(proto::store::Position { epoch: 12, offset });
        let status = StatusResponse {
            role: Role::Candidate.into(),
            epoch: 12,
            last: at(1_234_567),
            committed: 1_234_567,
            applied: at(1_234_567),
            snapshot: 1_234_567,
            effects: u64::MAX,
            problem: "a problem that is told in a line of its own, however long it may be".to_owned(),
            ..StatusResponse::default()
        };
        let down = Err(Failure::unreachable("UNAVAILABLE: tcp connect error"));
        let answer = of_nodes(&config, &[Ok(status.clone()), down, Ok(status)]);
        let text = Out::new(false).rendered(answer.table.as_ref().unwrap());
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(text.contains("ffffffff") && answer.notes.len() == 3, "{text}");
        assert_eq!(answer.document[0]["effects"], "ffffffffffffffff");
    }
}
