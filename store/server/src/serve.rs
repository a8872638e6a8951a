//! One store node from start to stop.
//!
//! ```text
//!   check ─ recover ─ bind ─ threads ─ services ─ SERVING ─ … ─ stop asked
//!     ─ NOT_SERVING ─ transfer leadership ─ end streams ─ write, apply, sync all queued work ─ end
//! ```
//!
//! The port is bound after recovery, so that nobody waits at a node that cannot answer yet.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use admission::Guard;
use admission::limits::{HEADER_BYTES_MAX, PING_S, STREAM_WINDOW_BYTES, WINDOW_BYTES};
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
use crate::config::Config;
use crate::cross::Cross;
use crate::error::Error;
use crate::kv::KvService;
use crate::leadership_transfer::transfer_leadership;
use crate::peers::{Entrance, MESSAGE_BYTES_MAX, Peers, ReplicationService};
use crate::publisher;
use crate::replica::{self, Running};
use crate::stop::Stop;
use crate::too_large::{REQUEST_BYTES_MAX, TooLargeResponse};

/// Between two attempts to transfer leadership.
const TRANSFER_PAUSE_MS: u64 = 20;
/// Streams that were told to end must have ended within this.
const DRAIN_MS_MAX: u64 = 1_000;

/// Called once, with the address that was bound, when the node serves.
pub type Ready = Box<dyn FnOnce(SocketAddr) + Send>;

/// Runs a node until it is asked to stop or cannot go on; `keys` is the cluster key, as its file says now. Boxed, so that
/// callers need not compile what is inside.
#[must_use]
pub fn serve(
    config: Config,
    keys: watch::Receiver<ClusterKey>,
    stop: Stop,
    ready: Ready,
) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
    Box::pin(run(config, keys, None, stop, ready))
}

/// As [`serve`], on a socket that somebody else has bound already; `listen` of the configuration has no meaning.
#[must_use]
pub fn serve_on(
    listener: std::net::TcpListener,
    config: Config,
    keys: watch::Receiver<ClusterKey>,
    stop: Stop,
    ready: Ready,
) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
    Box::pin(run(config, keys, Some(listener), stop, ready))
}

async fn run(
    config: Config,
    keys: watch::Receiver<ClusterKey>,
    listener: Option<std::net::TcpListener>,
    mut stop: Stop,
    ready: Ready,
) -> Result<(), Error> {
    config.check()?;
    let opening = config.clone();
    let opened = tokio::task::spawn_blocking(move || replica::open(&opening)).await;
    let opened = opened.map_err(|_| Error::Ended("recovery"))??;
    let listener = listen(&config, listener).await?;
    let failed = |source| Error::Listen { address: config.listen, source };
    let bound = listener.local_addr().map_err(failed)?;

    let broker = config.mqtt.clone().map(|address| (address, config.mqtt_login.clone()));
    let entrance = Entrance::new(random()?);
    let mut peers = None;
    let allotted = (config.listen.port() == 0).then(|| bound.to_string());
    let mut running = opened.start(config, keys, allotted, |connect| {
        let made = Peers::new(connect, entrance, Handle::current());
        peers = Some(Arc::clone(&made));
        move |out| made.carry(out)
    })?;
    let peers = peers.expect("connect was called");
    let (health, mut serving) = spawn_server(&running, &peers, listener)?;
    let publishing = broker
        .map(|(address, login)| tokio::spawn(publisher::run(Arc::clone(&running.shared), address, login)));
    set_serving(&health).await;
    let cluster = running.shared.keys.borrow().id();
    tracing::info!(node = running.shared.me.member.node.0, address = %bound, %cluster, "serving");
    ready(bound);

    let ended = tokio::select! {
        () = stop.asked() => Ok(()),
        fatal = running.fatal.recv() => Err(fatal.unwrap_or(Error::Ended("the node"))),
        ended = &mut serving.task => Err(server_ended(ended)),
    };
    if let Some(publishing) = publishing {
        publishing.abort();
    }
    set_not_serving(&health).await;
    if ended.is_ok() {
        give_leadership_away(&running).await;
    }
    let ended_late = end(running, &peers, serving).await;
    ended.and(ended_late)
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

async fn give_leadership_away(running: &Running) {
    let shared = &running.shared;
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

/// Ends streams and threads, in this order; an error that a thread ended with meanwhile.
async fn end(mut running: Running, peers: &Peers, serving: Serving) -> Result<(), Error> {
    serving.stop.send_replace(true);
    let stopped = tokio::task::spawn_blocking(move || {
        running.stop();
        running.fatal.try_recv().map_or(Ok(()), Err)
    });
    let stopped = stopped.await.map_err(|_| Error::Ended("the node"))?;
    peers.close();
    let abort = serving.task.abort_handle();
    if tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), serving.task).await.is_err() {
        abort.abort();
    }
    stopped
}

/// The gRPC server's task.
struct Serving {
    task: JoinHandle<Result<(), tonic::transport::Error>>,
    stop: watch::Sender<bool>,
}

fn spawn_server(
    running: &Running,
    peers: &Arc<Peers>,
    listener: TcpListener,
) -> Result<(HealthReporter, Serving), Error> {
    let shared = &running.shared;
    let cross = Cross::start(shared, &Handle::current());
    let cross = cross.map_err(|failure| Error::Serve(failure.message))?;
    let kv = KvService::new(Arc::clone(shared), cross.clone());
    let kv = KvServer::new(kv).max_decoding_message_size(REQUEST_BYTES_MAX);
    let audits = Arc::clone(&running.audits);
    let challenges = Challenges::new(random()?);
    let cluster = ClusterService::new(Arc::clone(shared), cross, audits, running.log.clone(), challenges);
    let cluster = ClusterServer::new(cluster).max_decoding_message_size(REQUEST_BYTES_MAX);
    let replication = ReplicationService::new(Arc::clone(peers), Arc::clone(&running.snapshots));
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
        .max_concurrent_streams(shared.config.streams_per_connection_max)
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
        <KvServer<KvService> as NamedService>::NAME,
        <ClusterServer<ClusterService> as NamedService>::NAME,
        <ReplicationServer<ReplicationService> as NamedService>::NAME,
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
