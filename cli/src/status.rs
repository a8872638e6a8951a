//! `feira status`: where each replica stands, each portal's cache, the broker, and whether people can work.
//!
//! The last is the exit code too, the same as that of [`crate::health`].

use std::time::Duration;

use clap::ValueEnum;
use proto::portal::PortalStatusResponse;
use proto::store::{Role, StatusResponse};
use serde_json::{Value, json};

use crate::admin::cache::portal_document;
use crate::config::shape::{Config, Replica};
use crate::failure::Failure;
use crate::health::{self, Health, PortalSeen};
use crate::kv::view::position;
use crate::repl::mode::Interrupts;
use crate::show::answer::{Answer, counted};
use crate::show::out::Out;
use crate::show::table::{Column, Table};

/// Between two consistent views of `--watch`.
const WATCH: Duration = Duration::from_secs(1);

/// One row a replica. The epoch stands in LAST, too; where a node is, its configuration says.
const NODES: [Column; 9] = [
    Column::number("NODE"),
    Column::whole("ADDRESS").dropped(2),
    Column::whole("ROLE"),
    Column::number("EPOCH").dropped(1),
    Column::number("LAST"),
    Column::number("COMMIT").dropped(5),
    Column::number("APPLIED"),
    Column::number("SNAP").dropped(3),
    Column::whole("HASH").dropped(4),
];
/// Before the others, where the ring has several shards.
const SHARD: Column = Column::number("SHARD");
/// One row a portal.
const PORTALS: [Column; 8] = [
    Column::whole("PORTAL"),
    Column::whole("ADDRESS").dropped(2),
    Column::whole("CACHE"),
    Column::number("LEASE"),
    Column::number("CACHED").dropped(3),
    Column::number("HITS").dropped(5),
    Column::number("MISSES").dropped(4),
    Column::number("BYPASSES").dropped(1),
];

/// Shows the cluster once, or again and again.
///
/// # Errors
/// Staff or shoppers cannot work: [`Health`] says why.
pub async fn run(config: &Config, watch: bool, out: &Out) -> Result<(), Failure> {
    // Taken before the first consistent view: who sees it may press Ctrl-C at once.
    let mut interrupts = Interrupts::of(watch);
    loop {
        // A part that does not answer must not keep whoever wants to leave.
        let view = tokio::select! {
            view = look(config) => view,
            () = interrupts.next() => return Ok(()),
        };
        let ClusterView { nodes, portals, broker, health } = view;
        if watch {
            out.clear();
        }
        if out.json {
            let mut document = health.document();
            document["nodes"] = nodes.document;
            document["portals"] = portals.document;
            document["broker"] = broker.document;
            out.answer(&Answer::line("", document));
        } else {
            out.answer(&nodes);
            out.answer(&portals);
            out.answer(&broker);
            if health.problem.is_none() {
                out.answer(&Answer::line(health.line(), json!(null)));
            }
        }
        out.check()?;
        if out.is_closed() {
            return Ok(());
        }
        match health.problem {
            problem if !watch => return problem.map_or(Ok(()), Err),
            Some(problem) => out.insist(problem.sentence()),
            None => {}
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH) => {}
            () = interrupts.next() => return Ok(()),
        }
    }
}

/// The cluster at one moment.
struct ClusterView {
    nodes: Answer,
    portals: Answer,
    broker: Answer,
    health: Health,
}

async fn look(config: &Config) -> ClusterView {
    let (config, seen) = &health::look(config).await;
    ClusterView {
        nodes: of_nodes(config, &seen.nodes),
        portals: of_portals(&seen.portals),
        broker: of_broker(config, seen.broker),
        health: Health::of(config, seen),
    }
}

/// The replicas as a table, and what ails them below it.
#[must_use]
pub fn of_nodes(config: &Config, statuses: &[Result<StatusResponse, Failure>]) -> Answer {
    let is_ring = config.store.shards().len() > 1;
    let mut table = if is_ring {
        let columns: Vec<Column> = [SHARD].into_iter().chain(NODES).collect();
        Table::new(&columns)
    } else {
        Table::new(&NODES)
    };
    let (mut documents, mut notes) = (Vec::new(), Vec::new());
    for (replica, status) in config.store.replicas().into_iter().zip(statuses) {
        let Replica { node, shard: number } = replica;
        let (id, address) = (node.id.to_string(), node.reached_at().to_owned());
        let shard = is_ring.then(|| number.to_string());
        let note = match status {
            Ok(status) => {
                table.row(shard.into_iter().chain([
                    id,
                    address,
                    role(status.role()).to_owned(),
                    status.epoch.to_string(),
                    position(status.last),
                    status.committed.to_string(),
                    status.applied.unwrap_or_default().offset.to_string(),
                    status.snapshot.to_string(),
                    // Enough to see by eye whether two differ; --json has all of it.
                    format!("{:08x}", status.state_hash >> 32),
                ]));
                documents.push(document(replica, status));
                status.problem.as_str()
            }
            Err(failure) => {
                table.row_begun(shard.into_iter().chain([id, address, "down".to_owned()]));
                documents.push(json!({
                    "node": node.id, "shard": number, "address": node.reached_at(), "role": "down"
                }));
                failure.sentence().lines().next().unwrap_or_default()
            }
        };
        // A node that is down says so once, and not for each of its replicas.
        let is_whole = !node.is_shared() || health::is_silent(config, statuses, node);
        let of = if is_whole { String::new() } else { format!(", shard {number}") };
        let note = if note.is_empty() { None } else { Some(format!("node {}{of}: {note}", node.id)) };
        notes.extend(note.filter(|note| !notes.contains(note)));
    }
    let head = format!("cluster {:?}", config.cluster);
    Answer { notes, ..Answer::table(head, documents.into(), table) }
}

