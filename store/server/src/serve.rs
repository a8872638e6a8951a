//! One store node from start to stop, with its replicas: one, or one of each of several groups of the ring, behind one port.
//!
//! ```text
//!   check ─ recover ─ bind ─ threads ─ services ─ SERVING ─ … ─ stop asked
//!     ─ NOT_SERVING ─ transfer leadership ─ end streams ─ write, apply, sync all queued work ─ end
//! ```
//!
//! The port is bound after recovery, so that nobody waits at a node that cannot answer yet. What ends one replica ends the node:
//! a supervisor starts all of them again.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use admission::Guard;
use admission::limits::{HEADER_BYTES_MAX, PING_S, STREAM_WINDOW_BYTES, WINDOW_BYTES};
use futures::future::{join_all, select_all};
use proto::store::cluster_server::ClusterServer;
use proto::store::kv_server::KvServer;
use proto::store::replication_server::ReplicationServer;
use store_core::Role;
use store_keys::operator::Challenges;
use store_keys::{ClusterKey, KEY_BYTES};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic_health::server::HealthReporter;

use crate::admitted;
use crate::cluster::ClusterService;
use crate::config::{Config, wrong};
use crate::cross;
use crate::error::Error;
use crate::folder_use::FolderUse;
use crate::hosted::{Hosted, HostedCluster, HostedKv, HostedReplication};
use crate::kv::KvService;
use crate::leadership_transfer::transfer_leadership;
use crate::nodes::{self, Turned};
use crate::peers::{Entrance, MESSAGE_BYTES_MAX, Peers, ReplicationService};
use crate::publisher;
use crate::replica::{self, Opened, Running};
use crate::shared::{OfProcess, Shared};
use crate::stop::Stop;
use crate::too_large::{REQUEST_BYTES_MAX, TooLargeResponse};

/// Between two attempts to transfer leadership.
const TRANSFER_PAUSE_MS: u64 = 20;
/// Streams that were told to end must have ended within this.
const DRAIN_MS_MAX: u64 = 1_000;

/// Called once, with the address that was bound, when the node serves.
pub type Ready = Box<dyn FnOnce(SocketAddr) + Send>;

/// Runs a node with one replica until it is asked to stop or cannot go on; `keys` is the cluster key, as its file says now. Boxed,
/// so that callers need not compile what is inside.
#[must_use]
pub fn serve(
    config: Config,
    keys: watch::Receiver<ClusterKey>,
    stop: Stop,
    ready: Ready,
) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
    serve_all(vec![config], keys, stop, ready)
}

/// As [`serve`], a node with a replica of each of several groups: their configurations differ in the group, and in what is said of
/// its members.
#[must_use]
pub fn serve_all(
    configs: Vec<Config>,
    keys: watch::Receiver<ClusterKey>,
    stop: Stop,
    ready: Ready,
) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
    Box::pin(run(configs, keys, None, stop, ready))
}

/// As [`serve_all`], on a socket that somebody else has bound already; `listen` of the configurations has no meaning.
#[must_use]
pub fn serve_on(
    listener: std::net::TcpListener,
    configs: Vec<Config>,
    keys: watch::Receiver<ClusterKey>,
    stop: Stop,
    ready: Ready,
) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
    Box::pin(run(configs, keys, Some(listener), stop, ready))
}

