//! The load of `unary-put`: new records under `bench/u/`, each by a unary `Kv.Set` to the leader, as a program without our
//! handle would do it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use proto::store::kv_client::KvClient;
use proto::store::{Route, SetRequest, Status};
use store_client::{now_ms, request_identity};
use store_keys::ClusterId;
use tokio::time::timeout;
use tonic::transport::Channel;

use super::reason;
use super::records::random;
use crate::config::shape::Config;
use crate::failure::Failure;
use crate::reach::nodes;

/// Connections to one server: it has 512 places for all that reach it.
pub const CONNECTIONS_MAX: usize = 256;

/// The calls.
pub struct Unary {
    /// Where the leader was seen last, and the connections to it; a client has its own while there are enough.
    leader: Mutex<(String, Vec<Channel>)>,
    connections: usize,
    route: Route,
    data: Bytes,
    /// An operation is given up after it.
    patience: Duration,
    /// Part of each key: no record of another run is in its way.
    run: i64,
    /// The next record's number.
    next: AtomicU64,
}

impl Unary {
    /// Calls of so many clients at most.
    ///
    /// # Errors
    /// No node leads.
    pub async fn new(
        config: &Config,
        clients: usize,
        bytes: usize,
        patience: Duration,
    ) -> Result<Unary, Failure> {
        let cluster_id = config.whose().map_or(0, ClusterId::get);
        let unary = Unary {
            leader: Mutex::default(),
            connections: clients.min(CONNECTIONS_MAX),
            route: Route { cluster_id, ..Route::to(1, 1) },
            data: random(bytes),
            patience,
            run: now_ms(),
            next: AtomicU64::new(0),
        };
        unary.follow(config).await?;
        Ok(unary)
    }

    /// Goes to the node that leads now. To be called between rounds: in one, a leader that steps down is counted.
    ///
    /// # Errors
    /// No node leads.
    pub async fn follow(&self, config: &Config) -> Result<(), Failure> {
        let config = &config.of_shard(self.route.group);
        let (leader, _) = nodes::leading(config, nodes::statuses(config).await)?;
        let address = leader.node.reached_at().to_owned();
        if self.leader.lock().0 == address {
            return Ok(());
        }
        let connected = (0..self.connections).map(|_| nodes::channel(&address));
        let channels = connected.collect::<Result<Vec<Channel>, Failure>>()?;
        *self.leader.lock() = (address, channels);
        Ok(())
    }

    /// Creates a record.
    ///
    /// # Errors
    /// The reason in a word.
    pub async fn set(&self, client: usize) -> Result<(), String> {
        let channel = {
            let leader = self.leader.lock();
            leader.1[client % leader.1.len()].clone()
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let key = Bytes::from(format!("bench/u/{:x}-{number:010}", self.run));
        let identity = Some(request_identity(proto::hash::digest(&[&key, &self.data])));
        let data = self.data.clone();
        let request = SetRequest { route: Some(self.route), key, timestamp_ms: now_ms(), data, identity };
        match timeout(self.patience, KvClient::new(channel).set(request)).await {
            Ok(Ok(answer)) => match answer.into_inner().status() {
                Status::Success => Ok(()),
                status => Err(status.as_str_name().to_owned()),
            },
            Ok(Err(status)) => Err(reason::of_status(&status)),
            Err(_) => Err(reason::NO_ANSWER.to_owned()),
        }
    }
}
