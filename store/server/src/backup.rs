//! `Cluster.Backup`: the whole state of this node at one position, streamed while everything goes on. And a cluster
//! founded from a backup: the counterpart of [`crate::bootstrap`].
//!
//! A thread of its own opens one read transaction and exports its view (that of a cut is open already), so the backup is one state of the replica,
//! whatever is applied meanwhile; at a bounded rate, since the node has other work. Under an open consistent view every
//! replaced page takes new room in the table: so few backups run at once, and one whose caller does not read is given up.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proto::store::{BackupRequest, BackupResponse, FailureReason, Membership};
use store_client::failure::{failure, status_from};
use store_core::{Incarnation, NodeId};
use store_db::Table as _;
use store_engine::backup::{Backup, Beginning};
use store_log::{ClusterId, Identity, RealDisk, RealFile};
use tokio::sync::Semaphore;
use tonic::Status;

use crate::background::{Audits, Viewer};
use crate::bootstrap::{InitialMember, membership};
use crate::config::{check_cluster, check_shard, group_folder, wrong};
use crate::error::Error;
use crate::quarantine;
use crate::shard::Shard;
use crate::shared::Shared;
use crate::taker::Taker;
use crate::thread_to_stream::{self, Receiver};

/// Backups that a node sends at once.
const BACKUPS_MAX: usize = 2;
/// Chunks that wait for the stream.
const BUFFERED: usize = 4;
/// How long the offset asked for may take to be applied.
const WAIT_S: u64 = 10;

/// The backups of one node.
#[derive(Clone)]
pub(crate) struct Backups {
    shared: Arc<Shared>,
    /// The consistent views of cuts.
    views: Arc<Audits>,
    places: Arc<Semaphore>,
}

impl Backups {
    pub(crate) fn new(shared: Arc<Shared>, views: Arc<Audits>) -> Backups {
        Backups { shared, views, places: Arc::new(Semaphore::new(BACKUPS_MAX)) }
    }

    /// Begins one.
    pub(crate) async fn begin(
        &self,
        request: BackupRequest,
    ) -> Result<Receiver<Result<BackupResponse, Status>>, Status> {
        let refuse = |reason, message: String| status_from(&failure(reason, message));
        quarantine::check(&self.shared).map_err(|failure| status_from(&failure))?;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            refuse(FailureReason::Overloaded, format!("{BACKUPS_MAX} backups are sent already"))
        })?;
        let (sender, chunks) = thread_to_stream::channel(BUFFERED);
        let taker = Taker::new(Arc::clone(&self.shared), sender, place);
        if !request.cut.is_empty() {
            let wait = Duration::from_secs(WAIT_S);
            self.views.view(&request.cut, Viewer::Backup(taker), wait).await?;
            return Ok(chunks);
        }
        let mut applied = self.shared.applied.subscribe();
        let there = applied.wait_for(|applied| applied.position.offset.0 >= request.min_offset);
        let waited = tokio::time::timeout(Duration::from_secs(WAIT_S), there).await;
        if !matches!(waited, Ok(Ok(_))) {
            let at = self.shared.applied.borrow().position;
            let wanted = request.min_offset;
            let message =
                format!("this replica stands at {at} and did not get to offset {wanted} in {WAIT_S} s");
            return Err(refuse(FailureReason::NotServing, message));
        }
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let read = shared.table.read_settled(|read| {
                taker.send(read);
                Ok(())
            });
            if let Err(error) = read {
                tracing::warn!(%error, "a backup could not be read");
            }
        };
        let spawned = thread::Builder::new().name("feira-backup".to_owned()).spawn(work);
        spawned.map_err(|error| Status::internal(format!("no thread for the backup: {error}")))?;
        Ok(chunks)
    }
}

/// What a new cluster is founded from: a backup that was read and checked, all of it.
pub struct Source {
    backup: Backup<RealFile>,
    /// The position that the new cluster goes on after, and its log time: the same for every initial member.
    beginning: Beginning,
}

impl Source {
    /// Opens a backup's file and checks all of it.
    ///
    /// # Errors
    /// It cannot be read, is damaged, cut off, something else, or of a newer version.
    pub fn open(path: &Path) -> Result<Source, store_engine::Error> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let backup = Backup::open(&RealDisk::peek(folder)?, &name)?;
        let beginning = backup.beginning(store_client::now_ms());
        Ok(Source { backup, beginning })
    }

    /// What is in it.
    #[must_use]
    pub fn backup(&self) -> &Backup<RealFile> {
        &self.backup
    }

    /// Where a cluster founded from it goes on.
    #[must_use]
    pub fn beginning(&self) -> Beginning {
        self.beginning
    }

    /// Makes the folder of one initial member of a new cluster that begins with this state. All initial members are given the same
    /// list.
    ///
    /// # Errors
    /// The list cannot be a group, `node` is not in it, or the folder is not empty.
    pub fn found(
        &self,
        cluster: &str,
        shard: Shard,
        node: u64,
        folder: &Path,
        initial_members: &[InitialMember],
    ) -> Result<(), Error> {
        check_cluster(cluster)?;
        let me = initial_members.iter().find(|initial_member| initial_member.node == node);
        let me = me.ok_or_else(|| wrong("node", format!("{node} is not among the initial members")))?;
        check_shard(shard)?;
        let failed = |source: store_engine::Error| Error::Open { group: shard.group, source };
        let identity = Identity {
            cluster: ClusterId::new(cluster.as_bytes()).map_err(|error| failed(error.into()))?,
            group: shard.group_id(),
            node: NodeId(node),
            state_machine_version: store_db::limits::STATE_MACHINE_VERSION,
        };
        let disk = RealDisk::open(group_folder(folder, shard.group)).map_err(|error| failed(error.into()))?;
        let boot_id = store_log::boot_id().map_err(|error| failed(error.into()))?;
        let members: Membership = membership(shard, initial_members);
        let incarnation = Incarnation(me.incarnation);
        let disk = Arc::new(disk);
        let found = self.backup.found(&disk, &identity, incarnation, &boot_id, &members, self.beginning);
        found.map_err(failed)
    }
}
