//! Background threads: long jobs on one consistent view of the table while the applier goes on. Snapshots, audits,
//! and what carries layers into the database and syncs it.
//!
//! The handshake: the applier stands still, a thread opens its read transaction, *then* the applier is told to go
//! on. It is told so even if the transaction could not be opened: a snapshot or an audit may fail, applying not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use proto::store::{AuditResponse, FailureReason, KeyRecord};
use store_client::failure::{failure, status_from};
use store_core::Position;
use store_db::{Read, Table as _, query};
use store_engine::{Job, Pause, Snapshots, convert};
use tokio::sync::{mpsc, watch};
use tonic::Status;

use crate::error::Error;
use crate::queues::ToApplier;
use crate::shared::{Disk, Shared};
use crate::taker::Taker;
use crate::thread_to_stream::Sender;

/// An audit's consistent view is kept for so long, for auditors that are slow.
const AUDIT_S: u64 = 60;
/// And while nobody asks for it only so long: what is replaced under an open consistent view takes new room in the table.
const AUDIT_UNASKED_S: u64 = 3;
/// Read snapshots kept at once; the oldest goes.
const AUDITS_MAX: usize = 4;
/// Auditors that may wait for one consistent view.
const AUDITORS_MAX: usize = 4;
/// Records of one answer, and their bytes, about.
const AUDIT_RECORDS_MAX: usize = 500;
const AUDIT_BYTES_MAX: usize = 256 << 10;
/// The table is synced so often.
const SYNC_S: u64 = 30;

/// Where an auditor's answers go.
pub(crate) type Auditor = Sender<Result<AuditResponse, Status>>;

/// Who wants to see a consistent view.
pub(crate) enum Viewer {
    /// Its records of some prefixes.
    Audit(Auditor),
    /// All of it.
    Backup(Taker),
}

/// The background work of one replica.
#[derive(Clone)]
pub(crate) struct BackgroundJobs {
    shared: Arc<Shared>,
    snapshots: Arc<Snapshots<Disk>>,
    applier: SyncSender<ToApplier>,
    audits: Arc<Audits>,
    /// Takes what ends the node.
    fatal: mpsc::UnboundedSender<Error>,
}

/// The consistent views of audits.
#[derive(Default)]
pub(crate) struct Audits {
    open: Mutex<VecDeque<(Bytes, SyncSender<Viewer>)>>,
    /// Raised when another one is open.
    opened: watch::Sender<u64>,
}

impl Audits {
    /// Hands a viewer to the consistent view of `id`; waits for it to be applied here, bounded.
    pub(crate) async fn view(&self, id: &Bytes, viewer: Viewer, wait: Duration) -> Result<(), Status> {
        let mut opened = self.opened.subscribe();
        let until = tokio::time::Instant::now() + wait;
        loop {
            let view = self.open.lock().iter().find(|(open, _)| open == id).map(|(_, ask)| ask.clone());
            if let Some(ask) = view {
                return ask.try_send(viewer).map_err(|refused| {
                    status_from(&match refused {
                        TrySendError::Full(_) => failure(
                            FailureReason::Overloaded,
                            "too many auditors wait for this consistent view",
                        ),
                        TrySendError::Disconnected(_) => gone(),
                    })
                });
            }
            if tokio::time::timeout_at(until, opened.changed()).await.is_err() {
                return Err(status_from(&gone()));
            }
        }
    }

    fn add(&self, id: Bytes) -> Receiver<Viewer> {
        let (ask, requests) = sync_channel(AUDITORS_MAX);
        let mut open = self.open.lock();
        if open.len() >= AUDITS_MAX {
            open.pop_front();
        }
        open.push_back((id, ask));
        drop(open);
        self.opened.send_modify(|count| *count += 1);
        requests
    }

    fn remove(&self, id: &Bytes) {
        self.open.lock().retain(|(open, _)| open != id);
    }

    /// Lets every consistent view go.
    pub(crate) fn close(&self) {
        self.open.lock().clear();
    }
}

fn gone() -> proto::store::Failure {
    failure(
        FailureReason::NotHere,
        format!(
            "this replica has no consistent view of that audit or cut: it goes {AUDIT_UNASKED_S} s after it was asked for last"
        ),
    )
}

/// Tells the applier to go on when it is dropped, whatever happened.
struct Resume<'a>(&'a SyncSender<ToApplier>);

impl Drop for Resume<'_> {
    fn drop(&mut self) {
        // An applier that has ended needs to hear nothing.
        let _ = self.0.send(ToApplier::Resume);
    }
}

impl BackgroundJobs {
    pub(crate) fn new(
        shared: Arc<Shared>,
        snapshots: Arc<Snapshots<Disk>>,
        applier: SyncSender<ToApplier>,
        fatal: mpsc::UnboundedSender<Error>,
    ) -> BackgroundJobs {
        BackgroundJobs { shared, snapshots, applier, audits: Arc::default(), fatal }
    }

    /// The consistent views of audits.
    pub(crate) fn audits(&self) -> Arc<Audits> {
        Arc::clone(&self.audits)
    }

    /// Begins what the applier has paused for.
    pub(crate) fn begin(&self, at: Pause) {
        let background = self.clone();
        let work = move || match at {
            Pause::Audit { id, prefixes, position, state_hash } => {
                background.audit(&id, &prefixes, position, state_hash);
            }
            Pause::Snapshot { position, number } => background.snapshot(position, number),
        };
        if let Err(error) = thread::Builder::new().name("feira-background".to_owned()).spawn(work) {
            tracing::error!(%error, "no thread for background work");
            drop(Resume(&self.applier));
        }
    }

