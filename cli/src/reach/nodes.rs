//! The store's nodes, one by one: for status, logs, audits, planted faults. Records come from the
//! `Store` handle instead.

use std::collections::HashMap;
use std::time::Duration;

use proto::portal::portal_client::PortalClient;
use proto::portal::{PortalStatusRequest, PortalStatusResponse};
use proto::store::cluster_client::ClusterClient;
use proto::store::{Role, Route, StatusRequest, StatusResponse};
use store_client::operator::Operator;
use tonic::transport::{Channel, Endpoint};

use super::{joint, whose};
use crate::config::load::Loaded;
use crate::config::shape::{Config, Node, Replica};
use crate::failure::{Failure, Kind};
use crate::key::place::of_operator;

/// A node that does not answer a question about itself within this is called silent.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// A refusal of what is asked of a group that is not here.
const WRONG_ROUTE: &str = "WRONG_ROUTE";
/// Audit streams may be long; each message is bounded by this.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// The group of a replica.
#[must_use]
pub fn route(replica: Replica<'_>) -> Option<Route> {
    Some(Route::to(replica.shard, 1))
}

/// The node of this id.
///
/// # Errors
/// The configuration has no such node.
pub fn node_of(config: &Config, id: u64) -> Result<&Node, Failure> {
    config.store.nodes.iter().find(|node| node.id == id).ok_or_else(|| {
        let known: Vec<String> = config.store.nodes.iter().map(|node| node.id.to_string()).collect();
        Failure::usage(format!("there is no node {id}")).next(format!("the nodes are {}", known.join(", ")))
    })
}

/// The replica that is meant by a node's id, in a configuration that may be of one shard only.
///
/// # Errors
/// The configuration has no such node, or it holds several.
pub fn replica_of(config: &Config, id: u64) -> Result<Replica<'_>, Failure> {
    let node = node_of(config, id)?;
    if let [shard] = node.shards[..] {
        return Ok(Replica { node, shard });
    }
    Err(Failure::usage(format!("node {id} has replicas of several shards")).next(one_of(&node.shards)))
}

/// What is to be said where one of these shards is meant.
#[must_use]
pub fn one_of(shards: &[u64]) -> String {
    let all: Vec<String> = shards.iter().map(u64::to_string).collect();
    match all.as_slice() {
        [rest @ .., last] if !rest.is_empty() => {
            format!("say which: --shard {} or {last}", rest.join(", "))
        }
        _ => format!("say which: --shard {}", all.join(", ")),
    }
}

/// An operator's client of one node, with the cluster's key.
///
/// # Errors
/// There is no key, or the address is none.
pub fn operator(loaded: &Loaded, node: &Node) -> Result<Operator, Failure> {
    operator_at(loaded, node.id, node.reached_at())
}

/// An operator's client of the node at an address, with the cluster's key.
///
/// # Errors
/// There is no key, or the address is none.
pub fn operator_at(loaded: &Loaded, node: u64, address: &str) -> Result<Operator, Failure> {
    Ok(Operator::new(cluster_at(address)?, of_operator(loaded)?).of_node(node))
}

/// A client of the service at an address, for what needs no proof.
///
/// # Errors
/// The address is none.
pub fn cluster_at(address: &str) -> Result<ClusterClient<Channel>, Failure> {
    let channel = channel(address)?;
    Ok(ClusterClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

/// A lazy connection.
///
/// # Errors
/// The address is none.
pub fn channel(address: &str) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|e| Failure::usage(format!("{address} is not host:port: {e}")))?;
    Ok(endpoint.connect_timeout(ANSWER_MAX).tcp_nodelay(true).connect_lazy())
}

/// What a node says of one of its replicas; an error if it is silent.
///
/// # Errors
/// It is unreachable, does not answer in time, is of another cluster, or runs without that replica.
pub async fn status(replica: Replica<'_>) -> Result<StatusResponse, Failure> {
    let (id, shard) = (replica.node.id, replica.shard);
    let without = || Failure::unreachable(format!("node {id} runs without a replica of shard {shard}"));
    ask(replica).await?.ok_or_else(without)
}

/// The same; `None`: it runs without that replica.
async fn ask(replica: Replica<'_>) -> Result<Option<StatusResponse>, Failure> {
    let (address, meant) = (replica.node.reached_at(), replica.node.cluster);
    let status = match status_at(address, route(replica)).await {
        // Whose the port is, it says to whoever names no group.
        Err(failure) if failure.reason == WRONG_ROUTE => status_at(address, None).await?,
        told => told?,
    };
    whose::check_node(meant, address, &status)?;
    Ok(Some(status).filter(|status| is_of(status, replica.shard)))
}

