//! The fetch of a snapshot from the leader, for a replica behind the beginning of the leader's log.
//!
//! One fetch at a time; a later want replaces the target of the next attempt. The received part stays on disk, and
//! the next attempt goes on after it. An error of the disk after which nothing can be trusted (a failed sync) ends the
//! node: a second sync of the same bytes would succeed over what the first one lost.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto::store::replication_client::ReplicationClient;
use proto::store::{FetchSnapshotRequest, SnapshotBlock};
use store_client::backoff::Backoff;
use store_core::{NodeId, Position};
use store_engine::{Job, Snapshots, convert};
use store_keys::Kind;
use store_log::{IncomingSnapshot, Offered};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::introduce::{MESSAGE_BYTES_MAX, leader_at};
use super::lines::dial_at;
use super::session::begin;
use crate::error::Error;
use crate::shared::{Disk, Shared};

/// The leader must send the next block within this.
const BLOCK_MS_MAX: u64 = 5_000;
const BACKOFF_MS_FIRST: u64 = 500;
const BACKOFF_MS_MAX: u64 = 10_000;

type Incoming = IncomingSnapshot<Arc<Disk>>;

/// The fetching of snapshots.
pub(super) struct Fetch {
    shared: Arc<Shared>,
    snapshots: Arc<Snapshots<Disk>>,
    wanted: Arc<Mutex<Wanted>>,
    /// Where what must end the node is told.
    fatal: mpsc::UnboundedSender<Error>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What is wanted, and how it went so far.
struct Wanted {
    /// From whom, and at least which position.
    next: Option<(NodeId, Position)>,
    /// A task is at it.
    busy: bool,
    /// Between attempts; what was fetched is whole, and the next wish has nothing to do with it.
    backoff: Backoff,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted { next: None, busy: false, backoff: Backoff::new(BACKOFF_MS_FIRST, BACKOFF_MS_MAX) }
    }
}

impl Wanted {
    /// A snapshot at `position` is here. The leader repeats its offer with every heartbeat while it is fetched: what
    /// this one fulfils is not fetched again.
    fn fulfil(&mut self, position: Position) {
        self.next.take_if(|(_, at)| at.offset <= position.offset);
        self.backoff.reset();
    }
}

impl Fetch {
    pub(super) fn new(
        shared: Arc<Shared>,
        snapshots: Arc<Snapshots<Disk>>,
        fatal: mpsc::UnboundedSender<Error>,
    ) -> Fetch {
        Fetch { shared, snapshots, wanted: Arc::default(), fatal, task: Mutex::default() }
    }

    /// Wants a snapshot of at least `at`; begins unless a fetch is under way.
    pub(super) fn want(&self, runtime: &Handle, from: NodeId, at: Position) {
        let mut wanted = self.wanted.lock();
        wanted.next = Some((from, at));
        if std::mem::replace(&mut wanted.busy, true) {
            return;
        }
        let (shared, snapshots) = (Arc::clone(&self.shared), Arc::clone(&self.snapshots));
        let (wanted, fatal) = (Arc::clone(&self.wanted), self.fatal.clone());
        *self.task.lock() = Some(runtime.spawn(async move {
            if let Err(source) = fetch(shared, snapshots, wanted).await {
                // Nobody listens when the node ends already.
                let _ = fatal.send(Error::Stage { stage: "snapshot", source });
            }
        }));
    }

