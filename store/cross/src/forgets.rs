//! Decisions that are to be forgotten: many in an entry.
//!
//! Nobody waits for it, and a decision that lies there for some milliseconds more costs its bytes; an entry for each would be one more
//! a transaction.
//!
//! Promises: each is handed to the driver soon. Leaves out: asking again for what was not appended, which the coordinator does.

use std::time::Duration;

use futures::future::BoxFuture;
use store_core::coordinate::CrossId;
use tokio::sync::mpsc;

/// So long the first of them waits for others.
const GATHERED_MS: u64 = 20;
/// Decisions that one entry forgets.
const FORGETS_MAX: usize = 1_024;

/// The end where they go in.
pub(crate) struct Forgets(mpsc::UnboundedSender<CrossId>);

/// The end where they come out.
pub(crate) type End = mpsc::UnboundedReceiver<CrossId>;

/// A queue of what the coordinator has open, and once more for each time that it asked again meanwhile.
pub(crate) fn queue() -> (Forgets, End) {
    let (sender, end) = mpsc::unbounded_channel();
    (Forgets(sender), end)
}

impl Forgets {
    pub(crate) fn want(&self, id: CrossId) {
        // The node ends: whoever leads after it finds the decision.
        let _ = self.0.send(id);
    }
}

/// Has them forgotten until the node ends, which `forget` tells by `false`.
pub(crate) async fn run(forget: impl Fn(Vec<CrossId>) -> BoxFuture<'static, bool>, mut end: End) {
    let mut ids = Vec::new();
    while let Some(first) = end.recv().await {
        ids.push(first);
        tokio::time::sleep(Duration::from_millis(GATHERED_MS)).await;
        while ids.len() < FORGETS_MAX
            && let Ok(id) = end.try_recv()
        {
            ids.push(id);
        }
        if !forget(std::mem::take(&mut ids)).await {
            return;
        }
    }
}
