//! Malformed bytes, answered as the caller's mistake: the transport calls them INTERNAL, in words of its own, as if the
//! fault were ours. They are INVALID_ARGUMENT, with the decoder's place.
//!
//! Promises: every service (unary and streaming, in headers and in trailers) can put a status of the transport into its own table's
//! words by [`explained`]. Leaves out those words, which are each service's.

use http_body_util::BodyExt as _;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Response};
use tonic::{Code, Status};

/// How the transport begins what it says of bytes that are no message (tonic's codec and prost).
const SAID: [&str; 5] = [
    "failed to decode Protobuf message: ",
    "protocol error: ",
    "Error decompressing",
    "Unexpected EOF decoding stream",
    "Missing request message",
];

/// What a status of the transport says of bytes that are no message, with their place; `None`: it is about something else.
#[must_use]
pub fn unreadable(status: &Status) -> Option<String> {
    let is_transports = status.code() == Code::Internal && status.details().is_empty();
    let said = SAID.iter().find(|said| status.message().starts_with(*said)).filter(|_| is_transports)?;
    let place = status.message().strip_prefix(SAID[0]).filter(|_| *said == SAID[0]);
    Some(format!("is no message: {}", place.unwrap_or(status.message())))
}

/// A response whose status, if that is in its headers, is put into other words where `explain` has some: the answer to a call of one
/// message, which has no other status than that or success.
pub fn explained_head<F>(response: Response<Body>, explain: F) -> Response<Body>
where
    F: Fn(&Status) -> Option<Status>,
{
    let status = Status::from_header_map(response.headers());
    status.as_ref().and_then(explain).map_or(response, Status::into_http)
}

/// A response whose status is put into other words where `explain` has some, whether it comes in the headers (a call that
/// failed) or after the body (a stream).
pub fn explained<F>(response: Response<Body>, explain: F) -> Response<Body>
where
    F: Fn(&Status) -> Option<Status> + Send + 'static,
{
    // A call that failed has its status in the headers: there is no body whose end could bring it.
    if let Some(status) = Status::from_header_map(response.headers()) {
        return explain(&status).map_or(response, Status::into_http);
    }
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            frame.map_trailers_of(|trailers| Status::from_header_map(trailers).as_ref().and_then(&explain))
        }))
    })
}

/// A frame's trailers, replaced by those of another status.
trait MapTrailers {
    fn map_trailers_of(self, other: impl FnOnce(&HeaderMap) -> Option<Status>) -> Self;
}

impl<D> MapTrailers for http_body::Frame<D> {
    fn map_trailers_of(self, other: impl FnOnce(&HeaderMap) -> Option<Status>) -> Self {
        let Some(status) = self.trailers_ref().and_then(other) else { return self };
        let mut trailers = HeaderMap::new();
        // What cannot be a header stays as it was.
        match status.add_header(&mut trailers) {
            Ok(()) => http_body::Frame::trailers(trailers),
            Err(_) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_transport_says_of_bytes_is_taken_for_that() {
        let said =
            Status::internal("failed to decode Protobuf message: TxnRequest.txn: invalid tag value: 0");
        assert_eq!(unreadable(&said).as_deref(), Some("is no message: TxnRequest.txn: invalid tag value: 0"));
        assert!(unreadable(&Status::internal("Unexpected EOF decoding stream.")).is_some());
        assert_eq!(unreadable(&Status::internal("the state machine answered something else")), None);
        assert_eq!(unreadable(&Status::unknown("protocol error: x")), None);
    }
}
