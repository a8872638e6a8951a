//! `feira health`: whether staff and shoppers can work now, in one line and an exit code.
//!
//! Promises: *well* is a leader with a majority that takes writes, and of each kind of portal that is configured one that reads
//! through the store. Any other part that is down means *degraded*: named, and no failure unless `--strict`. `feira status` ends
//! with the same code. Leaves out how each part stands: [`crate::status`].

use std::time::Duration;

use portal::error::Error;
use proto::portal::admin_client::AdminClient;
use proto::portal::shop_client::ShopClient;
use proto::portal::{ListOrdersRequest, ListRequest, PortalStatusResponse};
use proto::store::{Role, StatusResponse};
use serde_json::{Value, json};
use store_keys::ClusterId;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use crate::args::Health as HealthArgs;
use crate::config::shape::{Config, Node, Replica};
use crate::failure::{Failure, Kind};
use crate::reach::joint::{self, Folder};
use crate::reach::named_channel::{self, NamedChannel};
use crate::reach::{nodes, stranger, whose};
use crate::show::answer::{Answer, counted};
use crate::show::out::Out;
use crate::up::ready;

/// A portal answers a small read within this, or nobody can work with it.
const READ_MAX: Duration = Duration::from_secs(3);
/// Between two looks of whoever waits.
const LOOK: Duration = Duration::from_millis(500);
/// A client whom nobody registers: that it is unknown is read through the store like any answer.
const NOBODY: &str = "feira-health";

/// Everything that was seen at one moment.
#[derive(Debug)]
pub struct Seen {
    /// What each replica says, in their order in the configuration.
    pub nodes: Vec<Result<StatusResponse, Failure>>,
    /// The portals, administrators' first.
    pub portals: Vec<PortalSeen>,
    /// Whether anything answers where the broker is to be.
    pub broker: bool,
}

/// What was seen of a portal.
#[derive(Debug)]
pub struct PortalSeen {
    /// Its kind, as its name begins: `admin-portal`.
    pub kind: &'static str,
    /// Its name: `admin-portal-1`.
    pub name: String,
    /// Where it is to serve.
    pub address: String,
    /// What it says of itself.
    pub status: Result<PortalStatusResponse, Failure>,
    /// Why it does not read through the store; `None`: it does.
    pub problem: Option<String>,
}

/// Whether people can work, and what is down.
#[derive(Clone, PartialEq, Debug)]
pub struct Health {
    /// Why they cannot; `None`: they can.
    pub problem: Option<Failure>,
    /// What is down that others stand in for.
    pub degraded: Vec<String>,
    /// Who leads each shard.
    leaders: Vec<u64>,
}

/// Looks, once or until all is well, and tells.
///
/// # Errors
/// They cannot work, or something is degraded and that is not well enough.
pub async fn run(config: &Config, args: HealthArgs, out: &Out) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(args.wait);
    let health = loop {
        let (config, seen) = look(config).await;
        let health = Health::of(&config, &seen);
        if health.is_well(args.strict) || Instant::now() + LOOK >= deadline {
            break health;
        }
        sleep(LOOK).await;
    };
    out.answer(&Answer::line(health.line(), health.document()));
    if health.is_well(args.strict) {
        return Ok(());
    }
    let degraded = || Failure::unreachable(health.degraded.join("; "));
    Err(health.problem.clone().unwrap_or_else(degraded).told())
}

/// Looks at every part at once; the configuration with the nodes that joined, and what was seen.
pub async fn look(config: &Config) -> (Config, Seen) {
    let all = [("admin-portal", &config.admin_portals), ("client-portal", &config.client_portals)];
    let meant = config.whose();
    let portals = all.into_iter().flat_map(|(kind, instances)| {
        (1..).zip(instances).map(move |(at, instance)| portal(kind, at, instance.listen.clone(), meant))
    });
    let ((whole, nodes), portals, broker) = tokio::join!(
        nodes::of_group(config),
        futures::future::join_all(portals),
        ready::broker(&config.broker.listen)
    );
    (whole, Seen { nodes, portals, broker })
}