fn document(replica: Replica<'_>, status: &StatusResponse) -> Value {
    let Replica { node, shard } = replica;
    let place = |at: Option<proto::store::Position>| {
        let at = at.unwrap_or_default();
        json!({ "epoch": at.epoch, "offset": at.offset })
    };
    json!({
        "node": node.id, "shard": shard, "address": node.reached_at(), "role": role(status.role()), "epoch": status.epoch,
        "leader": status.leader.as_ref().map(|leader| leader.node), "last": place(status.last),
        "committed": status.committed, "applied": place(status.applied), "snapshot": status.snapshot,
        "state_hash": format!("{:016x}", status.state_hash), "problem": status.problem, "up_ms": status.up_ms,
        "log_time_lag_ms": status.log_time_lag_ms, "quarantined": !status.quarantined.is_empty(),
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
        Role::NonMember => "non-member",
        Role::Unspecified => "unknown",
    }
}

/// The portals as a table, and what ails them below it.
pub(crate) fn of_portals(portals: &[PortalSeen]) -> Answer {
    let mut table = Table::new(&PORTALS);
    let (mut documents, mut notes) = (Vec::new(), Vec::new());
    for PortalSeen { name, address, status, problem, .. } in portals {
        let (name, address) = (name.clone(), address.clone());
        match status {
            Ok(status) => {
                let mut document = portal_document(&address, status);
                document["problem"] = problem.clone().into();
                documents.push(document);
                notes.extend(ignored(&name, status.ignored));
                notes.extend(bus_problem(&name, &status.bus_problem));
                notes.extend(problem.as_ref().map(|why| format!("{name} does not serve: {why}")));
                table.row(portal_row(name, address, status));
            }
            Err(_) => {
                documents.push(json!({ "name": name, "address": address, "state": "down" }));
                table.row_begun([name, address, "down".to_owned()]);
            }
        }
    }
    Answer { notes, ..Answer::table("", documents.into(), table) }
}

/// What a portal ignored of the bus, if it did.
fn ignored(name: &str, messages: u64) -> Option<String> {
    let of = counted(messages, "message");
    let why = "of another cluster of this name, or none of ours";
    (messages > 0).then(|| format!("{name}: {of} of the bus ignored: {why}"))
}

/// Why a portal cannot use the broker, if it cannot.
fn bus_problem(name: &str, why: &str) -> Option<String> {
    (!why.is_empty())
        .then(|| format!("{name}: the broker cannot be used: {why}; it reads the store meanwhile"))
}

/// Where the broker is, and whether anything answers there.
pub(crate) fn of_broker(config: &Config, up: bool) -> Answer {
    let kind = config.broker.kind.to_possible_value();
    let kind = kind.as_ref().map_or("", |kind| kind.get_name());
    let address = &config.broker.listen;
    let state = if up { "up" } else { "down" };
    let meaning = if state == "up" { "" } else { ": portals read the store meanwhile, only slower" };
    let document = json!({ "name": "broker", "kind": kind, "address": address, "state": state });
    Answer::line(format!("broker ({kind}) at {address} is {state}{meaning}"), document)
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
    use crate::show::table::Look;
    use crate::show::wrap::columns;

    #[test]
    fn status_is_one_row_a_node_at_any_usual_width() {
        let config = Config::default();
        let at = |offset| Some(proto::store::Position { epoch: 12, offset });
        let status = StatusResponse {
            role: Role::Candidate.into(),
            epoch: 12,
            last: at(1_234_567),
            committed: 1_234_567,
            applied: at(1_234_567),
            snapshot: 1_234_567,
            state_hash: u64::MAX,
            problem: "a problem that is told in a line of its own, however long it may be".to_owned(),
            ..StatusResponse::default()
        };
        let down = Err(Failure::unreachable("UNAVAILABLE: tcp connect error"));
        let answer = of_nodes(&config, &[Ok(status.clone()), down, Ok(status)]);
        for width in [60, 80, 100] {
            let look = Look { width: Some(width), ..Look::default() };
            let text = answer.table.as_ref().unwrap().drawn(look);
            assert!(text.lines().all(|line| columns(line) <= width), "{text}");
            assert_eq!(text.lines().count(), 4 + 3, "a row a node: {text}");
            assert!(width < 100 || text.contains("ffffffff"), "{text}");
        }
        assert_eq!(answer.notes.len(), 3);
        assert_eq!(answer.document[0]["state_hash"], "ffffffffffffffff");
    }
}
