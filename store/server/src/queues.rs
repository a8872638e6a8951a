//! The queues of the log's writer, the applier and the ballot's writer: bounded channels of batches from the node's thread
//! to threads that may wait for a disk.
//!
//! Promises: the node never waits for one of them. A job without room in a channel stays with the node, in order, and
//! goes when there is room; such jobs are bounded by the node's orders (admission, unwritten entries, one ballot), and
//! waiting commit orders become one.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use store_core::Ballot;
use store_engine::{ApplierJob, WriterJob};

/// Batches that may wait in a channel.
const BATCHES_MAX: usize = 1_024;

/// What the applier's thread is told.
pub(crate) enum ToApplier {
    /// From the node.
    Jobs(Vec<ApplierJob>),
    /// The read transaction that it waited for is open.
    Resume,
    /// The node has ended. (The queue itself never closes: background work holds an end of it too.)
    End,
}

/// The thread at the other end has gone.
#[derive(Debug)]
pub(crate) struct Gone;

/// The node's end of a queue.
pub(crate) struct Queue<J, B> {
    channel: SyncSender<B>,
    /// What found no room, in order.
    backlog: Vec<J>,
    /// Makes a batch.
    batch: fn(Vec<J>) -> B,
    /// And takes one apart that found no room.
    jobs: fn(B) -> Vec<J>,
    /// Merges a job into the one before it; gives it back if it cannot.
    merge: fn(&mut J, J) -> Option<J>,
}

impl<J, B> Queue<J, B> {
    /// Puts these behind what waits, and sends what there is room for.
    pub(crate) fn send(&mut self, jobs: Vec<J>) -> Result<(), Gone> {
        if self.backlog.is_empty() {
            self.backlog = jobs;
        } else {
            for job in jobs {
                let merge = self.merge;
                let apart = match self.backlog.last_mut() {
                    Some(last) => merge(last, job),
                    None => Some(job),
                };
                self.backlog.extend(apart);
            }
        }
        if self.backlog.is_empty() {
            return Ok(());
        }
        let batch = (self.batch)(std::mem::take(&mut self.backlog));
        match self.channel.try_send(batch) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(batch)) => {
                self.backlog = (self.jobs)(batch);
                Ok(())
            }
            Err(TrySendError::Disconnected(_)) => Err(Gone),
        }
    }
}

/// The node's ends of all queues.
pub(crate) struct Queues {
    /// Of the log's writer.
    pub(crate) writer: Queue<WriterJob, Vec<WriterJob>>,
    /// Of the ballots' writer.
    pub(crate) ballots: Queue<Ballot, Vec<Ballot>>,
    /// Of the applier.
    pub(crate) applier: Queue<ApplierJob, ToApplier>,
}

impl Queues {
    /// An end of the applier's queue, for the background jobs that make it go on.
    pub(crate) fn resume(&self) -> SyncSender<ToApplier> {
        self.applier.channel.clone()
    }

    /// The applier is to end, after all that waits for it.
    pub(crate) fn end(self) {
        let Queue { channel, backlog, .. } = self.applier;
        // An applier that has ended already has told why.
        let _ = channel.send(ToApplier::Jobs(backlog)).and_then(|()| channel.send(ToApplier::End));
    }
}

/// The receiving ends.
pub(crate) struct Ends {
    /// Of the log's writer.
    pub(crate) writer: Receiver<Vec<WriterJob>>,
    /// Of the ballots' writer.
    pub(crate) ballots: Receiver<Vec<Ballot>>,
    /// Of the applier.
    pub(crate) applier: Receiver<ToApplier>,
}

/// All queues.
pub(crate) fn queues() -> (Queues, Ends) {
    let (writer, writer_end) = sync_channel(BATCHES_MAX);
    let (ballots, ballots_end) = sync_channel(BATCHES_MAX);
    let (applier, applier_end) = sync_channel(BATCHES_MAX);
    let queues = Queues {
        writer: queue(writer, |jobs| jobs, |jobs| jobs, |_, job| Some(job)),
        ballots: queue(
            ballots,
            |jobs| jobs,
            |jobs| jobs,
            |last, ballot| {
                *last = ballot;
                None
            },
        ),
        applier: queue(applier, ToApplier::Jobs, jobs_of, merge_commits),
    };
    (queues, Ends { writer: writer_end, ballots: ballots_end, applier: applier_end })
}

fn queue<J, B>(
    channel: SyncSender<B>,
    batch: fn(Vec<J>) -> B,
    jobs: fn(B) -> Vec<J>,
    merge: fn(&mut J, J) -> Option<J>,
) -> Queue<J, B> {
    Queue { channel, backlog: Vec::new(), batch, jobs, merge }
}

fn jobs_of(batch: ToApplier) -> Vec<ApplierJob> {
    match batch {
        ToApplier::Jobs(jobs) => jobs,
        ToApplier::Resume | ToApplier::End => Vec::new(),
    }
}

/// A later commit order says all that an earlier one does.
fn merge_commits(last: &mut ApplierJob, job: ApplierJob) -> Option<ApplierJob> {
    match (last, job) {
        (
            ApplierJob::Commit { up_to, request_ids },
            ApplierJob::Commit { up_to: later, request_ids: more },
        ) => {
            *up_to = later;
            request_ids.extend(more);
            None
        }
        (_, job) => Some(job),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store_core::{Offset, Position};
    use store_engine::RequestId;

    fn commit(offset: u64) -> ApplierJob {
        ApplierJob::Commit {
            up_to: Position::new(1, offset),
            request_ids: vec![(Offset(offset), RequestId(offset))],
        }
    }

    #[test]
    fn a_stage_that_stands_still_keeps_no_node_waiting_and_costs_one_commit_order() {
        let (mut queues, ends) = queues();
        let all = 3 * BATCHES_MAX as u64;
        for offset in 1..=all {
            queues.applier.send(vec![commit(offset)]).expect("it is there");
        }
        assert_eq!(queues.applier.backlog.len(), 1, "what waits beyond the channel is one order");
        queues.end_in_order(&ends, all);
    }

    impl Queues {
        /// All that was sent arrives, in order, and then the end.
        fn end_in_order(self, ends: &Ends, all: u64) {
            let mut arrived = Vec::new();
            std::thread::scope(|scope| {
                scope.spawn(|| self.end());
                loop {
                    match ends.applier.recv().expect("an end comes") {
                        ToApplier::Jobs(jobs) => arrived.extend(jobs),
                        ToApplier::Resume => {}
                        ToApplier::End => break,
                    }
                }
            });
            let request_ids = arrived.into_iter().flat_map(|job| match job {
                ApplierJob::Commit { request_ids, .. } => request_ids,
                other => panic!("{other:?}"),
            });
            let offsets: Vec<u64> = request_ids.map(|(offset, _)| offset.0).collect();
            assert_eq!(offsets, (1..=all).collect::<Vec<_>>());
        }
    }
}