async fn portal(kind: &'static str, at: usize, address: String, meant: Option<ClusterId>) -> PortalSeen {
    let (status, problem) = tokio::join!(nodes::portal_status(&address), read(kind, &address, meant));
    let status = status.and_then(|status| whose::check_portal(meant, &address, &status).map(|()| status));
    PortalSeen { kind, name: format!("{kind}-{at}"), address, status, problem }
}

/// Reads through a portal what it never answers from its cache. Why it does not answer, if it does not.
async fn read(kind: &str, address: &str, meant: Option<ClusterId>) -> Option<String> {
    let channel = match nodes::channel(address) {
        Ok(channel) => named_channel::open(channel, meant),
        Err(failure) => return Some(failure.message),
    };
    let answer = timeout(READ_MAX, async {
        if kind == "admin-portal" {
            let list = ListRequest { limit: 1, ..ListRequest::default() };
            AdminClient::new(channel.clone()).list_products(list).await.map(drop)
        } else {
            let list = ListOrdersRequest { cid: NOBODY.to_owned(), limit: 1, ..ListOrdersRequest::default() };
            ShopClient::new(channel.clone()).list_orders(list).await.map(drop)
        }
    });
    match answer.await {
        Ok(Ok(())) => None,
        Ok(Err(status)) => why_not(&status, channel).await,
        Err(_) => Some(format!("does not answer within {} s", READ_MAX.as_secs())),
    }
}

/// A refusal was read through the store, too.
async fn why_not(status: &Status, channel: NamedChannel) -> Option<String> {
    match Error::from_status(status) {
        Some(wrong @ Error::WrongCluster { .. }) => Some(wrong.to_string()),
        Some(
            Error::Unavailable { why, .. }
            | Error::Overloaded { why, .. }
            | Error::OutcomeUnknown { why, .. },
        ) => Some(why),
        Some(_) => None,
        None if status.code() == tonic::Code::Unimplemented => {
            let who = stranger::name(channel).await.unwrap_or_else(|| "another program".to_owned());
            Some(format!("{who} answers there"))
        }
        None => Some("is down".to_owned()),
    }
}

impl Health {
    /// What follows from what was seen. Pure.
    #[must_use]
    pub fn of(config: &Config, seen: &Seen) -> Health {
        let problem = ring_problem(config, &seen.nodes).or_else(|| portals_problem(&seen.portals));
        let pairs = || config.store.replicas().into_iter().zip(&seen.nodes);
        let leader_of = |shard: u64| {
            let of_shard = pairs()
                .filter(move |(replica, _)| replica.shard == shard)
                .filter_map(|(_, status)| status.as_ref().ok());
            of_shard.filter(|status| status.role() == Role::Leader).max_by_key(|status| status.epoch)
        };
        let mut degraded: Vec<String> = Vec::new();
        for (replica, status) in pairs() {
            let Replica { node, shard } = replica;
            let what = match status {
                Err(failure) if is_silent(config, &seen.nodes, node) => Some(away(&node.name(), failure)),
                Err(failure) => Some(away(&replica.name(), failure)),
                Ok(status) if !status.quarantined.is_empty() => {
                    Some(format!("{} is quarantined", replica.name()))
                }
                Ok(status) => {
                    let problem = (!status.standing_problem.is_empty())
                        .then(|| format!("{}: {}", replica.name(), status.standing_problem));
                    astray(&replica.name(), status, leader_of(shard)).or(problem)
                }
            };
            // A node that is down says so once, and not for each of its replicas.
            degraded.extend(what.filter(|what| !degraded.contains(what)));
        }
        for PortalSeen { name, problem, .. } in &seen.portals {
            degraded.extend(problem.as_ref().map(|why| format!("{name}: {why}")));
        }
        if !seen.broker {
            degraded.push("the broker is down".to_owned());
        } else if let Some((name, why)) = refused_by_the_broker(&seen.portals) {
            degraded.push(format!("the broker cannot be used by {name}: {why}"));
        }
        let leaders = config.store.shards().into_iter().filter_map(leader_of).map(|status| status.node);
        Health { problem, degraded, leaders: leaders.collect() }
    }

