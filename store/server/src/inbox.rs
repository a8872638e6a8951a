//! The node's inbox: three lanes, each bounded in its own way, and one thread that takes all waiting jobs. A bell wakes that thread,
//! which may turn the nodes of several replicas.
//!
//! | lane | from | bounded by |
//! |---|---|---|
//! | peers | push streams, votes | room in KiB, waited for by each stream: a peer that floods stops itself |
//! | stages | writer, applier, snapshots | the node's own orders to them |
//! | clients | pipelines, unary calls | room in KiB, waited for by each stream: its flow control goes back to the caller |
//!
//! Peers and stages are served before clients, so that no load of a replica's clients can delay its heartbeats; those of another
//! replica of the process wait for one turn of it, which the room for clients bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use store_engine::Job;
use tokio::sync::Semaphore;
use tokio::task::coop::unconstrained;

use crate::router::Responder;

/// KiB of peers' messages that may wait.
const PEER_HEADROOM_KIB: usize = 32 << 10;
/// KiB of clients' requests that may wait; each counts for at least one.
const CLIENT_HEADROOM_KIB: usize = 64 << 10;

/// Requests of one caller, in their order.
pub(crate) struct Batch {
    /// The receiver of the answers.
    pub(crate) from: Arc<dyn Responder>,
    /// The requests.
    pub(crate) jobs: Vec<Job>,
    /// Their bytes.
    pub(crate) bytes: usize,
}

impl Batch {
    fn cost(&self) -> usize {
        cost(self.bytes).max(self.jobs.len()).min(CLIENT_HEADROOM_KIB)
    }
}

/// The jobs of one poll of the node.
#[derive(Default)]
pub(crate) struct Intake {
    /// From peers and stages.
    pub(crate) jobs: Vec<Job>,
    /// From clients.
    pub(crate) batches: Vec<Batch>,
}

#[derive(Default)]
struct Lanes {
    taken: Intake,
    /// Headroom to give back to peers when this is taken.
    peer_cost: usize,
    /// Headroom to give back to clients when this is taken.
    client_cost: usize,
    closed: bool,
}

/// The node has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// Wakes the thread that turns nodes.
#[derive(Default)]
pub(crate) struct Bell {
    is_rung: AtomicBool,
    /// Held where a waiter looks, and where it is woken: none sleeps on a bell that has been rung.
    waiting: Mutex<()>,
    rung: Condvar,
}

impl Bell {
    /// What was put somewhere before is seen by whoever waits, or will.
    pub(crate) fn ring(&self) {
        if !self.is_rung.swap(true, Ordering::AcqRel) {
            drop(self.waiting.lock());
            self.rung.notify_one();
        }
    }

    /// Waits until it has been rung since the last time, or until then.
    pub(crate) fn wait(&self, until: Instant) {
        let mut waiting = self.waiting.lock();
        while !self.is_rung.swap(false, Ordering::AcqRel) {
            if self.rung.wait_until(&mut waiting, until).timed_out() {
                break;
            }
        }
    }
}

/// The inbox.
pub(crate) struct Inbox {
    lanes: Mutex<Lanes>,
    bell: Arc<Bell>,
    peer_headroom: Semaphore,
    client_headroom: Semaphore,
}

impl Inbox {
    pub(crate) fn new(bell: Arc<Bell>) -> Inbox {
        Inbox {
            lanes: Mutex::new(Lanes::default()),
            bell,
            peer_headroom: Semaphore::new(PEER_HEADROOM_KIB),
            client_headroom: Semaphore::new(CLIENT_HEADROOM_KIB),
        }
    }

    /// Brings a client's requests; waits for room.
    pub(crate) async fn submit(&self, batch: Batch) -> Result<(), Closed> {
        let cost = batch.cost();
        acquire(&self.client_headroom, cost).await?;
        self.put(|lanes| {
            lanes.client_cost += cost;
            lanes.taken.batches.push(batch);
        })
    }

    /// Brings a peer's message of about this size; waits for room.
    pub(crate) async fn receive(&self, job: Job, bytes: usize) -> Result<(), Closed> {
        let cost = cost(bytes).min(PEER_HEADROOM_KIB);
        acquire(&self.peer_headroom, cost).await?;
        self.put(|lanes| {
            lanes.peer_cost += cost;
            lanes.taken.jobs.push(job);
        })
    }

    /// Brings what a stage says; never waits.
    pub(crate) fn post(&self, jobs: impl IntoIterator<Item = Job>) {
        // A node that has ended needs to hear nothing.
        let _ = self.put(|lanes| lanes.taken.jobs.extend(jobs));
    }

