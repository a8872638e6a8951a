//! Queues F2 and F3: bounded channels of batches from the node's thread to the writer's and the applier's.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use store_engine::{ApplierJob, WriterJob};

/// Batches that may wait in each.
const BATCHES_MAX: usize = 1_024;

/// What the applier's thread is told.
pub(crate) enum ToApplier {
    /// From the node.
    Jobs(Vec<ApplierJob>),
    /// The read transaction that it waited for is open.
    Resume,
    /// The node has ended. (The queue itself never closes: work aside holds an end of it too.)
    End,
}

/// The sending ends of the stages' queues.
#[derive(Clone)]
pub(crate) struct Queues {
    /// F2.
    pub(crate) writer: SyncSender<Vec<WriterJob>>,
    /// F3.
    pub(crate) applier: SyncSender<ToApplier>,
}

/// The receiving ends.
pub(crate) struct Ends {
    /// F2.
    pub(crate) writer: Receiver<Vec<WriterJob>>,
    /// F3.
    pub(crate) applier: Receiver<ToApplier>,
}

/// F2 and F3.
pub(crate) fn queues() -> (Queues, Ends) {
    let (writer, writer_end) = sync_channel(BATCHES_MAX);
    let (applier, applier_end) = sync_channel(BATCHES_MAX);
    (Queues { writer, applier }, Ends { writer: writer_end, applier: applier_end })
}
