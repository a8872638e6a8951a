//! The layer between a portal's admission and its services: a request that names another cluster is refused, whatever transport of
//! the port it came over, and what the gRPC library says of a request is put into the words of our own table of errors.
//!
//! Leaves out: requests that name no cluster, which are served.

use std::convert::identity;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::HttpBody as _;
use axum::http::header::CONTENT_LENGTH;
use futures::FutureExt as _;
use futures::future::{Either, Map};
use store_client::unreadable::{explained, explained_head, unreadable};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};
use tower_layer::Layer;

use crate::admitted;
use crate::error::Error;
use crate::handle::Portal;
use crate::meant::CLUSTER_HEADER;
use crate::transport::http;

/// The layer.
#[derive(Clone)]
pub(crate) struct Front {
    portal: Arc<Portal>,
    /// What the paths of the portal's own gRPC service begin with.
    service: Arc<str>,
}

impl Front {
    /// Of this portal, whose gRPC service has this name.
    pub(crate) fn new(portal: Arc<Portal>, service: &str) -> Front {
        Front { portal, service: format!("/{service}/").into() }
    }
}

impl<S> Layer<S> for Front {
    type Service = Fronted<S>;

    fn layer(&self, inner: S) -> Fronted<S> {
        Fronted { inner, front: self.clone() }
    }
}

/// Services behind the layer.
#[derive(Clone)]
pub(crate) struct Fronted<S> {
    inner: S,
    front: Front,
}

type Answer<E> = Result<Response<Body>, E>;

impl<S> Service<Request<Body>> for Fronted<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Ready<Answer<S::Error>>, Map<S::Future, fn(Answer<S::Error>) -> Answer<S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let is_http = admitted::is_plain(path);
        if path.starts_with("/v1/") || path.starts_with(&*self.front.service) {
            let named = request.headers().get(CLUSTER_HEADER);
            if let Err(error) = self.front.portal.check_named(named) {
                let refusal = match is_http {
                    true => sized(http::refused(error)).map(Body::new),
                    false => Status::from(error).into_http(),
                };
                return Either::Left(ready(Ok(refusal)));
            }
        }
        let words: fn(Answer<S::Error>) -> Answer<S::Error> = match admitted::is_call(path) {
            _ if is_http => identity,
            // Its status is in the head, or it is a success.
            true => |answer| answer.map(|response| explained_head(response, explain)),
            false => |answer| answer.map(|response| explained(response, explain)),
        };
        Either::Right(self.inner.call(request).map(words))
    }
}

/// An answer with its length, which the routes say of theirs.
fn sized(mut response: Response<axum::body::Body>) -> Response<axum::body::Body> {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response
}

/// A request that is too large (`DECODE_BYTES_MAX` of [`crate::serve`]; the only thing for which the library says OUT_OF_RANGE, and we
/// never do) or no message.
fn explain(status: &Status) -> Option<Status> {
    let error = match status.code() {
        Code::OutOfRange if status.details().is_empty() => Some(Error::too_large()),
        _ => unreadable(status).map(|what| Error::invalid("request", what)),
    };
    error.map(Status::from)
}
