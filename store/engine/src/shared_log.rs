//! The log as its writer and the snapshots share it. The writer holds it while it writes and syncs, which may take as
//! long as the disk likes: so the node has no part in it ([`crate::ballot_writer`] saves ballots). Everybody else reads
//! through a [`store_log::LogReader`], which takes no part in this lock.

use std::sync::Arc;

use parking_lot::Mutex;
use store_log::Log;

/// The log, which the writer writes, and whose files fetched snapshots must not be confused with.
pub(crate) type SharedLog<D> = Arc<Mutex<Log<Arc<D>>>>;
