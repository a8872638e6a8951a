//! The layer around gRPC services, and HTTP beside them: each call marks work, and what it holds is charged to its connection.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use http_body::Body as _;
use parking_lot::Mutex;
use tonic::transport::server::TcpConnectInfo;
use tower_layer::Layer;
use tower_service::Service;

use crate::arrival::{Arrival, Beginning};
use crate::body::{Held, Outgoing};
use crate::incoming::{Incoming, Of};
use crate::place::{Charge, Full, Place, Side};
use crate::rules::{Kind, Rules};

/// The layer.
#[derive(Clone)]
pub struct Admission {
    rules: Rules,
    sizes: Arc<Sizes>,
}

impl Admission {
    /// By these rules.
    #[must_use]
    pub fn new(rules: Rules) -> Admission {
        Admission { rules, sizes: Arc::default() }
    }
}

impl<S> Layer<S> for Admission {
    type Service = Admitted<S>;

    fn layer(&self, inner: S) -> Admitted<S> {
        Admitted { inner, rules: self.rules, sizes: Arc::clone(&self.sizes) }
    }
}

/// How large the answers of each call were, lately: what the next one is expected to be.
#[derive(Default)]
struct Sizes(Mutex<HashMap<String, usize>>);

/// Paths whose sizes are remembered: more than any server has.
const PATHS_MAX: usize = 256;

impl Sizes {
    fn expected(&self, path: &str, least: usize) -> usize {
        self.0.lock().get(path).map_or(least, |size| least.max(*size))
    }

    /// A large one is remembered at once and forgotten slowly. Where nothing was answered there is nothing to learn: so a path
    /// that no service has, which anybody can name, is not remembered.
    fn learn(&self, path: &str, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut sizes = self.0.lock();
        if let Some(size) = sizes.get_mut(path) {
            *size = bytes.max(*size - *size / 256);
        } else if sizes.len() < PATHS_MAX {
            sizes.insert(path.to_owned(), bytes);
        }
    }
}

/// A service behind the layer.
#[derive(Clone)]
pub struct Admitted<S> {
    inner: S,
    rules: Rules,
    sizes: Arc<Sizes>,
}

type Requested = Request<tonic::body::Body>;
type Answered = Response<Outgoing<tonic::body::Body>>;

impl<S> Service<Requested> for Admitted<S>
where
    S: Service<Requested, Response = Response<tonic::body::Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Answered;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Answered, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Requested) -> Self::Future {
        // The one that is ready, and not its clone.
        let ready = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, ready);
        let connected = request.extensions_mut().remove::<(Place, TcpConnectInfo)>();
        let (rules, sizes) = (self.rules, Arc::clone(&self.sizes));
        Box::pin(async move {
            let Some((place, info)) = connected else { return unguarded(inner, request).await };
            request.extensions_mut().insert(info);
            request.extensions_mut().insert(place.clone());
            match (rules.kind)(request.uri().path()) {
                Kind::Free => free(inner, request, place, rules).await,
                Kind::Members => stream(inner, request, place, rules, false).await,
                Kind::Stream => stream(inner, request, place, rules, true).await,
                Kind::Call(least) => call(inner, request, place, rules, &sizes, least).await,
            }
        })
    }
}

async fn unguarded<S>(mut inner: S, request: Requested) -> Result<Answered, S::Error>
where
    S: Service<Requested, Response = Response<tonic::body::Body>>,
{
    Ok(inner.call(request).await?.map(uncharged))
}

fn uncharged(body: tonic::body::Body) -> Outgoing<tonic::body::Body> {
    Outgoing::new(Some(body), None, Held::Nothing, Bytes::new())
}

async fn free<S>(mut inner: S, request: Requested, place: Place, rules: Rules) -> Result<Answered, S::Error>
where
    S: Service<Requested, Response = Response<tonic::body::Body>>,
{
    let (request, beginning) = arriving(request, place, rules, None);
    let response = inner.call(request).await?;
    drop(beginning);
    Ok(response.map(uncharged))
}

async fn stream<S>(
    mut inner: S,
    request: Requested,
    place: Place,
    rules: Rules,
    is_users: bool,
) -> Result<Answered, S::Error>
where
    S: Service<Requested, Response = Response<tonic::body::Body>>,
{
    let Some(open) = place.open_stream() else { return Ok(refused(rules, Full::Own)) };
    let request = admitted(request, place.clone(), rules, Of::Stream { is_users });
    let response = inner.call(request).await?;
    Ok(response
        .map(|body| Outgoing::new(Some(body), Some(place), Held::Stream { _open: open }, Bytes::new())))
}

async fn call<S>(
    mut inner: S,
    request: Requested,
    place: Place,
    rules: Rules,
    sizes: &Sizes,
    least: usize,
) -> Result<Answered, S::Error>
where
    S: Service<Requested, Response = Response<tonic::body::Body>>,
{
    let uri = request.uri().clone();
    // A path of HTTP names one record of many: its size says nothing of the next.
    let is_plain = (rules.is_plain)(uri.path());
    let expected = if is_plain { least } else { sizes.expected(uri.path(), least) };
    let (request, beginning) = arriving(request, place.clone(), rules, Some(expected));
    let (mut head, mut body) = inner.call(request).await?.into_parts();
    // The message as bytes: before, nobody knows how large it is.
    let first = match poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        None => None,
        Some(Ok(frame)) => Some(frame),
        Some(Err(failed)) => {
            failed.add_header(&mut head.headers).ok();
            None
        }
    };
    let (message, rest) = match first.map(http_body::Frame::into_data) {
        Some(Ok(message)) => (message, Some(body)),
        Some(Err(frame)) => {
            head.headers.extend(frame.into_trailers().unwrap_or_default());
            (Bytes::new(), None)
        }
        None => (Bytes::new(), None),
    };
    if is_grpc(&head.headers) {
        sizes.learn(uri.path(), message.len());
    }
    let (work, charge) = beginning.lock().take().map(|begun| (begun.work, begun.charge)).unzip();
    // Whoever is refused before his request has come whole has no charge.
    let mut charge = charge.flatten().unwrap_or_else(|| place.no_charge(Side::Answers));
    waits(&mut charge, message.len());
    drop(work);
    Ok(Response::from_parts(head, Outgoing::new(rest, Some(place), Held::Call(charge), message)))
}

/// Whether a service of gRPC answered: a page that says that there is nothing at a path is no size to remember.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

fn waits(charge: &mut Charge, bytes: usize) {
    charge.resize(bytes);
    charge.wait_for_caller();
}

/// The request of a call, which begins when it has come whole.
fn arriving(
    request: Requested,
    place: Place,
    rules: Rules,
    answer_bytes: Option<usize>,
) -> (Requested, Beginning) {
    let (arrival, beginning) = Arrival::new(place.clone(), rules, answer_bytes);
    (admitted(request, place, rules, Of::Call(arrival)), beginning)
}

/// The request, whose messages need room.
fn admitted(request: Requested, place: Place, rules: Rules, of: Of) -> Requested {
    let (head, body) = request.into_parts();
    let body = Incoming::new(body, &head, place, rules, of);
    Request::from_parts(head, tonic::body::Body::new(body))
}

fn refused(rules: Rules, full: Full) -> Answered {
    let (head, _nothing) = (rules.full)(full).into_http::<tonic::body::Body>().into_parts();
    let headers: HeaderMap = head.headers;
    let mut response = Response::new(Outgoing::new(None, None, Held::Nothing, Bytes::new()));
    *response.headers_mut() = headers;
    response
}
