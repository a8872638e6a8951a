//! A request as it will be on the wire, but for its number: encoded once, so that sending it again costs a copy and nothing
//! else.

use bytes::Bytes;
use prost::Message as _;
use proto::store::{PipelineRequest, Route, pipeline_request};

/// A request without its number.
#[derive(Debug)]
pub enum Body {
    /// Encoded.
    Ready(Bytes),
    /// Asked before it was known which cluster is meant: encoded when it is sent, with that in it.
    Unrouted(Box<PipelineRequest>),
}

impl Body {
    /// A request that goes by this route.
    #[must_use]
    pub fn of(request: pipeline_request::Request, route: &Route) -> Body {
        let mut request = Box::new(PipelineRequest { number: 0, request: Some(request) });
        if route.cluster_id == 0 || route.log_id == 0 {
            // Its length is to be that of the encoded one.
            set_route(&mut request, Route { cluster_id: u64::MAX, log_id: u64::MAX, ..*route });
            return Body::Unrouted(request);
        }
        set_route(&mut request, *route);
        Body::Ready(request.encode_to_vec().into())
    }

    /// Bytes on the wire.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        match self {
            Body::Ready(bytes) => bytes.len(),
            Body::Unrouted(request) => request.encoded_len(),
        }
    }

    /// What is sent; by this route, if none was known before.
    pub fn encoded(&mut self, route: &Route) -> Bytes {
        let bytes: Bytes = match self {
            Body::Ready(bytes) => return bytes.clone(),
            Body::Unrouted(request) => {
                set_route(request, *route);
                request.encode_to_vec().into()
            }
        };
        *self = Body::Ready(bytes.clone());
        bytes
    }
}

fn set_route(request: &mut PipelineRequest, route: Route) {
    let place = match &mut request.request {
        Some(pipeline_request::Request::Txn(txn)) => &mut txn.route,
        Some(pipeline_request::Request::Get(get)) => &mut get.route,
        Some(pipeline_request::Request::Scan(scan)) => &mut scan.route,
        Some(pipeline_request::Request::Outcome(outcome)) => &mut outcome.route,
        Some(pipeline_request::Request::Prepare(prepare)) => &mut prepare.route,
        Some(pipeline_request::Request::Finish(finish)) => &mut finish.route,
        Some(pipeline_request::Request::Ask(ask)) => &mut ask.route,
        None => return,
    };
    *place = Some(route);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::GetRequest;

    fn get(route: Route) -> pipeline_request::Request {
        let get = GetRequest { key: Bytes::from_static(b"k"), route: Some(route), ..GetRequest::default() };
        pipeline_request::Request::Get(get)
    }

    #[test]
    fn what_was_asked_before_the_cluster_was_known_names_it_when_it_is_sent() {
        let known = Route { cluster_id: 5, log_id: 6, ..Route::to(1, 1) };
        let mut body = Body::of(get(Route::to(1, 1)), &Route::to(1, 1));
        let length = body.encoded_len();
        let sent = body.encoded(&known);
        assert_eq!(sent.len(), length, "it takes the room that was counted");
        let request = Some(get(known));
        assert_eq!(PipelineRequest::decode(sent), Ok(PipelineRequest { number: 0, request }));
    }
}
