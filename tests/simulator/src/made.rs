//! The yield of one turn of a node, for others.

use store_core::NodeId;
use store_engine::front::NodeResponse;
use store_engine::{Answer, RequestId};

use crate::answers::Answered;
use crate::network::Packet;

/// What a turn brought to others.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) packets: Vec<Packet>,
    pub(crate) answers: Vec<Answered>,
    /// The node wants a snapshot from this other one.
    pub(crate) fetch: Option<(NodeId, store_core::Position)>,
    /// What the operator is told, by the number of the request.
    pub(crate) told: Vec<(u64, Answer)>,
    /// What the publisher is told.
    pub(crate) published: Vec<(RequestId, NodeResponse)>,
}
