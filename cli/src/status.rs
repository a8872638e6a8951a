//! `feira status`: where each replica stands, each portal's cache, the broker, and whether the store can serve.
//!
//! The last is the exit code too: 0 only if a majority of the voters answers and one of them leads.

use std::time::Duration;

use clap::ValueEnum;
use proto::portal::PortalStatusResponse;
use proto::store::{MemberPart, Role, StatusResponse};
use serde_json::{Value, json};

use crate::admin::cache::portal_document;
use crate::config::shape::Config;
use crate::failure::Failure;
use crate::kv::view::position;
use crate::reach::nodes;
use crate::repl::mode::Interrupts;
use crate::show::answer::{Answer, Table, counted};
use crate::show::out::Out;
use crate::up::ready;

/// Between two pictures of `--watch`.
const WATCH: Duration = Duration::from_secs(1);

/// Shows the cluster once, or again and again.
///
/// # Errors
/// The store cannot serve: no majority of its voters answers, or none of them leads.
pub async fn run(config: &Config, watch: bool, out: &Out) -> Result<(), Failure> {
    // Taken before the first picture: who sees it may press Ctrl-C at once.
    let mut interrupts = Interrupts::of(watch);
    loop {
        // A part that does not answer must not keep whoever wants to leave.
        let picture = tokio::select! {
            picture = look(config) => picture,
            () = interrupts.next() => return Ok(()),
        };
        let Picture { nodes, portals, broker, trouble } = picture;
        if watch {
            out.clear();
        }
        if out.json {
            let document = json!({
                "nodes": nodes.document, "portals": portals.document, "broker": broker.document,
                "serving": trouble.is_none(),
            });
            out.answer(&Answer::line("", document));
        } else {
            out.answer(&nodes);
            out.answer(&portals);
            out.answer(&broker);
        }
        match trouble {
            trouble if !watch => return trouble.map_or(Ok(()), Err),
            Some(trouble) => out.say(&trouble.message),
            None => {}
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH) => {}
            () = interrupts.next() => return Ok(()),
        }
    }
}

/// The cluster at one moment.
struct Picture {
    nodes: Answer,
    portals: Answer,
    broker: Answer,
    /// Why the store cannot serve; `None`: it can.
    trouble: Option<Failure>,
}

async fn look(config: &Config) -> Picture {
    let (statuses, portals, broker) =
        tokio::join!(nodes::statuses(config), of_portals(config), of_broker(config));
    let trouble = trouble(config, &statuses);
    Picture { nodes: of_nodes(config, &statuses), portals, broker, trouble }
}

/// Why the store cannot serve, by what its nodes say; `None`: a leader and a majority of the voters answer.
fn trouble(config: &Config, statuses: &[Result<StatusResponse, Failure>]) -> Option<Failure> {
    let nodes = config.store.nodes.iter().map(|node| node.id).zip(statuses);
    let answering: Vec<(u64, &StatusResponse)> =
        nodes.clone().filter_map(|(id, status)| Some((id, status.as_ref().ok()?))).collect();
    let silent: Vec<u64> = nodes.filter(|(_, status)| status.is_err()).map(|(id, _)| id).collect();
    let start: Vec<String> = silent.iter().map(|id| format!("feira node start {id}")).collect();
    let start = format!("start what is down (in a local cluster: {})", start.join(", "));
    if answering.is_empty() {
        let failure = Failure::unreachable("no node of the store answers");
        return Some(
            failure
                .next("feira up starts a local cluster; in one that runs, feira node start ID starts a node"),
        );
    }
    // The leader knows best who votes; a node outside of the group has an old membership.
    let inside = answering.iter().filter(|(_, status)| status.role() != Role::Outside);
    let newest = inside.max_by_key(|(_, status)| (status.role() == Role::Leader, status.epoch));
    let voters = newest.map_or_else(Vec::new, |(_, status)| voters_of(status));
    let voters =
        if voters.is_empty() { config.store.nodes.iter().map(|node| node.id).collect() } else { voters };
    let voting = answering.iter().filter(|(id, _)| voters.contains(id)).count();
    let needed = voters.len() / 2 + 1;
    if voting < needed {
        let message = format!(
            "no quorum: {voting} of {} answer, {needed} are needed to serve; nothing is lost",
            counted(voters.len(), "voter")
        );
        return Some(Failure::unreachable(message).next(start));
    }
    if answering.iter().any(|(_, status)| status.role() == Role::Leader) {
        return None;
    }
    let failure = Failure::unreachable("no node leads: an election is under way");
    Some(failure.next("look again in a moment; if it stays so, the nodes do not reach each other"))
}