    /// Takes all that waits, into what is empty. False: closed.
    pub(crate) fn take(&self, into: &mut Intake) -> bool {
        let mut lanes = self.lanes.lock();
        std::mem::swap(&mut lanes.taken, into);
        self.peer_headroom.add_permits(std::mem::take(&mut lanes.peer_cost));
        self.client_headroom.add_permits(std::mem::take(&mut lanes.client_cost));
        !lanes.closed
    }

    /// Takes nothing more; who waits for room is told.
    pub(crate) fn close(&self) {
        self.lanes.lock().closed = true;
        self.peer_headroom.close();
        self.client_headroom.close();
        self.bell.ring();
    }

    fn put(&self, put: impl FnOnce(&mut Lanes)) -> Result<(), Closed> {
        let mut lanes = self.lanes.lock();
        if lanes.closed {
            return Err(Closed);
        }
        put(&mut lanes);
        drop(lanes);
        self.bell.ring();
        Ok(())
    }
}

fn cost(bytes: usize) -> usize {
    1 + bytes / 1_024
}

/// Takes room, or a place in the queue for it, at the first poll. NonMember of tokio's budget for a task: that would
/// send back whoever comes after a hundred others of the same task, to come again behind those who came later.
async fn acquire(headroom: &Semaphore, cost: usize) -> Result<(), Closed> {
    let permits = u32::try_from(cost).expect("a cost is bounded by the room");
    unconstrained(headroom.acquire_many(permits)).await.map_err(|_| Closed)?.forget();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::time::Duration;
    use store_engine::front::NodeResponse;

    struct Nobody;

    impl Responder for Nobody {
        fn deliver(&self, _: &mut Vec<(u32, NodeResponse)>) {}
        fn close(&self) {}
    }

    fn batch(bytes: usize) -> Batch {
        Batch { from: Arc::new(Nobody), jobs: vec![Job::Tick], bytes }
    }

    #[test]
    fn clients_wait_for_room_and_peers_do_not_wait_for_clients() {
        let inbox = Inbox::new(Arc::default());
        let half = CLIENT_HEADROOM_KIB / 2 * 1_024;
        assert_eq!(inbox.submit(batch(half)).now_or_never(), Some(Ok(())));
        let mut second = Box::pin(inbox.submit(batch(half)));
        assert_eq!(second.as_mut().now_or_never(), None, "there is no room for both");
        assert_eq!(inbox.receive(Job::Tick, 9).now_or_never(), Some(Ok(())));
        inbox.post([Job::Tick]);
        let mut taken = Intake::default();
        assert!(inbox.take(&mut taken));
        assert_eq!((taken.jobs.len(), taken.batches.len()), (2, 1));
        assert_eq!(second.now_or_never(), Some(Ok(())), "what was taken made room");
    }

    /// tokio gives a task a budget of 128 such steps a poll; the 129th lost its place to those after it.
    #[tokio::test]
    async fn a_thousand_requests_of_one_task_take_their_slots_at_once() {
        let inbox = Arc::new(Inbox::new(Arc::default()));
        let taken = Arc::clone(&inbox);
        let task = tokio::spawn(async move {
            for at in 0..1_000 {
                let mut place = Box::pin(taken.submit(batch(1)));
                assert!(futures::poll!(&mut place).is_ready(), "request {at} lost its place");
            }
        });
        task.await.expect("no panic");
        let mut all = Intake::default();
        inbox.take(&mut all);
        assert_eq!(all.batches.len(), 1_000);
    }

    #[test]
    fn a_closed_inbox_wakes_everybody() {
        let bell = Arc::new(Bell::default());
        let inbox = Arc::new(Inbox::new(Arc::clone(&bell)));
        let (taker, heard) = (Arc::clone(&inbox), Arc::clone(&bell));
        let waiting = std::thread::spawn(move || {
            let begun = Instant::now();
            while taker.take(&mut Intake::default()) {
                heard.wait(begun + Duration::from_secs(60));
            }
            begun.elapsed()
        });
        inbox.close();
        let waited = waiting.join().expect("it ends");
        assert!(waited < Duration::from_secs(60), "it was woken, and not by the time");
        assert_eq!(inbox.receive(Job::Tick, 1).now_or_never(), Some(Err(Closed)));
    }

    #[test]
    fn a_bell_that_was_rung_before_is_heard_once() {
        let bell = Bell::default();
        let until = Instant::now() + Duration::from_secs(60);
        bell.ring();
        bell.ring();
        bell.wait(until);
        assert!(Instant::now() < until, "nobody waited for what had come");
        assert!(!bell.is_rung.load(Ordering::Relaxed), "both were heard");
        bell.ring();
        assert!(bell.is_rung.load(Ordering::Relaxed), "the next wait will hear this one");
    }
}
