//! A pipelined request on the wire: its body was encoded once, when it was asked for, so that
//! sending it again costs a copy and nothing else. The number, which is the stream's business, goes before it.

use bytes::{BufMut, Bytes};
use prost::Message;
use prost::encoding::encode_varint;
use proto::store::{PipelineRequest, PipelineResponse, Route, pipeline_request};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// The key of `PipelineRequest.number` on the wire: field 1, a varint.
const NUMBER_KEY: u8 = 1 << 3;

/// A request on its way: its number on this stream, and the encoded rest.
pub(crate) type Numbered = (u64, Bytes);

/// A request without its number.
#[derive(Debug)]
pub(crate) enum Body {
    /// Encoded.
    Ready(Bytes),
    /// Asked before it was known which cluster is meant: encoded when it is sent, with that in it.
    Unrouted(Box<PipelineRequest>),
}

impl Body {
    /// A request that goes by this route.
    pub(crate) fn of(request: pipeline_request::Request, route: &Route) -> Body {
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
    pub(crate) fn len(&self) -> usize {
        match self {
            Body::Ready(bytes) => bytes.len(),
            Body::Unrouted(request) => request.encoded_len(),
        }
    }

    /// What is sent; by this route, if none was known before.
    pub(crate) fn encoded(&mut self, route: &Route) -> Bytes {
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
        None => return,
    };
    *place = Some(route);
}

/// Pipelined requests out, decoded responses in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PipelineCodec;

impl Codec for PipelineCodec {
    type Encode = Numbered;
    type Decode = PipelineResponse;
    type Encoder = NumberedEncoder;
    type Decoder = ProstDecoder<PipelineResponse>;

    fn encoder(&mut self) -> Self::Encoder {
        NumberedEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

/// Writes the number, then the body as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NumberedEncoder;

impl Encoder for NumberedEncoder {
    type Item = Numbered;
    type Error = Status;

    fn encode(&mut self, (number, body): Numbered, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        write(number, &body, into);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

fn write(number: u64, body: &[u8], into: &mut impl BufMut) {
    into.put_u8(NUMBER_KEY);
    encode_varint(number, into);
    into.put_slice(body);
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
    fn number_and_body_are_one_message() {
        let route = Route { cluster_id: 5, log_id: 6, ..Route::to(1, 1) };
        let mut wire = Vec::new();
        write(300, &Body::of(get(route), &route).encoded(&Route::default()), &mut wire);
        let whole = PipelineRequest { number: 300, request: Some(get(route)) };
        assert_eq!(PipelineRequest::decode(wire.as_slice()), Ok(whole));
    }

    #[test]
    fn what_was_asked_before_the_cluster_was_known_names_it_when_it_is_sent() {
        let known = Route { cluster_id: 5, log_id: 6, ..Route::to(1, 1) };
        let mut body = Body::of(get(Route::to(1, 1)), &Route::to(1, 1));
        let length = body.len();
        let sent = body.encoded(&known);
        assert_eq!(sent.len(), length, "it takes the room that was counted");
        let request = Some(get(known));
        assert_eq!(PipelineRequest::decode(sent), Ok(PipelineRequest { number: 0, request }));
    }
}
