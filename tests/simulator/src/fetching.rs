//! A snapshot that is being fetched: what is known of it, and the pieces that are written as they come.

use std::sync::Arc;

use bytes::Bytes;
use store_core::{Member, Position};
use store_engine::{Error, Job, Snapshots};
use store_log::sim::SimDisk;
use store_log::{IncomingSnapshot, Offered, SnapshotFile};

use crate::time::Micros;

/// A snapshot on its way here.
pub(crate) struct Fetching {
    /// From whom.
    pub(crate) from: Member,
    /// At least which position.
    pub(crate) at: Position,
    /// Which one is sent, and what there is of it.
    pub(crate) incoming: Option<(SnapshotFile, IncomingSnapshot<Arc<SimDisk>>)>,
    /// When it was last asked for a piece.
    pub(crate) asked_at: Micros,
}

/// How far a transfer is.
pub(crate) enum Progress {
    Until(u64),
    Done(Job),
}

/// Writes a piece; true if that was all.
pub(crate) fn take(
    snapshots: &Snapshots<SimDisk>,
    fetching: &mut Fetching,
    file: &SnapshotFile,
    at_byte: u64,
    data: &Bytes,
) -> Result<bool, Error> {
    if fetching.incoming.as_ref().is_none_or(|(known, _)| known != file) {
        let info = file.info;
        let offered = Offered { number: info.number, position: info.position, bytes: file.bytes };
        fetching.incoming = Some((*file, snapshots.receive(offered)?));
    }
    let (_, incoming) = fetching.incoming.as_mut().expect("it was just begun");
    if at_byte <= incoming.received() && !incoming.complete() {
        incoming.write(at_byte, data)?;
    }
    Ok(incoming.complete())
}

pub(crate) fn finish(
    snapshots: &Snapshots<SimDisk>,
    fetching: &mut Fetching,
    is_complete: bool,
) -> Result<Progress, Error> {
    if !is_complete {
        let received = fetching.incoming.as_ref().map_or(0, |(_, incoming)| incoming.received());
        return Ok(Progress::Until(received));
    }
    let (_, incoming) = fetching.incoming.take().expect("it is complete");
    let (_, told) = snapshots.received(incoming)?;
    Ok(Progress::Done(told))
}
