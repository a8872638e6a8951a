//! Messages on the wire: a request of a pipeline from a client to a node, and a push from a leader to a replica.
//!
//! Each is made and read as the sender and the receiver do it, the checks and translations of the receiver included, without
//! gRPC's frames.

use std::hint::black_box;

use bytes::Bytes;
use prost::Message as _;
use proto::store::{
    AppendEntries, Identity, PipelineRequest, PushMessage, Route, Txn, TxnRequest, pipeline_request,
    push_message,
};
use store_client::link::Body;
use store_core::types::{Entry, Position};
use store_engine::convert;

use crate::log::entry;
use crate::scenario::{Call, Scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "request-encode",
        operation: "a pipelined put of 256 bytes of a session made and encoded",
        calls: 10_000,
        operations_per_call: 1,
        prepare: encode_requests,
    },
    Scenario {
        name: "request-decode",
        operation: "the same decoded",
        calls: 10_000,
        operations_per_call: 1,
        prepare: decode_requests,
    },
    Scenario {
        name: "push-encode",
        operation: "a push of 64 entries of 256 bytes made of the log's entries and encoded",
        calls: 1_000,
        operations_per_call: 1,
        prepare: encode_pushes,
    },
    Scenario {
        name: "push-decode",
        operation: "the same decoded and checked",
        calls: 1_000,
        operations_per_call: 1,
        prepare: decode_pushes,
    },
];

/// Entries of one push.
const ENTRIES: u64 = 64;

fn route() -> Route {
    Route { cluster_id: u64::MAX / 3, log_id: u64::MAX / 5, ..Route::to(1, 1) }
}

/// What a session's put of 256 bytes is before it has a route.
fn request() -> pipeline_request::Request {
    let txn = Txn::new().put("bench/00000042", 1_800_000_000_000, vec![b'x'; 256]);
    let identity = Some(Identity::session([7; 16], 1_800_000_000_000, 4_711, 4_700, 1, [7; 16]));
    pipeline_request::Request::Txn(TxnRequest { route: None, txn: Some(txn), identity })
}

fn encode_requests(_calls: usize) -> Call {
    let (request, route) = (request(), route());
    Box::new(move |_| {
        let mut body = Body::of(request.clone(), &route);
        black_box(body.encoded(&route));
    })
}

fn decode_requests(_calls: usize) -> Call {
    let route = route();
    let bytes = Body::of(request(), &route).encoded(&route);
    Box::new(move |_| {
        let request = PipelineRequest::decode(bytes.clone()).expect("it was encoded here");
        black_box(request);
    })
}

fn entries() -> Vec<Entry<Bytes>> {
    (2..2 + ENTRIES).map(|offset| entry(offset, vec![b'x'; 256].into())).collect()
}

/// As `store_engine::Replicator` makes it.
fn push(entries: &[Entry<Bytes>]) -> PushMessage {
    let append = AppendEntries {
        epoch: 1,
        previous: Some(convert::position_out(Position::new(1, 1))),
        entries: entries.iter().map(convert::entry_out).collect(),
        committed: 1,
    };
    PushMessage { message: Some(push_message::Message::Append(append)) }
}

fn encode_pushes(_calls: usize) -> Call {
    let (entries, mut buffer) = (entries(), Vec::new());
    Box::new(move |_| {
        buffer.clear();
        push(&entries).encode(&mut buffer).expect("a vector grows");
        black_box(&buffer);
    })
}

fn decode_pushes(_calls: usize) -> Call {
    let bytes = Bytes::from(push(&entries()).encode_to_vec());
    Box::new(move |_| {
        let message = PushMessage::decode(bytes.clone()).expect("it was encoded here");
        black_box(convert::push_in(message).expect("it continues the log"));
    })
}
