//! Starting and stopping a portal: the same for both.
//!
//! Served beside the portal's own service, on one port: `feira.portal.v1.Portal` (status), gRPC health and reflection, and the
//! same operations over HTTP/JSON. A stop lets
//! requests under way end for at most the grace, then ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use admission::Guard;
use admission::limits::{HEADER_BYTES_MAX, PING_S, REQUESTS_MAX, STREAM_WINDOW_BYTES, WINDOW_BYTES};
use proto::portal::portal_server::{Portal as PortalService, PortalServer};
use proto::portal::{PortalStatusRequest, PortalStatusResponse};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;

use crate::admitted;
use crate::bus;
use crate::config::{Bus, Config, StartError};
use crate::error::Error;
use crate::feed;
use crate::front::Front;
use crate::handle::{Bounds, Portal};
use crate::limits::REQUEST_BYTES_MAX;
use crate::operation::{Answered, Operation, Registered};
use crate::sampler;
use crate::session::SESSION_HEADER;
use crate::shop;
use crate::transport::{event_stream, http, mqtt};

/// When this is ready, the portal stops.
pub type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;
/// A running portal; ready when it has stopped.
pub type Serving = Pin<Box<dyn Future<Output = Result<(), StartError>> + Send>>;

/// What a portal does by itself until it is dropped.
pub type Tending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The name of the status service.
const PORTAL_SERVICE: &str = "feira.portal.v1.Portal";

struct StatusService(Arc<Portal>);

#[tonic::async_trait]
impl PortalService for StatusService {
    async fn status(
        &self,
        _request: Request<PortalStatusRequest>,
    ) -> Result<Response<PortalStatusResponse>, Status> {
        Ok(Response::new(self.0.status()))
    }
}

/// An operation's answer over gRPC, the token of its session in the metadata.
///
/// # Errors
/// As [`Answered::done`], as a status.
pub async fn answered<O: Operation>(
    portal: &Portal,
    request: Request<O::Request>,
) -> Result<Response<O::Response>, Status> {
    let token = in_metadata(request.metadata())?.map(str::to_owned);
    let Answered { done, token } = portal.call::<O>(token.as_deref(), request.into_inner()).await;
    let mut answered = done.map(Response::new).map_err(Status::from);
    if let Some(token) = token {
        let mut value: MetadataValue<Ascii> = token.to_string().parse().expect("digits and signs are ASCII");
        // As in `SessionToken::header`.
        value.set_sensitive(true);
        let metadata = match &mut answered {
            Ok(response) => response.metadata_mut(),
            Err(status) => status.metadata_mut(),
        };
        metadata.insert(SESSION_HEADER, value);
    }
    answered
}

/// The token in the metadata of a request, if there is one.
fn in_metadata(metadata: &MetadataMap) -> Result<Option<&str>, Error> {
    let mut tokens = metadata.get_all(SESSION_HEADER).iter();
    match (tokens.next(), tokens.next()) {
        (None, _) => Ok(None),
        (Some(token), None) => {
            let text = token.to_str();
            text.map(Some)
                .map_err(|_| Error::invalid(SESSION_HEADER, "has characters that are not printable ASCII"))
        }
        _ => Err(Error::invalid(SESSION_HEADER, "is given twice")),
    }
}

/// What a portal serves.
pub struct Service {
    /// The name of its gRPC service.
    pub name: &'static str,
    /// Makes that service.
    pub routes: fn(Arc<Portal>) -> Routes,
    /// Its operations, for the other transports.
    pub operations: &'static [Registered],
    /// It tells of what is done in the shop, and keeps the feed of that.
    pub tells_events: bool,
    /// What else it does by itself while it runs, where [`Config::keeps_feed`] lets it.
    pub tends: Option<fn(Arc<Portal>) -> Tending>,
    /// Its word in the topics of requests; `None`: it takes none from the broker.
    pub topics: Option<&'static str>,
}

