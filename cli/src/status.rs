//! `feira status`: each replica's role, epoch, log, committed and applied offset, and each portal's cache.

use std::io::IsTerminal;
use std::time::Duration;

use proto::portal::PortalStatusResponse;
use proto::store::{Role, StatusResponse};
use serde_json::{Value, json};

use crate::admin::view::portal_document;
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
        if watch && !out.json && std::io::stdout().is_terminal() {
            // Home, and clear what is below: the picture stays in place without flicker.
            out.answer(&Answer::line("\u{1b}[H\u{1b}[J", Value::Null));
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

/// The nodes as a table.
#[must_use]
pub fn of_nodes(config: &Config, statuses: &[Result<StatusResponse, Failure>]) -> Answer {
    let columns =
        ["NODE", "ADDRESS", "ROLE", "EPOCH", "LAST", "COMMITTED", "APPLIED", "SNAPSHOT", "EFFECTS", "NOTE"];
    let mut table = Table::new(&columns, &[0, 3, 4, 5, 6, 7]);
    let mut documents = Vec::new();
    for (node, status) in config.store.nodes.iter().zip(statuses) {
        let id = node.id.to_string();
        let address = node.reached_at().to_owned();
        match status {
            Ok(status) => {
                table.row([
                    id,
                    address,
                    role(status.role()).to_owned(),
                    status.epoch.to_string(),
                    position(status.last),
                    status.committed.to_string(),
                    position(status.applied),
                    status.snapshot.to_string(),
                    format!("{:016x}", status.effects),
                    status.problem.clone(),
                ]);
                documents.push(document(node.id, node.reached_at(), status));
            }
            Err(failure) => {
                let dash = || "-".to_owned();
                let why = failure.message.lines().next().unwrap_or_default().to_owned();
                table.row([
                    id,
                    address,
                    "down".to_owned(),
                    dash(),
                    dash(),
                    dash(),
                    dash(),
                    dash(),
                    dash(),
                    why,
                ]);
                documents.push(json!({ "node": node.id, "address": node.reached_at(), "role": "down" }));
            }
        }
    }
    Answer::table(format!("cluster {:?}", config.cluster), documents.into(), table)
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
        Role::Unspecified => "unknown",
    }
}

async fn of_portals(config: &Config) -> Answer {
    let mut table = Table::new(
        &["PORTAL", "ADDRESS", "CACHE", "LEASE LEFT", "CACHED", "HITS", "MISSES", "BYPASSES", "GAPS"],
        &[3, 4, 5, 6, 7, 8],
    );
    let mut documents = Vec::new();
    for (word, instances) in
        [("admin-portal", &config.admin_portals), ("client-portal", &config.client_portals)]
    {
        for (at, instance) in (1..).zip(instances) {
            let (name, address) = (format!("{word}-{at}"), instance.listen.clone());
            match ready::portal(&address).await {
                Ok(status) => {
                    table.row(portal_row(name, address.clone(), &status));
                    documents.push(portal_document(&address, &status));
                }
                Err(_) => {
                    let dash = || "-".to_owned();
                    documents.push(json!({ "name": name, "address": address, "state": "down" }));
                    table.row([
                        name,
                        address,
                        "down".to_owned(),
                        dash(),
                        dash(),
                        dash(),
                        dash(),
                        dash(),
                        dash(),
                    ]);
                }
            }
        }
    }
    Answer::table("", documents.into(), table)
}

fn portal_row(name: String, address: String, status: &PortalStatusResponse) -> [String; 9] {
    let states: Vec<&str> = status.groups.iter().map(|group| group.state.as_str()).collect();
    let lease = status.groups.iter().map(|group| group.lease_ms).min().unwrap_or(0);
    [
        name,
        address,
        states.join(" "),
        format!("{lease} ms"),
        format!("{}/{}", status.cached, status.capacity),
        status.hits.to_string(),
        status.misses.to_string(),
        status.bypasses.to_string(),
        status.gaps.to_string(),
    ]
}
