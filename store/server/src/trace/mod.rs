//! The protocol as it happens, for whoever looks: each message as this node sends or takes it, and what it does itself.
//!
//! Promises: without a watcher nothing is recorded (except in a rehearsal), and a site costs one load of an atomic number;
//! events keep the order in which they were recorded, a message before it is sent and after it came out of the inbox; memory is
//! bounded, and a slow watcher gets the number of the events that it lost. Leaves out the order of several nodes' events: the
//! tool makes that.

mod events;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use proto::store::{TraceEvent, TraceResponse};
use tokio::sync::Notify;

pub(crate) use events::{pushed, said, taken};

/// Events that wait for those who look.
const EVENTS_MAX: usize = 8_192;
/// Events of one answer.
const BATCH_MAX: usize = 512;
/// Those who look at once.
const WATCHES_MAX: usize = 8;
/// So long events are gathered into one answer.
const GATHER: Duration = Duration::from_millis(20);

/// The events of one node.
#[derive(Default)]
pub(crate) struct Trace {
    /// It records from its start, whoever looks: for rehearsals.
    always: bool,
    watches: AtomicUsize,
    ring: Mutex<Ring>,
    recorded: Notify,
}

#[derive(Default)]
struct Ring {
    /// The number of the next event.
    next: u64,
    events: VecDeque<TraceEvent>,
}

impl Trace {
    /// A trace; `always` records from the start.
    pub(crate) fn new(always: bool) -> Trace {
        Trace { always, ..Trace::default() }
    }

    /// Whether somebody looks.
    pub(crate) fn is_watched(&self) -> bool {
        self.always || self.watches.load(Ordering::Relaxed) > 0
    }

    /// Records what `event` makes, if somebody looks.
    pub(crate) fn record(&self, event: impl FnOnce() -> TraceEvent) {
        if self.is_watched() {
            self.add(event());
        }
    }

    #[cold]
    fn add(&self, mut event: TraceEvent) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        event.wall_us = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        let mut ring = self.ring.lock();
        event.number = ring.next;
        ring.next += 1;
        if ring.events.len() == EVENTS_MAX {
            ring.events.pop_front();
        }
        ring.events.push_back(event);
        drop(ring);
        self.recorded.notify_waiters();
    }

    /// Looks from now on, or from what was recorded; `None`: too many do.
    pub(crate) fn watch(self: &Arc<Trace>, from_start: bool) -> Option<Watch> {
        let mut ring = self.ring.lock();
        if self.watches.load(Ordering::Relaxed) >= WATCHES_MAX {
            return None;
        }
        // The first begins with nothing: what is old was recorded for others.
        if self.watches.fetch_add(1, Ordering::Relaxed) == 0 && !self.always {
            ring.events.clear();
        }
        let next = if from_start { ring.next - ring.events.len() as u64 } else { ring.next };
        Some(Watch { next, trace: Arc::clone(self) })
    }
}

/// A watcher.
pub(crate) struct Watch {
    trace: Arc<Trace>,
    /// The number of the next event that it gets.
    next: u64,
}

impl Watch {
    /// The next events, as soon as there are any.
    pub(crate) async fn next(&mut self) -> TraceResponse {
        let trace = Arc::clone(&self.trace);
        loop {
            let recorded = trace.recorded.notified();
            tokio::pin!(recorded);
            recorded.as_mut().enable();
            match self.waiting() {
                0 => recorded.await,
                BATCH_MAX.. => {}
                _ => tokio::time::sleep(GATHER).await,
            }
            if let Some(batch) = self.take() {
                return batch;
            }
        }
    }

    /// Events that it has not got.
    fn waiting(&self) -> usize {
        let waiting = self.trace.ring.lock().next - self.next;
        usize::try_from(waiting).unwrap_or(usize::MAX)
    }

    fn take(&mut self) -> Option<TraceResponse> {
        let ring = self.trace.ring.lock();
        let first = ring.next - ring.events.len() as u64;
        let lost = first.saturating_sub(self.next);
        let skipped = usize::try_from((self.next + lost) - first).unwrap_or(usize::MAX);
        let events: Vec<TraceEvent> = ring.events.iter().skip(skipped).take(BATCH_MAX).cloned().collect();
        drop(ring);
        self.next += lost + events.len() as u64;
        (lost > 0 || !events.is_empty()).then_some(TraceResponse { events, lost })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.trace.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use proto::store::TraceKind;

    fn event(epoch: u64) -> TraceEvent {
        TraceEvent { kind: TraceKind::Commits.into(), epoch, ..TraceEvent::default() }
    }

    fn epochs(batch: &TraceResponse) -> Vec<u64> {
        batch.events.iter().map(|event| event.epoch).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_recorded_while_nobody_looks() {
        let trace = Arc::new(Trace::default());
        trace.record(|| unreachable!("nobody looks"));
        let mut watch = trace.watch(false).expect("the first");
        assert!(watch.next().now_or_never().is_none());
        trace.record(|| event(1));
        assert_eq!(epochs(&watch.next().await), [1]);
        drop(watch);
        trace.record(|| unreachable!("nobody looks any more"));
        let mut later = trace.watch(false).expect("the only one");
        trace.record(|| event(2));
        let batch = later.next().await;
        assert_eq!((epochs(&batch), batch.lost), (vec![2], 0), "what was recorded for others is not for him");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_too_slow_is_told_how_many_events_he_lost() {
        let trace = Arc::new(Trace::default());
        let (mut slow, mut quick) = (trace.watch(false).expect("one"), trace.watch(false).expect("two"));
        let all = EVENTS_MAX as u64 + 10;
        let mut seen = 0;
        for number in 0..all {
            trace.record(|| event(number));
            if number % BATCH_MAX as u64 == 0 {
                seen += quick.next().await.events.len();
            }
        }
        let first = slow.next().await;
        assert_eq!((first.lost, epochs(&first)[0], first.events.len()), (10, 10, BATCH_MAX));
        let (mut count, mut last) = (first.events.len(), 0);
        while let Some(Some(batch)) = Some(slow.take()) {
            assert_eq!(batch.lost, 0);
            count += batch.events.len();
            last = batch.events[batch.events.len() - 1].epoch;
        }
        assert_eq!((count, last), (EVENTS_MAX, all - 1));
        while let Some(batch) = quick.take() {
            assert_eq!(batch.lost, 0);
            seen += batch.events.len();
        }
        assert_eq!(seen as u64, all, "whoever takes them in time loses none");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rehearsal_is_recorded_from_the_start() {
        let trace = Arc::new(Trace::new(true));
        trace.record(|| event(1));
        let mut later = trace.watch(false).expect("one");
        assert!(later.next().now_or_never().is_none());
        drop(later);
        assert_eq!(epochs(&trace.watch(true).expect("two").next().await), [1]);
    }

    #[test]
    fn only_so_many_look_at_once() {
        let trace = Arc::new(Trace::default());
        let watches: Vec<Watch> = std::iter::from_fn(|| trace.watch(false)).collect();
        assert_eq!(watches.len(), WATCHES_MAX);
        drop(watches);
        assert!(trace.watch(false).is_some());
    }
}