async fn run(
    configs: Vec<Config>,
    keys: watch::Receiver<ClusterKey>,
    listener: Option<std::net::TcpListener>,
    mut stop: Stop,
    ready: Ready,
) -> Result<(), Error> {
    let node = check_together(&configs)?.clone();
    let opened = open_all(configs).await?;
    let listener = listen(&node, listener).await?;
    let failed = |source| Error::Listen { address: node.listen, source };
    let bound = listener.local_addr().map_err(failed)?;

    let allotted = (node.listen.port() == 0).then(|| bound.to_string());
    let of_process = OfProcess::default();
    let start = |(config, opened)| Replica::start(config, opened, &keys, allotted.clone(), &of_process);
    let started = opened.into_iter().map(start).collect::<Result<Vec<_>, Error>>()?;
    let (mut replicas, turned): (Vec<Replica>, Vec<Turned>) = started.into_iter().unzip();
    nodes::spawn(turned, of_process.bell)?;
    let (health, mut serving) = spawn_server(&node, &replicas, listener)?;
    for replica in &mut replicas {
        replica.publish();
    }
    set_serving(&health).await;
    let cluster = keys.borrow().id();
    let groups: Vec<u64> = replicas.iter().map(Replica::group).collect();
    tracing::info!(node = node.node, ?groups, address = %bound, %cluster, "serving");
    ready(bound);

    let (ended, failed) = tokio::select! {
        () = stop.asked() => (Ok(()), None),
        (fatal, at) = first_fatal(&mut replicas) => (Err(fatal), Some(at)),
        ended = &mut serving.task => (Err(server_ended(ended)), None),
    };
    replicas.iter().for_each(Replica::end_publishing);
    set_not_serving(&health).await;
    if let Some(failed) = failed {
        // It may still lead, and nobody applies what it takes: its group need not wait for the others.
        replicas[failed].running.shared.close();
    }
    if ended.is_ok() || failed.is_some() {
        // What ends one replica takes the others along, and they can say so.
        let others = replicas.iter().enumerate().filter(|(at, _)| Some(*at) != failed);
        let others: Vec<_> = others.map(|(_, replica)| Arc::clone(&replica.running.shared)).collect();
        join_all(others.into_iter().map(give_leadership_away)).await;
    }
    let ended_late = end(replicas, serving).await;
    ended.and(ended_late)
}

/// One replica of this node, with what carries its messages.
struct Replica {
    running: Running,
    peers: Arc<Peers>,
    /// `None`: there is no broker, or it has not begun.
    publishing: Option<JoinHandle<()>>,
}

impl Replica {
    fn start(
        config: Config,
        opened: Opened,
        keys: &watch::Receiver<ClusterKey>,
        allotted: Option<String>,
        of_process: &OfProcess,
    ) -> Result<(Replica, Turned), Error> {
        let entrance = Entrance::new(random()?);
        let mut peers = None;
        let (running, turned) = opened.start(config, keys.clone(), allotted, of_process, |connect| {
            let made = Peers::new(connect, entrance, Handle::current());
            peers = Some(Arc::clone(&made));
            move |out| made.carry(out)
        })?;
        let peers = peers.expect("connect was called");
        Ok((Replica { running, peers, publishing: None }, turned))
    }

    fn group(&self) -> u64 {
        self.running.shared.me.route.group
    }

    /// Publishes the group's changes while this node leads it.
    fn publish(&mut self) {
        let shared = &self.running.shared;
        let Some(address) = shared.config.mqtt.clone() else { return };
        let login = shared.config.mqtt_login.clone();
        self.publishing = Some(tokio::spawn(publisher::run(Arc::clone(shared), address, login)));
    }

    fn end_publishing(&self) {
        self.publishing.iter().for_each(JoinHandle::abort);
    }
}

/// What all configurations of a node say; refused if they cannot be of one node.
fn check_together(configs: &[Config]) -> Result<&Config, Error> {
    let first = configs.first().ok_or_else(|| wrong("group", "a node without a replica serves nobody"))?;
    for (at, config) in configs.iter().enumerate() {
        config.check()?;
        let Config { cluster, node, folder, listen, ring, tick_ms, .. } = config;
        let one = (&first.cluster, first.node, &first.folder, first.listen, &first.ring, first.tick_ms);
        if (cluster, *node, folder, *listen, ring, *tick_ms) != one {
            return Err(wrong(
                "group",
                "replicas of one node have its cluster, number, folder, address, ring and tick",
            ));
        }
        if configs[..at].iter().any(|other| other.group == config.group) {
            return Err(wrong("group", format!("{} is there twice", config.group)));
        }
    }
    Ok(first)
}

