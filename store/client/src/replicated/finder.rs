//! Finds who leads: asks every node it knows, believes the highest epoch, and learns addresses on the way.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use proto::store::cluster_client::ClusterClient;
use proto::store::{LeaderHint, Role, Route, StatusRequest, StatusResponse};
use tonic::transport::Channel;

use crate::connect::{Windows, connect};
use crate::error::{Error, Refusal};
use crate::replicated::config::{Config, NODES_MAX};

/// A node must answer who leads within this.
const STATUS_MS_MAX: u64 = 700;
const WINDOWS: Windows = Windows { stream_bytes: 1 << 20, connection_bytes: 4 << 20 };

/// The nodes known, and the connections to them.
pub(crate) struct Finder {
    route: Route,
    nodes: Mutex<Nodes>,
}

#[derive(Default)]
struct Nodes {
    /// Addresses, configured ones first; at most [`NODES_MAX`].
    known: Vec<String>,
    /// One connection an address, made when first used; each reconnects by itself.
    channels: HashMap<String, Channel>,
}

impl Finder {
    pub(crate) fn new(config: &Config) -> Finder {
        let nodes = Nodes { known: config.nodes.clone(), channels: HashMap::new() };
        let route = Route { group: config.group, ring_version: config.ring_version };
        Finder { route, nodes: Mutex::new(nodes) }
    }

    /// The connection to an address.
    pub(crate) fn channel(&self, address: &str) -> Result<Channel, Error> {
        let mut nodes = self.nodes.lock();
        if let Some(channel) = nodes.channels.get(address) {
            return Ok(channel.clone());
        }
        let channel = connect(address, WINDOWS).map_err(|source| Error::Refused {
            reason: Refusal::Invalid,
            message: format!("node address {address:?}: {source}"),
        })?;
        if nodes.channels.len() < NODES_MAX {
            nodes.channels.insert(address.to_owned(), channel.clone());
        }
        Ok(channel)
    }

    /// Drops a connection that does not answer, so that the next use makes a new one.
    pub(crate) fn forget(&self, address: &str) {
        let mut nodes = self.nodes.lock();
        nodes.channels.remove(address);
    }

    /// All addresses known.
    pub(crate) fn known(&self) -> Vec<String> {
        self.nodes.lock().known.clone()
    }

    /// Asks every node; the answer of the highest epoch counts. A node that says that it leads is believed at
    /// once unless a node that answered before knows a later epoch.
    pub(crate) async fn find(&self) -> Result<LeaderHint, String> {
        let mut asked: FuturesUnordered<_> =
            self.known().into_iter().map(|address| self.ask(address)).collect();
        let mut best: Option<LeaderHint> = None;
        let mut problems = Vec::new();
        while let Some((address, answer)) = asked.next().await {
            match answer {
                Ok(status) => {
                    self.learn(&status);
                    let leads = status.role() == Role::Leader;
                    let hint = hint_of(&address, status);
                    let newer = match (&best, &hint) {
                        (Some(best), Some(hint)) => {
                            hint.epoch > best.epoch || (leads && hint.epoch == best.epoch)
                        }
                        (None, hint) => hint.is_some(),
                        (Some(_), None) => false,
                    };
                    if newer {
                        best = hint;
                        if leads {
                            break;
                        }
                    }
                }
                Err(problem) => problems.push(format!("{address}: {problem}")),
            }
        }
        best.ok_or_else(|| match problems.is_empty() {
            true => "no node knows a leader".to_owned(),
            false => format!("no leader known; {}", problems.join("; ")),
        })
    }

    async fn ask(&self, address: String) -> (String, Result<StatusResponse, String>) {
        let answer = self.ask_status(&address).await;
        (address, answer)
    }

    async fn ask_status(&self, address: &str) -> Result<StatusResponse, String> {
        let channel = self.channel(address).map_err(|error| error.to_string())?;
        let mut client = ClusterClient::new(channel);
        let call = client.status(StatusRequest { route: Some(self.route) });
        match tokio::time::timeout(Duration::from_millis(STATUS_MS_MAX), call).await {
            Ok(Ok(status)) => Ok(status.into_inner()),
            // Some other server answers there, which has no words for it.
            Ok(Err(status)) if status.message().is_empty() => {
                Err(format!("is no node of the store ({})", status.code()))
            }
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => {
                self.forget(address);
                Err(format!("no answer within {STATUS_MS_MAX} ms"))
            }
        }
    }

    fn learn(&self, status: &StatusResponse) {
        let mut nodes = self.nodes.lock();
        let leader = status.leader.iter().map(|hint| &hint.address);
        // Every node names all members: who knows only one that was removed since still finds the others.
        let members = status.members.iter().filter_map(|one| one.member.as_ref()).map(|one| &one.address);
        for address in members.chain(status.voters.iter().map(|voter| &voter.address)).chain(leader) {
            if !address.is_empty() && nodes.known.len() < NODES_MAX && !nodes.known.contains(address) {
                nodes.known.push(address.clone());
            }
        }
    }
}

/// Whom this node takes for the leader. One that leads is reached where it was asked: its own idea of its
/// address may be of no use from here.
fn hint_of(asked: &str, status: StatusResponse) -> Option<LeaderHint> {
    if status.role() == Role::Leader {
        return Some(LeaderHint { node: status.node, address: asked.to_owned(), epoch: status.epoch });
    }
    status.leader.filter(|hint| !hint.address.is_empty())
}
