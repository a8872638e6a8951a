//! The log as node and writer share it. The writer holds it while it writes and syncs; the node takes it to save a
//! ballot, which is rare and waits for one sync at most. Everybody else reads through a [`store_log::LogReader`], which
//! takes no part in this lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store_log::{Disk, Log};

/// The log, which the writer writes and the node keeps its ballots in.
pub(crate) type SharedLog<D> = Arc<Mutex<Log<Arc<D>>>>;

/// Takes the log. A panic while it was held cannot leave it half changed in a way that goes unnoticed: it poisons
/// itself on every error.
pub(crate) fn lock<D: Disk>(log: &SharedLog<D>) -> MutexGuard<'_, Log<Arc<D>>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
