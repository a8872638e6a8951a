//! How a pipelined request goes onto the wire: its body was encoded once, when it was asked for, so that
//! sending it again costs a copy and nothing else. The number, which is the stream's business, goes before it.

use bytes::{BufMut, Bytes};
use prost::Message;
use proto::store::{PipelineRequest, PipelineResponse, pipeline_request};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// The key of `PipelineRequest.number` on the wire: field 1, a varint.
const NUMBER_KEY: u8 = 1 << 3;

/// A request on its way: its number on this stream, and the encoded rest.
pub(crate) type Numbered = (u64, Bytes);

/// Encodes a request without its number.
pub(crate) fn body_of(request: pipeline_request::Request) -> Bytes {
    PipelineRequest { number: 0, request: Some(request) }.encode_to_vec().into()
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

fn write(mut number: u64, body: &[u8], into: &mut impl BufMut) {
    into.put_u8(NUMBER_KEY);
    while number > 0x7F {
        into.put_u8(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    into.put_u8(number.to_le_bytes()[0]);
    into.put_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::GetRequest;

    #[test]
    fn number_and_body_are_one_message() {
        let get = GetRequest { key: Bytes::from_static(b"k"), ..GetRequest::default() };
        let request = pipeline_request::Request::Get(get);
        let mut wire = Vec::new();
        write(300, &body_of(request.clone()), &mut wire);
        let whole = PipelineRequest { number: 300, request: Some(request) };
        assert_eq!(PipelineRequest::decode(wire.as_slice()), Ok(whole));
    }
}