/// Whether a status is of the replica of this shard, as far as it says.
#[must_use]
pub fn is_of(status: &StatusResponse, shard: u64) -> bool {
    status.route.is_none_or(|route| route.group == shard)
}

/// Whether a node answers for all of its replicas.
pub async fn serves(node: &Node) -> bool {
    futures::future::join_all(node.replicas().map(status)).await.iter().all(Result::is_ok)
}

/// Whether a node runs without one of its replicas.
pub async fn lacks_one(node: &Node) -> bool {
    futures::future::join_all(node.replicas().map(ask)).await.iter().any(|told| matches!(told, Ok(None)))
}

/// What a node says of the first of its replicas for which it answers; an error if it is silent.
///
/// # Errors
/// As [`status`].
pub async fn of_node(node: &Node) -> Result<StatusResponse, Failure> {
    let mut all = futures::future::join_all(node.replicas().map(status)).await;
    let first = all.iter().position(Result::is_ok).unwrap_or_default();
    if all.is_empty() {
        return Err(Failure::usage(format!("node {} has no shard", node.id)));
    }
    all.swap_remove(first)
}

/// What the node at an address says of its replica of this group, or without a route of any; an error if it is silent.
///
/// # Errors
/// It is unreachable, or does not answer in time.
pub async fn status_at(address: &str, route: Option<Route>) -> Result<StatusResponse, Failure> {
    let mut client = cluster_at(address)?;
    let asked = client.status(StatusRequest { route });
    match tokio::time::timeout(ANSWER_MAX, asked).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(Failure::of_status(&status)),
        Err(_) => Err(Failure::unreachable(format!("the node at {address} does not answer"))),
    }
}

/// What a portal says of itself.
///
/// # Errors
/// It is unreachable, or does not answer in time.
pub async fn portal_status(address: &str) -> Result<PortalStatusResponse, Failure> {
    let mut client = PortalClient::new(channel(address)?);
    match tokio::time::timeout(ANSWER_MAX, client.status(PortalStatusRequest {})).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(Failure::of_status(&status)),
        Err(_) => Err(Failure::unreachable(format!("the portal at {address} does not answer"))),
    }
}

/// What every replica says of itself, in their order ([`crate::config::shape::Store::replicas`]).
pub async fn statuses(config: &Config) -> Vec<Result<StatusResponse, Failure>> {
    futures::future::join_all(config.store.replicas().into_iter().map(status)).await
}

/// The configuration with the replicas that joined their groups and are not in it, reached where the log says; and what every
/// replica says of itself, in their order. Files of other machines need not name who joined.
pub async fn of_group(config: &Config) -> (Config, Vec<Result<StatusResponse, Failure>>) {
    let shards = config.store.shards().into_iter().map(|shard| of_shard(config.of_shard(shard)));
    let mut whole = config.clone();
    let mut seen = HashMap::new();
    for (nodes, statuses) in futures::future::join_all(shards).await {
        for (node, status) in nodes.into_iter().zip(statuses) {
            seen.extend(node.shards.iter().map(|shard| ((node.id, *shard), status.clone())));
            add(&mut whole.store.nodes, node);
        }
    }
    let statuses =
        whole.store.replicas().iter().filter_map(|one| seen.remove(&(one.node.id, one.shard))).collect();
    (whole, statuses)
}

/// The nodes of one shard, those that joined among them.
async fn of_shard(config: Config) -> (Vec<Node>, Vec<Result<StatusResponse, Failure>>) {
    let mut statuses = statuses(&config).await;
    let more = joined(&config, &statuses);
    let asked = more.iter().flat_map(Node::replicas).map(status);
    statuses.extend(futures::future::join_all(asked).await);
    let mut nodes = config.store.nodes;
    nodes.extend(more);
    (nodes, statuses)
}

/// Adds a node, or to a node that is there the shards that it has besides.
fn add(nodes: &mut Vec<Node>, one: Node) {
    match nodes.iter_mut().find(|node| node.id == one.id) {
        Some(node) => {
            let more: Vec<u64> = one.shards.into_iter().filter(|shard| !node.has(*shard)).collect();
            node.shards.extend(more);
        }
        None => nodes.push(one),
    }
}