    fn snapshot(&self, position: Position, number: u64) {
        let resume = Resume(&self.applier);
        let mut written = None;
        let read = self.shared.table.read_settled(|read| {
            let vintage = self.snapshots.vintage();
            drop(resume);
            written = Some(self.snapshots.write(read, vintage, number, position));
            Ok(())
        });
        let failed = match (written, read) {
            (Some(Ok(())), Ok(())) => {
                tracing::info!(%position, number, "a snapshot was taken");
                self.shared.inbox.post([Job::SnapshotTaken { position }]);
                return;
            }
            (Some(Err(error)), _) => error,
            (_, Err(error)) => error.into(),
            (None, Ok(())) => unreachable!("the job ran"),
        };
        if failed.is_fatal() {
            // Nobody listens when the node ends already.
            let _ = self.fatal.send(Error::Stage { stage: "snapshot", source: failed });
            return;
        }
        tracing::warn!(%position, number, error = %failed, "a snapshot could not be taken");
        self.shared.inbox.post([Job::SnapshotFailed { position }]);
    }

    fn audit(&self, id: &Bytes, prefixes: &[Bytes], position: Position, state_hash: u64) {
        let resume = Resume(&self.applier);
        let until = Instant::now() + Duration::from_secs(AUDIT_S);
        let read = self.shared.table.read_settled(|read| {
            let requests = self.audits.add(id.clone());
            drop(resume);
            while let Some(viewer) = next(&requests, until) {
                match viewer {
                    Viewer::Audit(auditor) => {
                        let mut view = AuditView { auditor, position, records: Vec::new(), bytes: 0, until };
                        view.send_all(read, prefixes, state_hash)?;
                    }
                    Viewer::Backup(taker) => taker.send(read),
                }
            }
            Ok(())
        });
        self.audits.remove(id);
        if let Err(error) = read {
            tracing::warn!(%error, "an audit's consistent view could not be read");
        }
    }
}

fn next(requests: &Receiver<Viewer>, until: Instant) -> Option<Viewer> {
    // Too late, or nobody can ask any more.
    let patience = Duration::from_secs(AUDIT_UNASKED_S);
    requests.recv_timeout(until.saturating_duration_since(Instant::now()).min(patience)).ok()
}

/// One auditor's answers.
struct AuditView {
    auditor: Auditor,
    position: Position,
    records: Vec<KeyRecord>,
    bytes: usize,
    until: Instant,
}

impl AuditView {
    fn send_all(
        &mut self,
        read: &impl Read,
        prefixes: &[Bytes],
        state_hash: u64,
    ) -> Result<(), store_db::Error> {
        let mut wanted = true;
        for prefix in prefixes {
            query::each(read, prefix, &mut |record| {
                self.bytes += record.key.len() + record.record.as_ref().map_or(0, |record| record.data.len());
                self.records.push(record);
                if self.records.len() >= AUDIT_RECORDS_MAX || self.bytes >= AUDIT_BYTES_MAX {
                    wanted = self.send(false, 0);
                }
                Ok(wanted)
            })?;
            if !wanted {
                return Ok(());
            }
        }
        self.send(true, state_hash);
        Ok(())
    }

    /// Sends what was gathered; false: the auditor has gone, or was too slow.
    fn send(&mut self, done: bool, state_hash: u64) -> bool {
        self.bytes = 0;
        let position = Some(convert::position_out(self.position));
        let records = std::mem::take(&mut self.records);
        self.auditor.send(Ok(AuditResponse { position, records, done, state_hash }), self.until)
    }
}

/// Carries full layers into the database until the end is told ([`store_db::Layered::wake`] makes it look).
pub(crate) fn run_flushes(shared: &Shared, end: &SyncEnd) -> Result<(), Error> {
    while !*end.0.lock() {
        let is_due = shared.table.wait_until_due(Duration::from_secs(SYNC_S));
        // What reports damage is on its way to be made anew; who stays with it all the same writes when a layer is too full.
        if is_due && shared.table.damage().is_none() {
            let flushed = shared.table.flush_full();
            flushed.map_err(|source| Error::Stage { stage: "database", source: source.into() })?;
        }
    }
    Ok(())
}

/// Ends the threads that flush and sync.
pub(crate) type SyncEnd = Arc<(Mutex<bool>, Condvar)>;

/// Flushes and syncs the table from time to time, so that a crash costs little replay.
pub(crate) fn run_syncs(shared: &Shared, end: &SyncEnd) -> Result<(), Error> {
    loop {
        let mut ended = end.0.lock();
        end.1.wait_while_for(&mut ended, |ended| !*ended, Duration::from_secs(SYNC_S));
        if *ended {
            return Ok(());
        }
        drop(ended);
        if shared.table.damage().is_none() {
            let synced = shared.table.sync();
            synced.map_err(|source| Error::Stage { stage: "database", source: source.into() })?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_snapshot_is_closed_when_its_requests_have_ended() {
        let (_ask, requests) = sync_channel(AUDITORS_MAX);
        let begun = Instant::now();
        assert!(next(&requests, begun + Duration::from_secs(AUDIT_S)).is_none());
        assert!(begun.elapsed() < Duration::from_secs(AUDIT_S / 2), "kept for {:?}", begun.elapsed());
    }
}
