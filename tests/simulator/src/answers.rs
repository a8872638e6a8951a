//! The answers of one node, and the reads that they need.

use proto::store::pipeline_response::Response;
use proto::store::{Failure, FailureReason, LeaderHint, PipelineResponse};
use store_client::failure::failure;
use store_core::{Epoch, NodeId, Offset};
use store_db::Table as _;
use store_engine::front::{self, PendingRequest};

use crate::table::SimTable;

/// A client's stream, unique over a run.
pub(crate) type StreamId = u64;

/// An answer, and on which stream.
pub(crate) type Answered = (StreamId, PipelineResponse);

pub(crate) fn refusal(stream: StreamId, number: u64, refused: Failure) -> Answered {
    (stream, PipelineResponse { number, response: Some(Response::Failure(refused)) })
}

/// The answer of a replica whose table must not be read.
pub(crate) fn quarantined() -> Response {
    Response::Failure(failure(FailureReason::NotServing, "this replica is quarantined"))
}

pub(crate) fn hint(leader: Option<NodeId>, epoch: Epoch) -> Option<LeaderHint> {
    let node = leader?.0;
    Some(LeaderHint { node, address: format!("node-{node}"), epoch: epoch.0 })
}

/// Runs a read that may run.
pub(crate) fn read(table: &SimTable, asked: &PendingRequest, at: Offset) -> Response {
    let mut answers = Vec::new();
    let ran = table.read(|read| front::reads::run(read, &[(asked, at)], usize::MAX, &mut answers));
    ran.expect("a table in memory can be read");
    answers.pop().expect("a read has one answer")
}