    /// Whether it is well enough.
    #[must_use]
    pub fn is_well(&self, strict: bool) -> bool {
        self.problem.is_none() && (!strict || self.degraded.is_empty())
    }

    /// All of it in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        for name in self.leaders.iter().map(|node| format!("node-{node}")) {
            names.extend((!names.contains(&name)).then_some(name));
        }
        let leads = match names.as_slice() {
            [] => "no node leads".to_owned(),
            [one] => format!("{one} leads"),
            several => format!("{} lead", several.join(", ")),
        };
        match (&self.problem, self.degraded.as_slice()) {
            (Some(problem), _) => format!("not serving: {}", problem.message.replace('\n', " ")),
            (None, []) => {
                format!("well: {leads}, writes are taken, portals of each kind read through the store")
            }
            (None, degraded) => {
                format!("degraded: {leads}, and people can work, but {}", degraded.join("; "))
            }
        }
    }

    /// The same for programs.
    #[must_use]
    pub fn document(&self) -> Value {
        json!({
            "serving": self.problem.is_none(), "leader": self.leaders.first(), "leaders": self.leaders,
            "degraded": self.degraded,
            "problem": self.problem.as_ref().map(|failure| failure.message.clone()),
            "next": self.problem.as_ref().and_then(|failure| failure.next.clone()),
        })
    }
}

/// Why no portal of a kind serves; `None`: one of each kind does.
fn portals_problem(portals: &[PortalSeen]) -> Option<Failure> {
    for (kind, whom) in [("admin-portal", "staff"), ("client-portal", "shoppers")] {
        let mut of_kind = portals.iter().filter(|portal| portal.kind == kind).peekable();
        if of_kind.peek().is_none() || of_kind.clone().any(|portal| portal.problem.is_none()) {
            continue;
        }
        let each = of_kind.map(|portal| {
            let why = portal.problem.as_deref().unwrap_or_default();
            format!("{} at {} {why}", portal.name, portal.address)
        });
        let message = format!("no portal serves {whom}: {}", each.collect::<Vec<_>>().join("; "));
        return Some(
            Failure::unreachable(message)
                .next("in a local cluster that runs: feira node start PART; feira status shows all parts"),
        );
    }
    None
}

/// A portal that says that it cannot use the broker, and why.
fn refused_by_the_broker(portals: &[PortalSeen]) -> Option<(&str, &str)> {
    let said = portals.iter().filter_map(|one| Some((one.name.as_str(), one.status.as_ref().ok()?)));
    said.map(|(name, status)| (name, status.bus_problem.as_str())).find(|(_, why)| !why.is_empty())
}

/// Why a shard of the ring cannot serve; `None`: all can.
fn ring_problem(config: &Config, statuses: &[Result<StatusResponse, Failure>]) -> Option<Failure> {
    let shards = config.store.shards();
    if shards.len() == 1 {
        return store_problem(config, statuses);
    }
    let replicas = config.store.replicas().into_iter().zip(statuses);
    shards.into_iter().find_map(|shard| {
        let of_shard =
            replicas.clone().filter(|(one, _)| one.shard == shard).map(|(_, status)| status.clone());
        let problem = store_problem(&config.of_shard(shard), &of_shard.collect::<Vec<_>>())?;
        let message = format!("shard {shard}: {}", problem.message);
        Some(problem.retold(message))
    })
}

/// Whether a node says nothing, for none of its replicas.
#[must_use]
pub fn is_silent(config: &Config, statuses: &[Result<StatusResponse, Failure>], node: &Node) -> bool {
    let all = config.store.replicas().into_iter().zip(statuses);
    all.filter(|(replica, _)| replica.node.id == node.id).all(|(_, status)| status.is_err())
}

