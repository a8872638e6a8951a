//! The endpoints of a cluster, as each of its callers has them: services of single processes, handles of the whole, and the
//! key that proves an operator.

use std::sync::Arc;
use std::time::Duration;

use proto::portal::admin_client::AdminClient;
use proto::portal::shop_client::ShopClient;
use proto::store::cluster_client::ClusterClient;
use proto::store::kv_client::KvClient;
use proto::store::{Route, StatusRequest, StatusResponse};
use store_client::operator::Operator;
use store_client::{Config, Replicated, Sharded};
use store_keys::{ClusterId, ClusterKey, KeyFile};
use tonic::transport::{Channel, Endpoint};

use super::{Cluster, with_timeout};

impl Cluster {
    /// A lazily connected channel to a process.
    ///
    /// # Panics
    /// If there is none of that name.
    #[must_use]
    pub fn channel(&self, name: &str) -> Channel {
        let address = self.address(name);
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address is a URI");
        endpoint.connect_timeout(Duration::from_secs(2)).connect_lazy()
    }

    /// The cluster's key, as its file says.
    ///
    /// # Panics
    /// If the cluster is not founded.
    #[must_use]
    pub fn key(&self) -> ClusterKey {
        let text = std::fs::read_to_string(self.path().join("cluster.key")).expect("a key file");
        match KeyFile::parse(&text) {
            Ok(KeyFile::Cluster(key)) => key,
            other => panic!("the cluster's key: {other:?}"),
        }
    }

    /// An operator's client of one node.
    #[must_use]
    pub fn operator(&self, node: &str) -> Operator {
        Operator::new(ClusterClient::new(self.channel(node)), self.key())
    }

    /// The store service of one node.
    #[must_use]
    pub fn kv(&self, node: &str) -> KvClient<Channel> {
        KvClient::new(self.channel(node))
    }

    /// An administrators' portal, from 1.
    #[must_use]
    pub fn admin(&self, at: usize) -> AdminClient<Channel> {
        AdminClient::new(self.channel(&format!("admin-{at}")))
    }

    /// A shoppers' portal, from 1.
    #[must_use]
    pub fn shop(&self, at: usize) -> ShopClient<Channel> {
        ShopClient::new(self.channel(&format!("client-{at}")))
    }

    /// A handle on the ring, of one shard or several.
    ///
    /// # Panics
    /// If the handle cannot be made.
    #[must_use]
    pub fn ring(&self) -> Arc<Sharded> {
        self.ring_within(Config::of(Vec::new()).deadline)
    }

    /// The same, whose operations may take so long.
    ///
    /// # Panics
    /// If the handle cannot be made.
    #[must_use]
    pub fn ring_within(&self, deadline: Duration) -> Arc<Sharded> {
        let (shards, each) = self.shards;
        let places = self.node_places();
        let of_shard = |shard: u64| {
            let is_of = |id: u64| shards == 1 || self.shared || (id - 1) / each == shard;
            let nodes = places.iter().filter(|(id, _)| is_of(*id)).cloned();
            Config { cluster: Some(self.id()), deadline, ..Config::of_nodes(nodes) }
        };
        Arc::new(Sharded::new((0..shards).map(of_shard).collect()).expect("addresses are in order"))
    }

    /// A handle to the replicated store.
    ///
    /// # Panics
    /// If the handle cannot be made.
    #[must_use]
    pub fn store(&self) -> Arc<Replicated> {
        Arc::new(Replicated::new(self.reach()).expect("addresses are in order"))
    }

    /// How a handle reaches this cluster, and no other.
    #[must_use]
    pub fn reach(&self) -> Config {
        Config { cluster: Some(self.id()), ..Config::of_nodes(self.node_places()) }
    }

    /// The cluster's id, as its key file says.
    ///
    /// # Panics
    /// If there is none: it is not founded.
    #[must_use]
    pub fn id(&self) -> ClusterId {
        let text = std::fs::read_to_string(self.path().join("cluster.key")).expect("a key file");
        KeyFile::parse(&text).expect("a key file").id()
    }

    /// What a node says of itself; one of several shards, of its first replica.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status(&self, node: &str) -> Result<StatusResponse, tonic::Status> {
        self.status_by(node, None).await
    }

    /// What a node says of its replica of a shard.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status_in(&self, shard: u64, node: &str) -> Result<StatusResponse, tonic::Status> {
        self.status_by(node, Some(Route::to(shard, 1))).await
    }

    async fn status_by(&self, node: &str, route: Option<Route>) -> Result<StatusResponse, tonic::Status> {
        let request = StatusRequest { route };
        let mut client = ClusterClient::new(self.channel(node));
        Ok(client.status(with_timeout(request)).await?.into_inner())
    }
}