/// Who votes, by the newest membership that a node knows.
fn voters_of(status: &StatusResponse) -> Vec<u64> {
    let voting = status.members.iter().filter(|member| member.part() != MemberPart::MemberLearner);
    voting.filter_map(|member| Some(member.member.as_ref()?.node)).collect()
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
        "log_time_lag_ms": status.log_time_lag_ms, "fenced": !status.fenced.is_empty(),
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
    let (mut documents, mut notes) = (Vec::new(), Vec::new());
    for (word, instances) in
        [("admin-portal", &config.admin_portals), ("client-portal", &config.client_portals)]
    {
        for (at, instance) in (1..).zip(instances) {
            let (name, address) = (format!("{word}-{at}"), instance.listen.clone());
            match ready::portal(&address).await {
                Ok(status) => {
                    documents.push(portal_document(&address, &status));
                    notes.extend(ignored(&name, status.ignored));
                    table.row(portal_row(name, address, &status));
                }
                Err(_) => {
                    documents.push(json!({ "name": name, "address": address, "state": "down" }));
                    table.row_begun([name, address, "down".to_owned()]);
                }
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

/// Where the broker is, and whether anything answers there.
async fn of_broker(config: &Config) -> Answer {
    let kind = config.broker.kind.to_possible_value();
    let kind = kind.as_ref().map_or("", |kind| kind.get_name());
    let address = &config.broker.listen;
    let state = if ready::broker(address).await { "up" } else { "down" };
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
    use crate::config::shape::Config;

    #[test]
    fn a_cluster_without_a_quorum_was_no_failure() {
        let config = Config::default();
        let status =
            |role: Role| Ok(StatusResponse { role: role.into(), epoch: 3, ..StatusResponse::default() });
        let down = || Err(Failure::unreachable("down"));
        let of = |statuses: [Result<StatusResponse, Failure>; 3]| {
            trouble(&config, &statuses).map(|failure| (failure.kind.exit_code(), failure.to_string()))
        };
        assert_eq!(of([status(Role::Leader), status(Role::Follower), status(Role::Follower)]), None);
        assert_eq!(of([down(), status(Role::Leader), status(Role::Follower)]), None);
        let (code, said) = of([down(), down(), status(Role::Leader)]).unwrap();
        assert_eq!(code, 3);
        assert!(
            said.contains("1 of 3 voters answer, 2 are needed")
                && said.contains("feira node start 1, feira node start 2")
        );
        let (_, said) = of([down(), status(Role::Candidate), status(Role::Follower)]).unwrap();
        assert!(said.contains("no node leads"), "{said}");
        let (_, said) = of([down(), down(), down()]).unwrap();
        assert!(said.contains("no node of the store answers"), "{said}");
    }

    #[test]
    fn who_votes_is_what_the_membership_says() {
        let member = |node: u64, part: MemberPart| proto::store::MemberStatus {
            member: Some(proto::store::Member { node, ..Default::default() }),
            part: part.into(),
        };
        let members = vec![member(1, MemberPart::Voter), member(2, MemberPart::MemberLearner)];
        let leader = StatusResponse { role: Role::Leader.into(), members, ..StatusResponse::default() };
        let down = || Err(Failure::unreachable("down"));
        assert!(trouble(&Config::default(), &[Ok(leader), down(), down()]).is_none());
    }

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