/// Recovers all replicas, beside each other.
async fn open_all(configs: Vec<Config>) -> Result<Vec<(Config, Opened)>, Error> {
    let open = |config: Config| async move {
        let opening = config.clone();
        let opened = tokio::task::spawn_blocking(move || replica::open(&opening)).await;
        Ok((config, opened.map_err(|_| Error::Ended("recovery"))??))
    };
    // Each ends before the first failure is told: what was opened is closed again.
    join_all(configs.into_iter().map(open)).await.into_iter().collect()
}

/// What ends the node, and which of its replicas it is.
async fn first_fatal(replicas: &mut [Replica]) -> (Error, usize) {
    let each = replicas.iter_mut().map(|replica| Box::pin(replica.running.fatal.recv()));
    let (fatal, at, _) = select_all(each).await;
    (fatal.unwrap_or(Error::Ended("the node")), at)
}

/// Random bytes that only this process has.
fn random() -> Result<[u8; KEY_BYTES], Error> {
    let mut random = [0; KEY_BYTES];
    getrandom::fill(&mut random).map_err(|error| Error::Serve(format!("no random bytes: {error}")))?;
    Ok(random)
}

async fn listen(config: &Config, bound: Option<std::net::TcpListener>) -> Result<TcpListener, Error> {
    let listener = match bound {
        None => TcpListener::bind(config.listen).await,
        Some(bound) => bound.set_nonblocking(true).and_then(|()| TcpListener::from_std(bound)),
    };
    listener.map_err(|source| Error::Listen { address: config.listen, source })
}

async fn give_leadership_away(shared: Arc<Shared>) {
    let shared = &shared;
    if shared.role.borrow().role != Role::Leader || shared.members().by_node.len() < 2 {
        return;
    }
    let until = Instant::now() + Duration::from_millis(shared.config.transfer_ms_max);
    // One that was given up may have met a replica that was just busy.
    while shared.role.borrow().role == Role::Leader {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            tracing::warn!("leadership could not be transferred in time");
            return;
        }
        if let Some(leader) = transfer_leadership(shared, None, left).await {
            tracing::info!(leader = leader.node, "leadership was transferred");
            return;
        }
        tokio::time::sleep(left.min(Duration::from_millis(TRANSFER_PAUSE_MS))).await;
    }
}

/// Ends streams and threads, in this order; an error that a thread ended with meanwhile. Nothing of the node uses its folders after it,
/// unless something holds on for seconds, of which the log tells.
async fn end(replicas: Vec<Replica>, serving: Serving) -> Result<(), Error> {
    serving.stop.send_replace(true);
    let stop = |Replica { running, peers, .. }: Replica| async move {
        let stopped = tokio::task::spawn_blocking(move || running.stop());
        let stopped = stopped.await.map_err(|_| Error::Ended("the node"));
        peers.close();
        stopped
    };
    let stopped = join_all(replicas.into_iter().map(stop)).await;
    let abort = serving.task.abort_handle();
    if tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), serving.task).await.is_err() {
        abort.abort();
    }
    let mut results = Vec::new();
    let mut uses = Vec::new();
    for one in stopped {
        match one {
            Ok((result, folder_use)) => {
                results.push(result);
                uses.push(folder_use);
            }
            Err(error) => results.push(Err(error)),
        }
    }
    join_all(uses.iter().map(FolderUse::end)).await;
    results.into_iter().collect()
}

/// The gRPC server's task.
struct Serving {
    task: JoinHandle<Result<(), tonic::transport::Error>>,
    stop: watch::Sender<bool>,
}

/// The services of all replicas.
struct Services {
    kv: HostedKv,
    cluster: HostedCluster,
    replication: HostedReplication,
}

