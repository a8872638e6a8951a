//! The use of a stopped replica's folder: of its lock, and of its database.
//!
//! Tasks of connections are told to end and cannot be waited for: the runtime drops them, and what they hold, a moment later. Whoever
//! starts the node again in the same process would find its folder in use.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use store_db::Lmdb;

use crate::shared::Shared;

/// The folder must be free so long after everything was told to end.
const WAIT_MS_MAX: u64 = 2_000;
/// Between two looks.
const LOOK_MS: u64 = 2;

/// What holds a replica's folder.
pub(crate) struct FolderUse {
    folder: PathBuf,
    /// The lock ([`store_log::RealDisk::in_use`]).
    lock: Weak<()>,
    /// The database.
    shared: Weak<Shared>,
}

impl FolderUse {
    /// Of this replica.
    pub(crate) fn new(lock: Weak<()>, shared: &Arc<Shared>) -> FolderUse {
        let folder = shared.config.group_folder(shared.me.route.group);
        FolderUse { folder, lock, shared: Arc::downgrade(shared) }
    }

    /// Whoever drops the last of what is shared may still be at it: so the database is asked, too. The folder itself is not touched:
    /// from here on it may be another's, or gone.
    fn has_ended(&self) -> bool {
        let is_let_go = self.lock.strong_count() == 0 && self.shared.strong_count() == 0;
        is_let_go && !Lmdb::is_open(&self.folder.join("db"))
    }

    /// Waits until nothing holds the folder; bounded.
    pub(crate) async fn end(&self) {
        let ended = async {
            while !self.has_ended() {
                tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            }
        };
        if tokio::time::timeout(Duration::from_millis(WAIT_MS_MAX), ended).await.is_err() {
            let (lock, shared) = (self.lock.strong_count(), self.shared.strong_count());
            tracing::warn!(lock, shared, "something still holds the folder of a node that has ended");
        }
    }
}
