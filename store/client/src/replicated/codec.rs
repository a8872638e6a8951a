//! A pipelined request on the wire: its number, which is the stream's business, and then the body that was encoded when it
//! was asked for.

use bytes::{BufMut, Bytes};
use prost::encoding::encode_varint;
use proto::store::PipelineResponse;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// The key of `PipelineRequest.number` on the wire: field 1, a varint.
const NUMBER_KEY: u8 = 1 << 3;

/// A request on its way: its number on this stream, and the encoded rest.
pub(crate) type Numbered = (u64, Bytes);

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
    use prost::Message as _;
    use proto::store::{GetRequest, PipelineRequest, Route, pipeline_request};

    use crate::link::Body;

    #[test]
    fn number_and_body_are_one_message() {
        let route = Route { cluster_id: 5, log_id: 6, ..Route::to(1, 1) };
        let get = GetRequest { key: Bytes::from_static(b"k"), route: Some(route), ..GetRequest::default() };
        let request = pipeline_request::Request::Get(get);
        let mut wire = Vec::new();
        write(300, &Body::of(request.clone(), &route).encoded(&Route::default()), &mut wire);
        let whole = PipelineRequest { number: 300, request: Some(request) };
        assert_eq!(PipelineRequest::decode(wire.as_slice()), Ok(whole));
    }
}
