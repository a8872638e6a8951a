//! The contents that pass through the coordinator, and its names on the wire.

use std::sync::Arc;

use proto::store::{FailedGuard, Identity, IndexedResult, Owned};
use store_core::coordinate::{self, Contents, CrossId};

use super::split::Part;
use crate::gate::Who;

/// What passes through the coordinator.
#[derive(Debug)]
pub(super) struct Payload;

impl Contents for Payload {
    type Part = Arc<Outgoing>;
    type Own = Own;
    type Results = Vec<IndexedResult>;
    type Failure = Vec<FailedGuard>;
}

/// A participant's part on its way.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) slot: usize,
    pub(super) range: Owned,
    pub(super) part: Part,
    pub(super) tag_hash: u64,
    pub(super) who: Who,
}

/// The decider's own part, and whose it is.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) request: u64,
    pub(super) part: Part,
    pub(super) identity: Option<Identity>,
    pub(super) who: Who,
}

pub(super) fn in_core(id: proto::store::CrossId) -> CrossId {
    CrossId { group: id.group, epoch: store_core::Epoch(id.epoch), number: id.number }
}

pub(super) fn id_on_wire(id: CrossId) -> proto::store::CrossId {
    proto::store::CrossId::of(id.group, id.epoch.0, id.number)
}

pub(super) fn on_wire(range: coordinate::Arc) -> Owned {
    Owned { ring_version: crate::shard::RING_VERSION, ..Owned::arc(range.after, range.up_to) }
}
