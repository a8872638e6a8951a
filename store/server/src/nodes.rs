//! The thread that turns the nodes of all replicas of a process: whatever has come for any of them is one wake, and so is a tick.
//!
//! Promises: a node whose inbox is closed is turned no more, and whoever waits for its end is handed its queues; one that fails
//! says so to whoever ends the process, and the others go on until they are closed. The thread waits for nothing but its bell.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::error::Error;
use crate::inbox::Bell;
use crate::queues::Queues;
use crate::stages::{NodeStage, STACK_BYTES};

/// Where nobody has a tick: there is no node.
const TICK_MAX: Duration = Duration::from_secs(1);

/// A node to be turned.
pub(crate) struct Turned {
    pub(crate) node: NodeStage,
    /// In what it logs.
    pub(crate) span: tracing::Span,
    /// Where it tells what must end the process.
    pub(crate) fatal: mpsc::UnboundedSender<Error>,
    /// Where its queues go when it has ended.
    pub(crate) ended: std::sync::mpsc::Sender<Queues>,
}

impl Turned {
    /// One turn of it. False: it is over.
    fn turn(&mut self, is_tick: bool, now: Instant) -> bool {
        let _entered = self.span.enter();
        let turned = catch_unwind(AssertUnwindSafe(|| self.node.turn(is_tick, now)));
        let error = match turned {
            Ok(Ok(goes_on)) => return goes_on,
            Ok(Err(error)) => error,
            Err(_) => Error::Ended("node"),
        };
        // Nobody listens when the process ends already.
        let _ = self.fatal.send(error);
        false
    }

    /// It is over.
    fn end(self) {
        let Turned { node, fatal, ended, .. } = self;
        // Whoever waits may be gone too.
        let handed = catch_unwind(AssertUnwindSafe(|| drop(ended.send(node.into_queues()))));
        if handed.is_err() {
            let _ = fatal.send(Error::Ended("node"));
        }
    }
}

/// Starts the thread; it ends when all nodes have.
pub(crate) fn spawn(nodes: Vec<Turned>, bell: Arc<Bell>) -> Result<JoinHandle<()>, Error> {
    let builder = thread::Builder::new().name("feira-node".to_owned()).stack_size(STACK_BYTES);
    let failed = |source| Error::Folder { what: "a thread for the nodes".to_owned(), source };
    builder.spawn(move || run(nodes, &bell)).map_err(failed)
}

fn run(mut nodes: Vec<Turned>, bell: &Bell) {
    let tick = nodes.iter().map(|one| one.node.tick()).min().unwrap_or(TICK_MAX);
    let mut next_tick = Instant::now() + tick;
    while !nodes.is_empty() {
        bell.wait(next_tick);
        let now = Instant::now();
        let is_tick = now >= next_tick;
        if is_tick {
            // After a long stop there is one tick, not all that were missed.
            next_tick = if now < next_tick + tick { next_tick + tick } else { now + tick };
        }
        let mut at = 0;
        while at < nodes.len() {
            if nodes[at].turn(is_tick, now) {
                at += 1;
            } else {
                nodes.remove(at).end();
            }
        }
    }
}
