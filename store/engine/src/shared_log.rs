//! The log as node and writer share it. The writer holds it while it writes and syncs; the node takes it to save a
//! ballot, which is rare and waits for one sync at most. Everybody else reads through a [`store_log::LogReader`], which
//! takes no part in this lock.

use std::sync::Arc;

use parking_lot::Mutex;
use store_log::Log;

/// The log, which the writer writes and the node keeps its ballots in.
pub(crate) type SharedLog<D> = Arc<Mutex<Log<Arc<D>>>>;