/// Runs a portal until `stop` is ready.
///
/// # Errors
/// It cannot start, or the server failed.
pub async fn run(mut config: Config, stop: Stop, service: Service) -> Result<(), StartError> {
    let name = service.name;
    config.check()?;
    let portal = Portal::limited(&config.name, config.store.clone(), config.cache, bounds(&config));
    if let Some(bus) = &config.bus {
        portal.shared.cluster.get_or_init(|| bus.keys.borrow().id());
    }
    let failed = |source| StartError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let incoming = Guard::new(admitted::limits(), admitted::PREFACE_BYTES).connections(listener);
    let (health, health_service) = tonic_health::server::health_reporter();
    let well = ["", name, PORTAL_SERVICE].map(|name| health.set_service_status(name, ServingStatus::Serving));
    futures::future::join_all(well).await;
    let (stopping, mut stopped) = watch::channel(false);
    let (_tasks, requests) = tasks(&portal, &mut config, &service, &stopped);
    let streams = portal.clone();
    let stopping = async move {
        stop.await;
        streams.shared.is_stopping.store(true, Ordering::Relaxed);
        health.set_service_status("", ServingStatus::NotServing).await;
        health.set_service_status(name, ServingStatus::NotServing).await;
        stopping.send_replace(true);
    };
    let own = (service.routes)(portal.clone()).add_service(health_service);
    let server = Server::builder()
        .accept_http1(true)
        .layer(admitted::layer())
        .layer(Front::new(portal.clone(), name))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(REQUESTS_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(PING_S)))
        .http2_keepalive_timeout(Some(Duration::from_secs(PING_S)))
        .add_routes(all_routes(own, &service, &portal))
        .serve_with_incoming_shutdown(incoming, stopping);
    tracing::info!(portal = config.name, %address, "serving");
    if let Some(bound) = config.bound.take() {
        let _ = bound.send(address); // Nobody waits for it any more: no harm.
    }
    tokio::select! {
        served = async {
            let served = server.await;
            requests.join_all().await;
            served
        } => served?,
        () = grace_over(&mut stopped, config.grace) => {
            tracing::warn!(portal = config.name, "requests were still under way when the grace ended");
        }
    }
    Ok(())
}

/// What a portal does by itself beside its server. Dropped with it: those that only keep the cache coherent and the shop tended. Waited for: those
/// that answer somebody.
fn tasks(
    portal: &Arc<Portal>,
    config: &mut Config,
    service: &Service,
    stopped: &watch::Receiver<bool>,
) -> (JoinSet<()>, JoinSet<()>) {
    let (mut tasks, mut requests) = (JoinSet::new(), JoinSet::new());
    if service.tells_events && config.keeps_feed {
        tasks.spawn(feed::keeper::run(portal.clone(), config.bus.clone()));
    }
    if let Some(tends) = service.tends.filter(|_| config.keeps_feed) {
        tasks.spawn(tends(portal.clone()));
    }
    if let Some(bus) = config.bus.take() {
        if let Some(word) = service.topics.filter(|_| config.takes_requests) {
            let (portal, stopped) = (portal.clone(), stopped.clone());
            requests.spawn(mqtt::run(portal, bus.clone(), word, service.operations, stopped, config.grace));
        }
        tasks.spawn(coherent(portal.clone(), bus, config.lease));
    }
    tasks.spawn(shop::run(portal.clone()));
    (tasks, requests)
}

/// What the portal keeps to.
fn bounds(config: &Config) -> Bounds {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Bounds {
        lease_ms: milliseconds(config.lease),
        age_ms_max: milliseconds(config.age_max),
        requests_max: config.requests_max,
        clock_off_ms: 0,
    }
}

/// Keeps the cache coherent, and looks whether it is.
async fn coherent(portal: Arc<Portal>, bus: Bus, lease: Duration) {
    tokio::join!(bus::run(portal.clone(), bus), sampler::run(portal, lease));
}

/// The portal's own gRPC services and those beside them, and its operations over HTTP.
fn all_routes(own: Routes, service: &Service, portal: &Arc<Portal>) -> Routes {
    let own = own.add_service(PortalServer::new(StatusService(Arc::clone(portal))));
    let grpc = reflected(own, service.name).into_axum_router();
    let mut http = http::router(portal, service.name, service.operations);
    if service.tells_events {
        http = http.merge(event_stream::router(portal));
    }
    grpc.fallback(http::nothing_here).merge(http).into()
}

async fn grace_over(stopped: &mut watch::Receiver<bool>, grace: Duration) {
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        // The server ended first, and took the signal with it.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(grace).await;
}

/// Reflection of what a portal serves, and not of the store's schemas that are in the same set. Tools that are older than
/// its first whole version ask for the one before.
fn reflected(routes: Routes, name: &str) -> Routes {
    let made = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(name)
            .with_service_name(PORTAL_SERVICE)
            .with_service_name("grpc.health.v1.Health")
    };
    let right = "the descriptors were made when this was built";
    let (now, before) = (made().build_v1().expect(right), made().build_v1alpha().expect(right));
    routes.add_service(now).add_service(before)
}

/// The largest request that a portal's service decodes, for `max_decoding_message_size`.
pub const DECODE_BYTES_MAX: usize = REQUEST_BYTES_MAX;