impl Services {
    fn of(replicas: &[Replica]) -> Result<Services, Error> {
        let (mut kv, mut cluster, mut replication) = (Vec::new(), Vec::new(), Vec::new());
        for replica in replicas {
            let (Replica { running, peers, .. }, group) = (replica, replica.group());
            let shared = &running.shared;
            let cross = cross::start(shared);
            let cross = cross.map_err(|failure| Error::Serve(failure.message))?;
            kv.push((group, KvService::new(Arc::clone(shared), cross.clone())));
            let (audits, log) = (Arc::clone(&running.audits), running.log.clone());
            let challenges = Challenges::new(random()?);
            cluster.push((group, ClusterService::new(Arc::clone(shared), cross, audits, log, challenges)));
            let snapshots = Arc::clone(&running.snapshots);
            replication.push((group, ReplicationService::new(Arc::clone(peers), snapshots)));
        }
        let none = || Error::Ended("the node");
        Ok(Services {
            kv: HostedKv(Hosted::new(kv).ok_or_else(none)?),
            cluster: HostedCluster(Hosted::new(cluster).ok_or_else(none)?),
            replication: HostedReplication(Hosted::new(replication).ok_or_else(none)?),
        })
    }
}

fn spawn_server(
    node: &Config,
    replicas: &[Replica],
    listener: TcpListener,
) -> Result<(HealthReporter, Serving), Error> {
    let Services { kv, cluster, replication } = Services::of(replicas)?;
    let kv = KvServer::new(kv).max_decoding_message_size(REQUEST_BYTES_MAX);
    let cluster = ClusterServer::new(cluster).max_decoding_message_size(REQUEST_BYTES_MAX);
    let replication = ReplicationServer::new(replication)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let (health, health_server) = tonic_health::server::health_reporter();
    let wrong = |error: tonic_reflection::server::Error| Error::Serve(error.to_string());
    let reflection = reflected().build_v1().map_err(wrong)?;
    // Tools that are older than the first whole version ask for the one before it.
    let reflection_before = reflected().build_v1alpha().map_err(wrong)?;
    let (stop, mut stopping) = watch::channel(false);
    let incoming = Guard::new(admitted::limits(), admitted::PREFACE_BYTES).connections(listener);
    let server = Server::builder()
        .layer(admitted::layer())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(node.streams_per_connection_max)
        .http2_keepalive_interval(Some(Duration::from_secs(PING_S)))
        .http2_keepalive_timeout(Some(Duration::from_secs(PING_S)))
        .add_service(TooLargeResponse(health_server))
        .add_service(TooLargeResponse(reflection))
        .add_service(TooLargeResponse(reflection_before))
        .add_service(TooLargeResponse(kv))
        .add_service(TooLargeResponse(cluster))
        .add_service(TooLargeResponse(replication))
        .serve_with_incoming_shutdown(incoming, async move {
            let _ = stopping.wait_for(|stopping| *stopping).await;
        });
    Ok((health, Serving { task: tokio::spawn(server), stop }))
}

/// What reflection shows: not the portals' services, whose schemas are in the same set.
fn reflected<'a>() -> tonic_reflection::server::Builder<'a> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health");
    let ours = names().into_iter().filter(|name| !name.is_empty());
    ours.fold(reflection, |reflection, name| reflection.with_service_name(name))
}

fn server_ended(ended: Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Ok(())) => Error::Ended("the gRPC server"),
        Ok(Err(error)) => Error::Serve(error.to_string()),
        Err(error) => Error::Serve(error.to_string()),
    }
}

/// The names under which health is asked.
fn names() -> [&'static str; 4] {
    [
        "",
        <KvServer<HostedKv> as NamedService>::NAME,
        <ClusterServer<HostedCluster> as NamedService>::NAME,
        <ReplicationServer<HostedReplication> as NamedService>::NAME,
    ]
}

async fn set_serving(health: &HealthReporter) {
    for name in names() {
        health.set_service_status(name, tonic_health::ServingStatus::Serving).await;
    }
}

async fn set_not_serving(health: &HealthReporter) {
    for name in names() {
        health.set_service_status(name, tonic_health::ServingStatus::NotServing).await;
    }
}