    pub(super) fn close(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

/// Why an attempt brought no snapshot.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// The leader, or the way to it.
    #[error("{0}")]
    Peer(String),
    /// What was to be done with the file here.
    #[error(transparent)]
    Here(#[from] store_engine::Error),
}

impl Failed {
    /// What must end the node, if this is that; otherwise another attempt is made.
    fn fatal(self) -> Result<Failed, store_engine::Error> {
        match self {
            Failed::Here(error) if error.is_fatal() => Err(error),
            other => Ok(other),
        }
    }
}

/// Fetches what is wanted; when that is here, the node is told. A fetch that fails is tried again as often as the
/// leader offers one, unless the failure is fatal.
async fn fetch(
    shared: Arc<Shared>,
    snapshots: Arc<Snapshots<Disk>>,
    wanted: Arc<Mutex<Wanted>>,
) -> Result<(), store_engine::Error> {
    loop {
        let next = {
            let mut wanted = wanted.lock();
            let next = wanted.next.take();
            wanted.busy = next.is_some();
            next
        };
        let Some((from, at)) = next else { return Ok(()) };
        match attempt(&shared, &snapshots, from, at).await {
            Ok((position, told)) => {
                tracing::info!(%from, %position, "a snapshot was fetched");
                wanted.lock().fulfil(position);
                shared.inbox.post([told]);
            }
            Err(failed) => {
                let why = failed.fatal()?;
                tracing::warn!(%from, %why, "a snapshot could not be fetched");
                let pause = wanted.lock().backoff.after(Duration::ZERO);
                tokio::time::sleep(pause).await;
            }
        }
    }
}

async fn attempt(
    shared: &Shared,
    snapshots: &Arc<Snapshots<Disk>>,
    from: NodeId,
    at: Position,
) -> Result<(Position, Job), Failed> {
    let leader = leader_at(shared, from).ok_or_else(|| Failed::Peer(format!("{from} is not known here")))?;
    let channel = dial_at(&leader.address).map_err(Failed::Peer)?;
    let mut client = ReplicationClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut request = FetchSnapshotRequest { at: Some(convert::position_out(at)), snapshot: 0, from_byte: 0 };
    // The first call only learns what is offered; if part of that is here already, the second goes on after it.
    for _ in 0..2 {
        let limit = Duration::from_millis(BLOCK_MS_MAX);
        let late = |_| Failed::Peer(format!("no block within {BLOCK_MS_MAX} ms"));
        let refused = |status: tonic::Status| Failed::Peer(status.message().to_owned());
        let begun = tokio::time::timeout(limit, begin(shared, &mut client, Kind::Fetch, &leader)).await;
        let mut session = begun.map_err(late)?.map_err(refused)?;
        let asking = session.call(&request);
        let opened = tokio::time::timeout(limit, client.fetch_snapshot(asking)).await;
        let mut blocks = opened.map_err(late)?.map_err(refused)?.into_inner();
        let mut part = 0;
        let mut incoming: Option<Incoming> = None;
        loop {
            let block = tokio::time::timeout(limit, blocks.message()).await.map_err(late)?;
            let Some(block) = block.map_err(refused)? else { break };
            let block: SnapshotBlock = session.heard(part, block).map_err(refused)?;
            part += 1;
            let writing = match incoming.take() {
                Some(incoming) => incoming,
                None => {
                    let position = convert::position_in(block.position);
                    let offered = Offered { number: block.snapshot, position, bytes: block.total_bytes };
                    let here = Arc::clone(snapshots);
                    let begun = on_disk(move || here.receive(offered)).await?;
                    if begun.received() > block.at_byte && request.from_byte == 0 {
                        let (received, bytes) = (begun.received(), block.total_bytes);
                        tracing::info!(%from, received, bytes, "the fetch of a snapshot goes on where it ended");
                        request.snapshot = block.snapshot;
                        request.from_byte = begun.received();
                        break;
                    }
                    begun
                }
            };
            incoming = Some(on_disk(move || write(writing, &block)).await?);
        }
        if let Some(incoming) = incoming {
            let here = Arc::clone(snapshots);
            return on_disk(move || here.received(incoming)).await;
        }
    }
    Err(Failed::Peer("the leader sent no snapshot".to_owned()))
}

fn write(mut incoming: Incoming, block: &SnapshotBlock) -> Result<Incoming, store_engine::Error> {
    incoming.write(block.at_byte, &block.data)?;
    Ok(incoming)
}

/// Does one thing with a snapshot's file where threads may wait for a disk. There is one fetch at a time, hence one
/// such thread.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, store_engine::Error> + Send + 'static,
) -> Result<T, Failed> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| Failed::Peer(error.to_string()))??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_repeated_while_its_snapshot_is_fetched_is_fetched_once() {
        let mut wanted =
            Wanted { next: Some((NodeId(1), Position::new(3, 40))), busy: true, ..Wanted::default() };
        wanted.fulfil(Position::new(3, 39));
        assert!(wanted.next.is_some(), "it is of an earlier position");
        wanted.fulfil(Position::new(3, 40));
        assert_eq!(wanted.next, None);
    }

    #[test]
    fn a_failed_sync_of_a_fetched_snapshot_is_never_tried_again() {
        let source = || std::io::Error::from_raw_os_error(5);
        let sync = store_log::Error::Sync { file: "snap.3".to_owned(), source: source() };
        let ends = Failed::Here(sync.into()).fatal().unwrap_err();
        assert!(ends.to_string().contains("snap.3"), "{ends}");
        let full = store_log::Error::Full { operation: "write", file: "snap.3".to_owned(), source: source() };
        assert!(Failed::Here(full.into()).fatal().is_ok(), "room can come back");
        assert!(Failed::Peer("gone".to_owned()).fatal().is_ok());
    }
}