/// Why the store cannot serve, by what the nodes of a configuration of one shard say; `None`: a leader and a majority of the voters answer, and it takes writes.
#[must_use]
pub fn store_problem(config: &Config, statuses: &[Result<StatusResponse, Failure>]) -> Option<Failure> {
    let nodes = config.store.nodes.iter().map(|node| node.id).zip(statuses);
    let answering: Vec<(u64, &StatusResponse)> =
        nodes.clone().filter_map(|(id, status)| Some((id, status.as_ref().ok()?))).collect();
    let silent: Vec<u64> = nodes.clone().filter(|(_, status)| status.is_err()).map(|(id, _)| id).collect();
    let start: Vec<String> = silent.iter().map(|id| format!("feira node start {id}")).collect();
    let start = format!("start what is down (in a local cluster: {})", start.join(", "));
    let others = others(config, statuses);
    if answering.is_empty() {
        let failure = Failure::unreachable(format!("no node of the store answers{others}"));
        return Some(
            failure
                .next("feira up starts a local cluster; in one that runs, feira node start ID starts a node"),
        );
    }
    // The leader knows best who votes; a node outside of the group has an old membership.
    let inside = answering.iter().map(|(_, status)| *status).filter(|one| one.role() != Role::NonMember);
    let newest = inside.max_by_key(|status| joint::rank(status));
    let answers =
        |(node, folder): Folder| answering.iter().any(|(id, one)| *id == node && one.incarnation == folder);
    let configured = nodes.map(|(id, one)| (id, one.as_ref().map_or(0, |one| one.incarnation)));
    let mut electorates = newest.map_or_else(Vec::new, joint::electorates);
    electorates.retain(|voters| !voters.is_empty());
    if electorates.is_empty() {
        electorates.push(configured.collect());
    }
    if let Some(voters) = electorates.iter().find(|voters| !joint::is_majority(voters, answers)) {
        let voting = voters.iter().filter(|voter| answers(**voter)).count();
        let waits = newest.and_then(|status| joint::told(&joint::waited_for(status, answers)));
        let message = format!(
            "no quorum: {voting} of {} answer, {} are needed to serve; nothing is lost{}{others}",
            counted(voters.len(), "voter"),
            voters.len() / 2 + 1,
            waits.map_or_else(String::new, |waits| format!("; {waits}"))
        );
        return Some(Failure::unreachable(message).next(start));
    }
    let leaders = answering.iter().map(|(_, status)| status).filter(|status| status.role() == Role::Leader);
    match leaders.max_by_key(|status| status.epoch) {
        None => Some(nobody_leads(&answering, &silent)),
        Some(leader) if !leader.writes_refused.is_empty() => {
            let failure = Failure::unreachable(format!("writes are refused: {}", leader.writes_refused));
            Some(
                failure
                    .next("see feira status and OPERATIONS, \"Watch\": somebody must mend it; reads go on"),
            )
        }
        Some(_) => None,
    }
}

/// Why no node that answers leads: whom they follow is only not reached from here, or they elect somebody.
fn nobody_leads(answering: &[(u64, &StatusResponse)], silent: &[u64]) -> Failure {
    let followed = answering.iter().find_map(|(id, status)| Some((*id, status.leader.as_ref()?.node)));
    if let Some((id, leader)) = followed.filter(|(_, leader)| silent.contains(leader)) {
        let message = format!("node-{id} follows node-{leader}, which is not reached from here");
        return Failure::unreachable(message)
            .next("ask on another machine, or look after the network between here and there");
    }
    Failure::unreachable("no node leads: an election is under way")
        .next("look again in a moment; if it stays so, the nodes do not reach each other")
}

/// A node that answers and does not follow who leads: cut off from it, or with a key that it does not believe.
fn astray(name: &str, status: &StatusResponse, leader: Option<&StatusResponse>) -> Option<String> {
    let leader = leader.filter(|leader| leader.node != status.node && status.role() != Role::NonMember)?;
    let follows = status.leader.as_ref().is_some_and(|hint| hint.node == leader.node);
    (!follows || status.role() == Role::Candidate).then(|| {
        format!(
            "{name} does not follow node-{} yet; if it stays so, it is cut off from it, or has another key",
            leader.node
        )
    })
}

