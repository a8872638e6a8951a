//! The contents that pass through the coordinator, and its names on the wire.

use std::sync::Arc;

use proto::store::{FailedGuard, Identity, IndexedResult, Owned};
use store_core::coordinate::{self, Contents, CrossId};

use crate::gate::Who;
use crate::split::Part;

/// What passes through the coordinator.
#[derive(Debug)]
pub(crate) struct Payload;

impl Contents for Payload {
    type Part = Arc<Outgoing>;
    type Own = Own;
    type Results = Vec<IndexedResult>;
    type Failure = Vec<FailedGuard>;
}

/// A participant's part on its way.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) slot: usize,
    pub(crate) range: Owned,
    pub(crate) part: Part,
    pub(crate) tag_hash: u64,
    pub(crate) who: Who,
}

/// The decider's own part, and whose it is.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) request: u64,
    pub(crate) part: Part,
    pub(crate) identity: Option<Identity>,
    pub(crate) who: Who,
}

pub(crate) fn in_core(id: proto::store::CrossId) -> CrossId {
    CrossId { group: id.group, epoch: store_core::Epoch(id.epoch), number: id.number }
}

pub(crate) fn id_on_wire(id: CrossId) -> proto::store::CrossId {
    proto::store::CrossId::of(id.group, id.epoch.0, id.number)
}

pub(crate) fn on_wire(range: coordinate::Arc) -> Owned {
    Owned { ring_version: crate::RING_VERSION, ..Owned::arc(range.after, range.up_to) }
}
