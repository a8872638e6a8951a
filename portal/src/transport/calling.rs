//! One operation asked of a portal over a connection, by gRPC or by HTTP: what both ways answer is the same message or the same
//! status.
//!
//! Leaves out: which portal, how often, and for how long ([`answered_within`] bounds one attempt).

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codegen::{Body as HttpBody, StdError};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::asking;
use crate::operation::Operation;

/// The longest answer that is taken: a page of the largest documents.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Asks over gRPC; `service` is the name of the portal's.
///
/// # Errors
/// As the portal answers, or the connection fails.
pub async fn over_grpc<O, S>(
    connection: S,
    service: &str,
    request: Request<O::Request>,
) -> Result<Response<O::Response>, Status>
where
    O: Operation,
    S: GrpcService<Body>,
    S::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <S::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    let mut grpc = Grpc::new(connection).max_decoding_message_size(ANSWER_BYTES_MAX);
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = format!("/{service}/{}", O::NAME).parse().expect("the name of an operation is a path");
    grpc.unary(request, path, ProstCodec::<O::Request, O::Response>::default()).await
}

/// Asks over HTTP.
///
/// # Errors
/// As the portal answers, or the connection fails.
pub async fn over_http<O, S>(
    mut connection: S,
    mut message: O::Request,
) -> Result<Response<O::Response>, Status>
where
    O: Operation,
    S: GrpcService<Body>,
    S::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <S::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    let id = O::id(&mut message).and_then(Option::take);
    let request = asking::request(O::RESOURCE, &message, id.as_ref())?;
    std::future::poll_fn(|context| connection.poll_ready(context))
        .await
        .map_err(|error| Status::from_error(error.into()))?;
    let request = request.map(|body| Body::new(Full::new(Bytes::from(body))));
    let answered = connection.call(request).await.map_err(|error| Status::from_error(error.into()))?;
    let (head, body) = answered.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(Status::from_error)?.to_bytes();
    asking::answer(head.status.as_u16(), &body).map(Response::new)
}

/// One attempt, which waits for so long.
///
/// # Errors
/// As the attempt; DEADLINE_EXCEEDED: there was no answer in time.
pub async fn answered_within<T>(
    time: Duration,
    attempt: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let late = |_| Err(Status::deadline_exceeded("no answer in time"));
    tokio::time::timeout(time, attempt).await.unwrap_or_else(late)
}
