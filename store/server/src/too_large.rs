//! Requests that are longer than any that could be executed, or are no message. The transport answers OUT_OF_RANGE and INTERNAL
//! in its own words; callers get the answer of every other bad argument instead: INVALID_ARGUMENT with field and details.

use std::convert::Infallible;
use std::task::{Context, Poll};

use proto::store::Failure;
use store_client::failure::{failure_from, invalid, status_from};
use store_client::unreadable::{explained, unreadable};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic::{Code, Status};

/// A request of a client is at most this long: the largest transaction, its identity, and what wraps them.
pub(crate) const REQUEST_BYTES_MAX: usize = proto::check::TXN_BYTES_MAX + (64 << 10);

/// What a status of the transport means, if it is about a request that was too long.
fn too_large(status: &Status) -> Option<Failure> {
    let by_transport = failure_from(status).reason() == proto::store::FailureReason::Unspecified;
    (status.code() == Code::OutOfRange && by_transport).then(|| {
        let txn = proto::check::TXN_BYTES_MAX;
        let message = format!("is longer than {REQUEST_BYTES_MAX} bytes; a transaction has at most {txn}");
        invalid("request", message)
    })
}

/// What a status of the transport means, if it is about a request that could not be taken as it came.
pub(crate) fn not_taken(status: &Status) -> Option<Failure> {
    too_large(status).or_else(|| unreadable(status).map(|what| invalid("request", what)))
}

/// A service whose callers are told in our words that a request was too long, or no message.
#[derive(Clone)]
pub(crate) struct TooLargeResponse<S>(pub(crate) S);

impl<S: NamedService> NamedService for TooLargeResponse<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for TooLargeResponse<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let in_our_words = |status: &Status| not_taken(status).map(|failure| status_from(&failure));
            Ok(explained(answer.await?, in_our_words))
        })
    }
}
