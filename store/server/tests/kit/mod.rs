//! A group of real nodes in this process, on loopback: started, stopped and asked. Everything waits for a
//! condition with a deadline.
#![allow(clippy::unwrap_used, dead_code, missing_docs, unreachable_pub)]

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use proto::store::cluster_client::ClusterClient;
use proto::store::kv_client::KvClient;
use proto::store::{Role, Route, StatusRequest, StatusResponse};
use store_client::Replicated;
use store_client::operator::Operator;
use store_keys::{ClusterId, ClusterKey, KEY_BYTES, Secret};
use store_server::{Config, Error, Stopper, bootstrap, founders, join, serve_on, stop};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

pub const ROUTE: Route = Route::to(1, 1);
const DEADLINE: Duration = Duration::from_secs(20);

/// The key of every group in these tests.
pub fn key() -> ClusterKey {
    ClusterKey::new(ClusterId::new(7).unwrap(), Secret::new([7; KEY_BYTES]))
}

struct Running {
    stopper: Stopper,
    task: JoinHandle<Result<(), Error>>,
}

pub struct Nodes {
    folder: tempfile::TempDir,
    addresses: Vec<SocketAddr>,
    running: Vec<Option<Running>>,
    change: fn(&mut Config),
}

/// Looks until `ask` has something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    let found = async {
        loop {
            looks.tick().await;
            if let Some(found) = ask().await {
                break found;
            }
        }
    };
    let found = tokio::time::timeout(DEADLINE, found).await;
    found.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

impl Nodes {
    /// Starts `count` nodes of a new group.
    pub async fn start(count: usize) -> Nodes {
        Nodes::start_with(count, |_| ()).await
    }

    /// The same, with a change to every configuration.
    pub async fn start_with(count: usize, change: fn(&mut Config)) -> Nodes {
        let folder = tempfile::tempdir().unwrap();
        let listeners: Vec<TcpListener> =
            (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<SocketAddr> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        let all = founders((1..).zip(&addresses).map(|(node, address)| (node, address.to_string())));
        let mut nodes = Nodes { folder, addresses, running: Vec::new(), change };
        for (i, listener) in listeners.into_iter().enumerate() {
            bootstrap("test", i as u64 + 1, &nodes.path(i), &all).unwrap();
            let running = nodes.launch(i, listener).await;
            nodes.running.push(Some(running));
        }
        nodes
    }

    fn path(&self, i: usize) -> PathBuf {
        self.folder.path().join(format!("node-{}", i + 1))
    }

    /// Starts one more node, of an empty folder: no member yet. Its index and its incarnation.
    pub async fn join(&mut self) -> (usize, u64) {
        let i = self.running.len();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.addresses.push(listener.local_addr().unwrap());
        let incarnation = join("test", i as u64 + 1, &self.path(i)).unwrap();
        let running = self.launch(i, listener).await;
        self.running.push(Some(running));
        (i, incarnation)
    }

    /// A stopped node loses its folder and gets an empty one, which is another member: its incarnation.
    pub fn wipe(&mut self, i: usize) -> u64 {
        assert!(self.running[i].is_none(), "a folder is lost while nobody uses it");
        std::fs::remove_dir_all(self.path(i)).unwrap();
        join("test", i as u64 + 1, &self.path(i)).unwrap()
    }

    async fn launch(&self, i: usize, listener: TcpListener) -> Running {
        let mut config = Config {
            cluster: "test".to_owned(),
            node: i as u64 + 1,
            folder: self.path(i),
            // The last node of a group has nobody to hand over to, and need not wait long for that.
            hand_over_ms_max: 1_000,
            ..Config::default()
        };
        (self.change)(&mut config);
        let (stopper, stop) = stop();
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let ready = Box::new(move |address| ready.send(address).expect("somebody waits"));
        let task = tokio::spawn(serve_on(listener, config, watch::channel(key()).1, stop, ready));
        if is_ready.await.is_err() {
            panic!("the node does not serve: {:?}", task.await);
        }
        Running { stopper, task }
    }

    /// Stops a node gracefully.
    pub async fn stop(&mut self, i: usize) {
        let running = self.running[i].take().expect("it runs");
        running.stopper.stop();
        running.task.await.unwrap().unwrap();
    }

    /// Starts a stopped node on its address.
    pub async fn restart(&mut self, i: usize) {
        let address = self.addresses[i];
        let listener = eventually("the port is free", || async { TcpListener::bind(address).ok() }).await;
        let running = self.launch(i, listener).await;
        self.running[i] = Some(running);
    }

    pub async fn stop_all(mut self) {
        for i in 0..self.running.len() {
            if self.running[i].is_some() {
                self.stop(i).await;
            }
        }
    }

    pub fn address(&self, i: usize) -> String {
        self.addresses[i].to_string()
    }

    pub fn channel(&self, i: usize) -> Channel {
        Channel::from_shared(format!("http://{}", self.addresses[i])).unwrap().connect_lazy()
    }

    pub fn kv(&self, i: usize) -> KvClient<Channel> {
        KvClient::new(self.channel(i))
    }

    pub fn cluster(&self, i: usize) -> Operator {
        Operator::new(ClusterClient::new(self.channel(i)), key())
    }

    /// A handle that knows only one node.
    pub fn store(&self, i: usize) -> Replicated {
        Replicated::new(store_client::Config::of(vec![self.address(i)])).unwrap()
    }

    pub async fn status(&self, i: usize) -> Option<StatusResponse> {
        let answer = self.cluster(i).status(StatusRequest { route: Some(ROUTE) }).await;
        answer.ok().map(tonic::Response::into_inner)
    }

    /// Waits for a leader that every running node knows; its index.
    pub async fn leader(&self) -> usize {
        eventually("all running nodes agree on a leader", || async {
            let mut leaders = Vec::new();
            for i in (0..self.running.len()).filter(|i| self.running[*i].is_some()) {
                let status = self.status(i).await?;
                leaders.push((status.leader?.node, status.epoch));
            }
            leaders.dedup();
            let index = usize::try_from(leaders[0].0).unwrap() - 1;
            (leaders.len() == 1 && self.running[index].is_some()).then_some(index)
        })
        .await
    }

    /// Waits for a node that leads, whatever the others know; its index.
    pub async fn leading(&self) -> usize {
        eventually("somebody leads", || async {
            let mut leaders = Vec::new();
            for i in (0..self.running.len()).filter(|i| self.running[*i].is_some()) {
                let status = self.status(i).await?;
                leaders.extend((status.role() == Role::Leader).then_some((status.epoch, i)));
            }
            leaders.into_iter().max().map(|(_, i)| i)
        })
        .await
    }

    pub async fn follower(&self) -> usize {
        (self.leader().await + 1) % self.running.len()
    }

    /// Waits until a node has applied at least this offset.
    pub async fn applied(&self, i: usize, offset: u64) {
        eventually("the entry is applied", || async {
            let applied = self.status(i).await?.applied?.offset;
            (applied >= offset).then_some(())
        })
        .await;
    }

    pub async fn role(&self, i: usize) -> Role {
        self.status(i).await.map_or(Role::Unspecified, |status| status.role())
    }
}