/// A node that says nothing, or that is another's.
fn away(name: &str, failure: &Failure) -> String {
    match failure.kind {
        Kind::Refused => format!("{name}: {}", failure.sentence()),
        _ => format!("{name} is down"),
    }
}

/// The configured nodes whose ports others have, after a semicolon each.
fn others(config: &Config, statuses: &[Result<StatusResponse, Failure>]) -> String {
    let nodes = config.store.nodes.iter().zip(statuses);
    let refused = nodes.filter_map(|(node, status)| Some((node.name(), status.as_ref().err()?)));
    let others = refused.filter(|(_, failure)| failure.kind == Kind::Refused);
    others.map(|(name, failure)| format!("; {}", away(&name, failure))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::LeaderHint;

    fn status(role: Role) -> Result<StatusResponse, Failure> {
        Ok(StatusResponse { role: role.into(), epoch: 3, node: 2, ..StatusResponse::default() })
    }

    fn down() -> Result<StatusResponse, Failure> {
        Err(Failure::unreachable("down"))
    }

    fn portal(kind: &'static str, at: usize, problem: Option<&str>) -> PortalSeen {
        PortalSeen {
            kind,
            name: format!("{kind}-{at}"),
            address: format!("127.0.0.1:741{at}"),
            status: Err(Failure::unreachable("not asked")),
            problem: problem.map(str::to_owned),
        }
    }

    #[test]
    fn a_node_that_follows_nobody_is_degraded_and_a_leader_out_of_reach_is_no_election() {
        let config = Config::default();
        let of = |node, role: Role, follows: u64| {
            let leader = (follows > 0).then(|| LeaderHint { node: follows, ..LeaderHint::default() });
            Ok(StatusResponse { node, role: role.into(), epoch: 3, leader, ..StatusResponse::default() })
        };
        let health = |nodes: [Result<StatusResponse, Failure>; 3]| {
            Health::of(&config, &Seen { nodes: nodes.into(), portals: Vec::new(), broker: true })
        };
        let leads = || of(1, Role::Leader, 1);
        assert!(health([leads(), of(2, Role::Follower, 1), of(3, Role::Follower, 1)]).degraded.is_empty());
        for astray in [of(3, Role::Candidate, 0), of(3, Role::Follower, 0), of(3, Role::Follower, 2)] {
            let health = health([leads(), of(2, Role::Follower, 1), astray]);
            assert_eq!(health.problem, None);
            assert_eq!(health.degraded.len(), 1, "{:?}", health.degraded);
            assert!(health.degraded[0].starts_with("node-3 does not follow node-1"), "{:?}", health.degraded);
        }
        let why = |nodes| health(nodes).problem.unwrap().message;
        let out_of_reach = why([down(), of(2, Role::Follower, 1), of(3, Role::Follower, 1)]);
        assert_eq!(out_of_reach, "node-2 follows node-1, which is not reached from here");
        let electing = why([down(), of(2, Role::Candidate, 0), of(3, Role::Follower, 0)]);
        assert!(electing.contains("an election is under way"), "{electing}");
    }

    #[test]
    fn a_cluster_without_a_quorum_is_a_failure() {
        let config = Config::default();
        let of = |statuses: [Result<StatusResponse, Failure>; 3]| {
            store_problem(&config, &statuses).map(|failure| (failure.kind.exit_code(), failure.to_string()))
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
        use proto::store::MemberPart;
        let member = |node: u64, part: MemberPart| proto::store::MemberStatus {
            member: Some(proto::store::Member { node, ..Default::default() }),
            part: part.into(),
        };
        let members = vec![member(1, MemberPart::Voter), member(2, MemberPart::MemberLearner)];
        let leader = StatusResponse { role: Role::Leader.into(), members, ..StatusResponse::default() };
        assert!(store_problem(&Config::default(), &[Ok(leader), down(), down()]).is_none());
    }

    #[test]
    fn a_change_that_waits_for_a_silent_node_is_no_election_and_a_port_of_others_is_named() {
        use proto::store::MemberPart;
        let config = Config::default();
        let member = |(node, part): (u64, MemberPart)| proto::store::MemberStatus {
            member: Some(proto::store::Member { node, ..Default::default() }),
            part: part.into(),
        };
        // Node 1 is being removed: of those after it, 2 and 3, one is down.
        let parts = [(1, MemberPart::Outgoing), (2, MemberPart::Voter), (3, MemberPart::Voter)];
        let candidate = || {
            let members = parts.map(member).into();
            Ok(StatusResponse { members, ..status(Role::Candidate).unwrap() })
        };
        let told = store_problem(&config, &[candidate(), candidate(), down()]).unwrap().message;
        assert!(told.contains("1 of 2 voters answer, 2 are needed"), "{told}");
        assert!(told.contains("a change of members is under way and waits for node 3"), "{told}");
        let other = || Err(Failure::refused("127.0.0.1:7403 is the port of node 1 of cluster shop"));
        let named = "node-3: 127.0.0.1:7403 is the port of node 1 of cluster shop";
        let told = store_problem(&config, &[candidate(), candidate(), other()]).unwrap().message;
        assert!(told.contains(named), "{told}");
        let nodes = vec![status(Role::Leader), status(Role::Follower), other()];
        let health = Health::of(&config, &Seen { nodes, portals: Vec::new(), broker: true });
        assert_eq!((health.problem, health.degraded), (None, vec![named.to_owned()]));
    }

    #[test]
    fn what_others_stand_in_for_is_degraded_and_the_rest_is_a_failure() {
        let config = Config::default();
        let of = |nodes: [Result<StatusResponse, Failure>; 3], portals: Vec<PortalSeen>, broker: bool| {
            Health::of(&config, &Seen { nodes: nodes.into(), portals, broker })
        };
        let nodes = || [status(Role::Follower), status(Role::Leader), down()];
        let one_down = || {
            vec![
                portal("admin-portal", 1, None),
                portal("client-portal", 1, Some("is down")),
                portal("client-portal", 2, None),
            ]
        };
        let health = of(nodes(), one_down(), false);
        assert!(health.is_well(false) && !health.is_well(true));
        let told = health.line();
        for part in ["node-2 leads", "node-3 is down", "client-portal-1: is down", "the broker is down"] {
            assert!(told.starts_with("degraded: ") && told.contains(part), "{part} is not in: {told}");
        }
        let standing_problem = "this node's clock is 3599 s behind the log's time".to_owned();
        let leader = StatusResponse { standing_problem, ..status(Role::Leader).unwrap() };
        let told = of([status(Role::Follower), Ok(leader), status(Role::Follower)], Vec::new(), true).line();
        assert!(
            told.starts_with("degraded: ") && told.contains("node-2: this node's clock is 3599 s"),
            "{told}"
        );
        let bus_problem = "NotAuthorized".to_owned();
        let status_of_portal = Ok(PortalStatusResponse { bus_problem, ..PortalStatusResponse::default() });
        let mut portals = vec![portal("admin-portal", 1, None), portal("client-portal", 1, None)];
        portals[1].status = status_of_portal;
        let told = of(nodes(), portals, true).line();
        assert!(told.contains("the broker cannot be used by client-portal-1: NotAuthorized"), "{told}");
        let none = vec![portal("admin-portal", 1, Some("is down")), portal("client-portal", 1, None)];
        let health = of(nodes(), none, true);
        assert!(health.line().contains("no portal serves staff: admin-portal-1 at 127.0.0.1:7411 is down"));
        assert!(!health.is_well(false) && !health.line().contains('\n'));
        let full =
            StatusResponse { writes_refused: "the disk is full".into(), ..status(Role::Leader).unwrap() };
        let health = of([Ok(full), status(Role::Follower), down()], one_down(), true);
        assert_eq!(health.line(), "not serving: writes are refused: the disk is full");
        assert_eq!(health.problem.unwrap().kind.exit_code(), 3);
    }
}
