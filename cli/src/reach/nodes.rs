//! The store's nodes, one by one: for status, logs, audits, planted faults. Records come from the
//! `Store` handle instead.

use std::time::Duration;

use proto::portal::portal_client::PortalClient;
use proto::portal::{PortalStatusRequest, PortalStatusResponse};
use proto::store::cluster_client::ClusterClient;
use proto::store::{Role, Route, StatusRequest, StatusResponse};
use store_client::operator::Operator;
use tonic::transport::{Channel, Endpoint};

use super::{joint, whose};
use crate::config::load::Loaded;
use crate::config::shape::{Config, Node};
use crate::failure::{Failure, Kind};
use crate::key::place::of_operator;

/// A node that does not answer a question about itself within this is called silent.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Audit streams may be long; each message is bounded by this.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// The group of a node's shard.
#[must_use]
pub fn route(node: &Node) -> Option<Route> {
    Some(Route::to(node.shard, 1))
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

/// What a node says of itself; an error if it is silent.
///
/// # Errors
/// It is unreachable, does not answer in time, or is of another cluster.
pub async fn status(node: &Node) -> Result<StatusResponse, Failure> {
    let status = status_at(node.reached_at()).await?;
    whose::check_node(node.cluster, node.reached_at(), &status)?;
    Ok(status)
}

/// What the node at an address says of itself; an error if it is silent.
///
/// # Errors
/// It is unreachable, or does not answer in time.
pub async fn status_at(address: &str) -> Result<StatusResponse, Failure> {
    let mut client = cluster_at(address)?;
    let asked = client.status(StatusRequest { route: None });
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

/// What every node says of itself, in the order of the configuration.
pub async fn statuses(config: &Config) -> Vec<Result<StatusResponse, Failure>> {
    futures::future::join_all(config.store.nodes.iter().map(status)).await
}

/// The configuration with the nodes that joined their groups and are not in it, reached where the log says, shard by shard; and
/// what every node says of itself. Files of other machines need not name who joined.
pub async fn of_group(config: &Config) -> (Config, Vec<Result<StatusResponse, Failure>>) {
    let shards = config.store.shards().into_iter().map(|shard| of_shard(config.of_shard(shard)));
    let mut whole = config.clone();
    whole.store.nodes.clear();
    let mut all = Vec::new();
    for (nodes, statuses) in futures::future::join_all(shards).await {
        whole.store.nodes.extend(nodes);
        all.extend(statuses);
    }
    (whole, all)
}

async fn of_shard(config: Config) -> (Vec<Node>, Vec<Result<StatusResponse, Failure>>) {
    let mut statuses = statuses(&config).await;
    let more = joined(&config, &statuses);
    statuses.extend(futures::future::join_all(more.iter().map(status)).await);
    let mut nodes = config.store.nodes;
    nodes.extend(more);
    (nodes, statuses)
}

/// The members that joined, by the status that knows best, and that the configuration does not have.
fn joined(config: &Config, statuses: &[Result<StatusResponse, Failure>]) -> Vec<Node> {
    let inside = statuses.iter().flatten().filter(|status| status.role() != Role::NonMember);
    let Some(newest) = inside.max_by_key(|status| joint::rank(status)) else { return Vec::new() };
    let members = newest.members.iter().filter_map(|one| one.member.as_ref());
    let is_new = |id: u64| config.store.nodes.iter().all(|node| node.id != id);
    members
        .filter(|member| member.joined && is_new(member.node))
        .map(|member| Node {
            id: member.node,
            shard: config.store.nodes.first().map_or(1, |node| node.shard),
            listen: member.address.clone(),
            cluster: config.whose(),
            ..Node::default()
        })
        .collect()
}

/// The node that leads with the latest epoch, if one says so.
pub async fn leader(config: &Config) -> Option<(&Node, StatusResponse)> {
    leading(config, statuses(config).await).ok()
}

/// The same of what every node said.
///
/// # Errors
/// None leads; perhaps because a port is another cluster's.
pub fn leading(
    config: &Config,
    statuses: Vec<Result<StatusResponse, Failure>>,
) -> Result<(&Node, StatusResponse), Failure> {
    let (mut best, mut refused) = (None, None);
    for (node, status) in config.store.nodes.iter().zip(statuses) {
        match status {
            Ok(status) if status.role() != Role::Leader => {}
            Ok(status) => {
                let later = |best: &(&Node, StatusResponse)| best.1.epoch <= status.epoch;
                if best.as_ref().is_none_or(later) {
                    best = Some((node, status));
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
}
