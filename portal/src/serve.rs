//! Starting and stopping a portal: the same for both.
//!
//! Served beside the portal's own service: `feira.portal.v1.Portal` (status), gRPC health and reflection. A stop lets
//! requests under way end for at most the grace, then ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use admission::Guard;
use admission::limits::{HEADER_BYTES_MAX, PING_S, REQUESTS_MAX, STREAM_WINDOW_BYTES, WINDOW_BYTES};
use axum::http::HeaderValue;
use axum::middleware::Next;
use proto::portal::portal_server::{Portal as PortalService, PortalServer};
use proto::portal::{PortalStatusRequest, PortalStatusResponse};
use store_client::unreadable::{explained, unreadable};
use store_keys::{ClusterId, NotAnId};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};
use tonic_health::ServingStatus;

use crate::admitted;
use crate::bus;
use crate::config::{Config, StartError};
use crate::error::Error;
use crate::handle::Portal;
use crate::limits::REQUEST_BYTES_MAX;

/// When this is ready, the portal stops.
pub type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;
/// A running portal; ready when it has stopped.
pub type Serving = Pin<Box<dyn Future<Output = Result<(), StartError>> + Send>>;

/// The metadata in which a request names the cluster that it is meant for.
pub const CLUSTER_HEADER: &str = "feira-cluster-id";
/// The name of the status service.
const PORTAL_SERVICE: &str = "feira.portal.v1.Portal";

/// What is wrong with a request of more than [`REQUEST_BYTES_MAX`].
const TOO_LARGE: &str =
    "is larger than 1 MiB (1,048,576 bytes), the most that a portal reads; send it in parts";
const _: () = assert!(REQUEST_BYTES_MAX == 1_048_576, "the text above says so");

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

/// Runs a portal until `stop` is ready. `name` is its gRPC service, `routes` makes it.
///
/// # Errors
/// It cannot start, or the server failed.
pub async fn run(
    mut config: Config,
    stop: Stop,
    name: &'static str,
    routes: impl FnOnce(Arc<Portal>) -> Routes,
) -> Result<(), StartError> {
    config.check()?;
    let lease_ms = u64::try_from(config.lease.as_millis()).unwrap_or(u64::MAX);
    let portal =
        Portal::limited(&config.name, config.store.clone(), config.cache, lease_ms, config.requests_max);
    if let Some(bus) = &config.bus {
        portal.cluster.get_or_init(|| bus.keys.borrow().id());
    }
    let failed = |source| StartError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let incoming = Guard::new(admitted::limits(), admitted::PREFACE_BYTES).connections(listener);
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in ["", name, PORTAL_SERVICE] {
        health.set_service_status(service, ServingStatus::Serving).await;
    }
    let status = PortalServer::new(StatusService(portal.clone()));
    let routes = routes(portal.clone()).add_service(status).add_service(health_service);
    let routes = reflected(routes, name);
    let mut tasks = JoinSet::new();
    if let Some(bus) = config.bus.take() {
        tasks.spawn(bus::run(portal.clone(), bus));
    }
    let (stopping, mut stopped) = watch::channel(false);
    let stopping = async move {
        stop.await;
        health.set_service_status("", ServingStatus::NotServing).await;
        health.set_service_status(name, ServingStatus::NotServing).await;
        stopping.send_replace(true);
    };
    let routes = in_our_words(for_this_cluster(routes, name, portal.clone()));
    let server = Server::builder()
        .layer(admitted::layer())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(REQUESTS_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(PING_S)))
        .http2_keepalive_timeout(Some(Duration::from_secs(PING_S)))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stopping);
    tracing::info!(portal = config.name, %address, "serving");
    if let Some(bound) = config.bound.take() {
        // Nobody waits for it any more: no harm.
        let _ = bound.send(address);
    }
    tokio::select! {
        served = server => served?,
        () = grace_over(&mut stopped, config.grace) => {
            tracing::warn!(portal = config.name, "requests were still under way when the grace ended");
        }
    }
    Ok(())
}

async fn grace_over(stopped: &mut watch::Receiver<bool>, grace: Duration) {
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        // The server ended first, and took the signal with it.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(grace).await;
}

/// The routes, where requests of the portal's service that name another cluster are refused. A request that names none is served.
fn for_this_cluster(routes: Routes, name: &str, portal: Arc<Portal>) -> Routes {
    let service = format!("/{name}/");
    let check = move |request: axum::extract::Request, next: Next| {
        let named = request.headers().get(CLUSTER_HEADER);
        let is_of_service = request.uri().path().starts_with(&service);
        let checked = if is_of_service { portal.check_named(named) } else { Ok(()) };
        async move {
            match checked {
                Ok(()) => next.run(request).await,
                Err(error) => Status::from(error).into_http(),
            }
        }
    };
    routes.into_axum_router().layer(axum::middleware::from_fn(check)).into()
}

impl Portal {
    /// Refuses what is meant for another cluster.
    fn check_named(&self, named: Option<&HeaderValue>) -> Result<(), Error> {
        let (Some(named), Some(ours)) = (named, self.cluster.get()) else { return Ok(()) };
        let meant = named.to_str().ok().and_then(|text| text.parse::<ClusterId>().ok());
        let meant = meant.ok_or_else(|| Error::invalid(CLUSTER_HEADER, NotAnId.to_string()))?;
        if meant == *ours {
            return Ok(());
        }
        let portal = format!("{} of cluster {ours}", self.status().name);
        Err(Error::WrongCluster { portal, meant: meant.to_string() })
    }
}

/// The routes, with what the gRPC library says of a request that is too large ([`DECODE_BYTES_MAX`]; the only thing for
/// which it says OUT_OF_RANGE, and we never do) or no message put into the words of our own table of errors.
fn in_our_words(routes: Routes) -> Routes {
    let explain = |status: &Status| {
        let what = match status.code() {
            Code::OutOfRange if status.details().is_empty() => Some(TOO_LARGE.to_owned()),
            _ => unreadable(status),
        };
        what.map(|what| Status::from(Error::invalid("request", what)))
    };
    let layer = axum::middleware::map_response(move |response: axum::response::Response| async move {
        explained(response.map(Body::new), explain)
    });
    routes.into_axum_router().layer(layer).into()
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
