//! Sending a snapshot to a replica that is too far behind, at a bounded rate, from any byte on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::Stream;
use proto::store::{FailureReason, FetchSnapshotRequest, SnapshotBlock};
use store_client::failure::{failure, status_from};
use store_engine::{Snapshots, convert};
use tonic::Status;

use crate::shared::Disk;

/// Bytes of one block.
const BLOCK_BYTES: usize = 256 << 10;

/// The newest snapshot of at least what is asked, as blocks.
pub(super) async fn stream(
    snapshots: Arc<Snapshots<Disk>>,
    request: FetchSnapshotRequest,
    bytes_per_second: u64,
) -> Result<impl Stream<Item = Result<SnapshotBlock, Status>> + Send, Status> {
    let at = convert::position_in(request.at);
    // Opening verifies all of it, which may take a while.
    let opened = tokio::task::spawn_blocking(move || snapshots.open(at)).await;
    let opened = opened.map_err(|error| Status::internal(error.to_string()))?;
    let snapshot = opened.map_err(|error| Status::internal(error.to_string()))?.ok_or_else(|| {
        status_from(&failure(FailureReason::NotHere, format!("there is no snapshot of at least {at}")))
    })?;
    let listed = snapshot.listed();
    let resumes = request.snapshot == listed.info.number;
    let from = if resumes { request.from_byte.min(listed.bytes) } else { 0 };
    let began = Instant::now();
    let state = (Arc::new(snapshot), from);
    Ok(futures::stream::try_unfold(state, move |(snapshot, at)| async move {
        if at >= listed.bytes {
            return Ok(None);
        }
        let due = Duration::from_secs_f64((at - from) as f64 / bytes_per_second as f64);
        tokio::time::sleep_until((began + due).into()).await;
        let reader = Arc::clone(&snapshot);
        let read = tokio::task::spawn_blocking(move || reader.raw(at, BLOCK_BYTES)).await;
        let read = read.map_err(|error| Status::internal(error.to_string()))?;
        let data = read.map_err(|error| Status::internal(error.to_string()))?;
        if data.is_empty() {
            return Err(Status::data_loss("the snapshot ends before its length"));
        }
        let next = at + data.len() as u64;
        let block = SnapshotBlock {
            snapshot: listed.info.number,
            position: Some(convert::position_out(listed.info.position)),
            total_bytes: listed.bytes,
            at_byte: at,
            data,
        };
        Ok(Some((block, (snapshot, next))))
    }))
}
