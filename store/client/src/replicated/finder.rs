//! The search for the leader: asks every node of the cluster that is known, believes the highest epoch, and learns
//! addresses on the way. Nodes of other clusters are not listened to, whatever they say ([`Whose`]).

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use proto::store::cluster_client::ClusterClient;
use proto::store::{LeaderHint, Role, Route, StatusRequest, StatusResponse};
use store_keys::ClusterId;
use tonic::transport::Channel;

use crate::connect::{Windows, connect};
use crate::error::{Error, Refusal};
use crate::replicated::config::{Config, NODES_MAX};
use crate::replicated::whose::{Said, Whose};

/// A node must answer who leads within this.
const STATUS_MS_MAX: u64 = 700;
const WINDOWS: Windows = Windows { stream_bytes: 1 << 20, connection_bytes: 4 << 20 };

/// The nodes known, and the connections to them.
pub(crate) struct Finder {
    route: Route,
    whose: Mutex<Whose>,
    /// One connection an address, made when first used; each reconnects by itself. At most [`NODES_MAX`].
    channels: Mutex<HashMap<String, Channel>>,
}

impl Finder {
    pub(crate) fn new(config: &Config) -> Finder {
        Finder {
            route: Route::to(config.group, config.ring_version),
            whose: Mutex::new(if config.unnamed {
                Whose::perhaps_unnamed(config.nodes.clone(), config.cluster)
            } else {
                Whose::new(config.nodes.clone(), config.cluster)
            }),
            channels: Mutex::default(),
        }
    }

    /// The group, with the cluster and the log that are meant, as far as they are known.
    pub(crate) fn route(&self) -> Route {
        let whose = self.whose.lock();
        let cluster_id = whose.cluster().map_or(0, ClusterId::get);
        Route { cluster_id, log_id: whose.log_id(), ..self.route }
    }

    /// A hint with the address that is this node's.
    pub(crate) fn reached(&self, hint: LeaderHint) -> LeaderHint {
        self.whose.lock().reached(hint)
    }

    /// Makes sure that the cluster is known, and says to whom requests go.
    pub(crate) async fn identified(&self) -> Result<Route, String> {
        if let Some(said) = self.identify().await? {
            for (address, answer) in said {
                // A node of another cluster is reported by the search for a leader.
                let _ = answer.and_then(|status| self.whose.lock().listen(&address, &status));
            }
        }
        Ok(self.route())
    }

    /// If the cluster is not known yet, asks all that are configured, and takes the one that most of them name; what they
    /// said.
    async fn identify(&self) -> Result<Option<Vec<Said>>, String> {
        if self.whose.lock().is_settled() {
            return Ok(None);
        }
        let configured = self.whose.lock().configured();
        let said = futures::future::join_all(configured.into_iter().map(|at| self.ask(at))).await;
        self.whose.lock().settle(&said)?;
        Ok(Some(said))
    }

    /// The connection to an address.
    pub(crate) fn channel(&self, address: &str) -> Result<Channel, Error> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let channel = connect(address, WINDOWS).map_err(|source| Error::Refused {
            reason: Refusal::Invalid,
            message: format!("node address {address:?}: {source}"),
        })?;
        if channels.len() < NODES_MAX {
            channels.insert(address.to_owned(), channel.clone());
        }
        Ok(channel)
    }

    /// Drops a connection that does not answer, so that the next use makes a new one.
    pub(crate) fn forget(&self, address: &str) {
        self.channels.lock().remove(address);
    }

    /// Another cluster has refused an operation at this address.
    pub(crate) fn is_anothers(&self, address: &str) {
        self.whose.lock().is_anothers(address);
    }

    /// Whether another cluster answered at this address last: nothing is asked there, even if named.
    pub(crate) fn has_another(&self, address: &str) -> bool {
        self.whose.lock().has_another(address)
    }

    /// All addresses known, one a node.
    pub(crate) fn known(&self) -> Vec<String> {
        self.whose.lock().addresses()
    }

    /// Asks every node; of those of our cluster the answer of the highest epoch counts. A node that says that it leads is
    /// believed at once unless a node that answered before knows a later epoch.
    pub(crate) async fn find(&self) -> Result<LeaderHint, String> {
        let mut asked = match self.identify().await? {
            Some(said) => futures::stream::iter(said).boxed(),
            None => {
                let all = self.known().into_iter().map(|address| self.ask(address));
                all.collect::<FuturesUnordered<_>>().boxed()
            }
        };
        let mut best: Option<LeaderHint> = None;
        let mut problems = Vec::new();
        while let Some((address, answer)) = asked.next().await {
            match answer.and_then(|status| self.whose.lock().listen(&address, &status).map(|()| status)) {
                Ok(status) => {
                    let leads = status.role() == Role::Leader;
                    let hint = hint_of(&address, status).map(|hint| self.reached_unless(hint, leads));
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
        match best {
            Some(_) if self.whose.lock().log_id() == 0 => {
                Err("the leader does not know its log yet".to_owned())
            }
            // One of ours is behind, and takes the former owner of that port for the leader.
            Some(best) if self.has_another(&best.address) => {
                if !problems.iter().any(|problem| problem.starts_with(&best.address)) {
                    problems.push(format!("{}: is the port of another cluster", best.address));
                }
                Err(format!("no leader known; {}", problems.join("; ")))
            }
            Some(best) => Ok(best),
            None if problems.is_empty() => Err("no node knows a leader".to_owned()),
            None => Err(format!("no leader known; {}", problems.join("; "))),
        }
    }

    /// A leader is reached where it answered; whom others name, where this handle has him.
    fn reached_unless(&self, hint: LeaderHint, answered: bool) -> LeaderHint {
        if answered { hint } else { self.reached(hint) }
    }

    async fn ask(&self, address: String) -> Said {
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
}

/// Whom this node takes for the leader. One that leads is reached where it was asked: its own idea of its
/// address may be of no use from here.
fn hint_of(asked: &str, status: StatusResponse) -> Option<LeaderHint> {
    if status.role() == Role::Leader {
        return Some(LeaderHint { node: status.node, address: asked.to_owned(), epoch: status.epoch });
    }
    status.leader.filter(|hint| !hint.address.is_empty())
}