/// The members of one shard's group that joined, by the status that knows best, and that its configuration does not have.
fn joined(config: &Config, statuses: &[Result<StatusResponse, Failure>]) -> Vec<Node> {
    let inside = statuses.iter().flatten().filter(|status| status.role() != Role::NonMember);
    let Some(newest) = inside.max_by_key(|status| joint::rank(status)) else { return Vec::new() };
    let members = newest.members.iter().filter_map(|one| one.member.as_ref());
    let is_new = |id: u64| config.store.nodes.iter().all(|node| node.id != id);
    members
        .filter(|member| member.joined && is_new(member.node))
        .map(|member| Node {
            id: member.node,
            shards: config.store.shards(),
            listen: member.address.clone(),
            cluster: config.whose(),
            ..Node::default()
        })
        .collect()
}

/// The replica that leads the group of a configuration of one shard, with the latest epoch, if one says so.
pub async fn leader(config: &Config) -> Option<(Replica<'_>, StatusResponse)> {
    leading(config, statuses(config).await).ok()
}

/// The same of what every node said.
///
/// # Errors
/// None leads; perhaps because a port is another cluster's.
pub fn leading(
    config: &Config,
    statuses: Vec<Result<StatusResponse, Failure>>,
) -> Result<(Replica<'_>, StatusResponse), Failure> {
    let (mut best, mut refused) = (None, None);
    for (replica, status) in config.store.replicas().into_iter().zip(statuses) {
        match status {
            Ok(status) if status.role() != Role::Leader => {}
            Ok(status) => {
                let later = |best: &(Replica<'_>, StatusResponse)| best.1.epoch <= status.epoch;
                if best.as_ref().is_none_or(later) {
                    best = Some((replica, status));
                }
            }
            Err(failure) if failure.kind == Kind::Refused => refused = refused.or(Some(failure)),
            Err(_) => {}
        }
    }
    best.ok_or_else(|| {
        refused.unwrap_or_else(|| Failure::unreachable("no node leads").next("see feira status"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::{Member, MemberStatus};

    #[test]
    fn who_joined_is_asked_where_the_log_says_and_whoever_is_configured_where_the_file_says() {
        let member = |node, joined| MemberStatus {
            member: Some(Member {
                node,
                joined,
                address: format!("10.0.0.{node}:7401"),
                ..Member::default()
            }),
            ..MemberStatus::default()
        };
        let says = |role: Role, epoch, members| {
            Ok(StatusResponse { role: role.into(), epoch, members, ..StatusResponse::default() })
        };
        let (config, down) = (Config::default(), || Err(Failure::unreachable("down")));
        let statuses = [
            says(Role::Follower, 2, vec![member(1, false), member(5, true)]),
            says(Role::Leader, 3, vec![member(1, false), member(2, true), member(4, true)]),
            down(),
        ];
        let found: Vec<(u64, String)> =
            joined(&config, &statuses).into_iter().map(|node| (node.id, node.listen)).collect();
        assert_eq!(found, [(4, "10.0.0.4:7401".to_owned())]);
        assert!(joined(&config, &[down(), down(), down()]).is_empty());
    }

    #[test]
    fn a_node_that_joined_two_groups_is_one_node() {
        let node = |id, shards: &[u64]| Node { id, shards: shards.to_vec(), ..Node::default() };
        let mut nodes = vec![node(1, &[1, 2]), node(4, &[1])];
        for one in [node(1, &[1]), node(4, &[2]), node(5, &[1]), node(5, &[2])] {
            add(&mut nodes, one);
        }
        assert_eq!(nodes, [node(1, &[1, 2]), node(4, &[1, 2]), node(5, &[1, 2])]);
    }

    #[test]
    fn a_node_of_several_shards_is_asked_for_one_of_them() {
        let mut config = Config::default();
        config.store.nodes[1].shards = vec![1, 2, 3];
        assert_eq!(replica_of(&config, 1).unwrap().shard, 1);
        let which = replica_of(&config, 2).unwrap_err().to_string();
        assert!(which.contains("say which: --shard 1, 2 or 3"), "{which}");
        assert_eq!(replica_of(&config.of_shard(3), 2).unwrap().shard, 3);
        let of = |group| StatusResponse { route: Some(Route::to(group, 1)), ..StatusResponse::default() };
        assert!(is_of(&of(2), 2) && is_of(&StatusResponse::default(), 2) && !is_of(&of(1), 2));
        assert!(replica_of(&config, 9).unwrap_err().to_string().contains("there is no node 9"));
    }
}
