//! The two ends of one `Pipeline`: requests that wait, by number, and answers that the stream picks up.
//!
//! The node's and the applier's threads deliver a whole batch with one lock and one wake; the stream takes all of
//! it at once, and runs all reads that became ready in one read transaction.
//!
//! **Order.** Writes of a stream are executed in the order sent, or not at all: as soon as one of its requests was
//! not executed for want of a leader, or its fate is open, the stream is *broken*. Nothing later of it is executed
//! any more, it answers what waits, and ends; its caller begins again elsewhere, with the first unanswered.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use admission::Place;
use admission::place::{Charge, Side};
use parking_lot::{Mutex, MutexGuard};
use prost::Message as _;
use proto::store::{Failure, PipelineResponse};
use store_engine::{Answer, Reply};
use tokio::sync::Notify;

use crate::desk::{Recipient, Told};
use crate::reads::Asked;

/// Requests of one stream that may wait for their answers.
pub(crate) const STREAM_WAITING_MAX: usize = 8_192;

/// Places of one stream, those answered behind one that is not included.
const STREAM_PLACES_MAX: usize = 65_536;

const _: () = assert!(STREAM_WAITING_MAX <= STREAM_PLACES_MAX);

/// Bytes that one stream may hold without being charged.
const BYTES_FREE: usize = 64 << 10;
/// By how much a charge grows at a time.
const BYTES_STEP: usize = 64 << 10;
/// What a request costs beside its bytes, about.
const REQUEST_COST_BYTES: usize = 256;

/// Bytes that are held, and the charge for those that are not free.
#[derive(Default)]
struct Cover {
    bytes: usize,
    charge: Option<Charge>,
}

impl Cover {
    /// Whether so many bytes more are covered, from now on.
    fn grow(&mut self, place: Option<&Place>, side: Side, bytes: usize) -> bool {
        let all = self.bytes + bytes;
        let covered = match (&mut self.charge, place) {
            (_, None) => true,
            (None, _) if all <= BYTES_FREE => true,
            (None, Some(place)) => {
                self.charge = place.try_charge(side, all.next_multiple_of(BYTES_STEP));
                self.charge.as_mut().map(Charge::wait_for_caller).is_some()
            }
            (Some(charge), _) => all <= charge.bytes() || charge.try_grow(all.next_multiple_of(BYTES_STEP)),
        };
        if covered {
            self.bytes = all;
        }
        covered
    }

    fn shrink(&mut self, bytes: usize) {
        self.bytes -= bytes;
        if self.bytes <= BYTES_FREE {
            self.charge = None;
        }
    }
}

/// A request that waits.
pub(crate) struct Waiting {
    /// The caller's number for it.
    pub(crate) number: u64,
    /// What it is.
    pub(crate) asked: Asked,
}

impl Waiting {
    fn cost(&self) -> usize {
        REQUEST_COST_BYTES + self.asked.bytes()
    }
}

/// What the stream picks up.
#[derive(Default)]
pub(crate) struct Picked {
    /// Requests and what they were told.
    pub(crate) told: Vec<(Waiting, Told)>,
    /// Answers made at the door.
    pub(crate) ready: Vec<PipelineResponse>,
    /// For the answers among them that are not short.
    pub(crate) charge: Option<Charge>,
}

/// The requests and answers of one stream.
pub(crate) struct Outbox {
    /// Its number at the desk.
    pub(crate) id: u32,
    /// The connection that it is charged to.
    place: Option<Place>,
    inner: Mutex<Inner>,
    broken: AtomicBool,
    /// Wakes the reading side: there is room, or the stream is broken.
    pub(crate) changed: Notify,
}

#[derive(Default)]
struct Inner {
    /// Requests by number, the first of them being `first`.
    waiting: VecDeque<Option<Waiting>>,
    first: u32,
    /// Those not answered.
    open: usize,
    /// For the requests that wait.
    requests: Cover,
    /// For what is picked up next.
    answers: Cover,
    picked: Picked,
    /// No more requests come.
    ended: bool,
    /// Why, if one was refused that the stream cannot go on after.
    refusal: Option<Failure>,
    waker: Option<Waker>,
}

impl Inner {
    fn take(&mut self, number: u32) -> Option<Waiting> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let waiting = self.waiting.get_mut(index)?.take()?;
        self.requests.shrink(waiting.cost());
        self.open -= 1;
        while let Some(None) = self.waiting.front() {
            self.waiting.pop_front();
            self.first += 1;
        }
        Some(waiting)
    }

    fn is_over(&self) -> bool {
        self.ended && self.open == 0 && self.picked.told.is_empty() && self.picked.ready.is_empty()
    }
}

impl Outbox {
    pub(crate) fn new(id: u32, place: Option<Place>) -> Outbox {
        Outbox { id, place, inner: Mutex::default(), broken: AtomicBool::new(false), changed: Notify::new() }
    }

    /// Takes a request in; its number. `None`: the stream is broken, or all numbers are used; it is not taken.
    pub(crate) fn enter(&self, waiting: Waiting) -> Option<u32> {
        let mut inner = self.inner.lock();
        if inner.ended {
            return None;
        }
        let index = u32::try_from(inner.waiting.len()).expect("what waits is bounded");
        let number = inner.first.checked_add(index)?;
        let cost = waiting.cost();
        if !inner.requests.grow(self.place.as_ref(), Side::Requests, cost) {
            // The rest of a batch that was begun when there was room: no more is taken after it.
            inner.requests.bytes += cost;
        }
        inner.waiting.push_back(Some(waiting));
        inner.open += 1;
        Some(number)
    }

    /// Gives an answer at the door.
    pub(crate) fn answer(&self, response: PipelineResponse) {
        let mut inner = self.inner.lock();
        inner.picked.ready.push(response);
        wake(inner);
    }

    /// Whether another request may wait.
    pub(crate) fn has_room(&self) -> bool {
        let mut inner = self.inner.lock();
        // Nothing that waits is charged for alone: a stream always goes on.
        let covered = inner.requests.grow(self.place.as_ref(), Side::Requests, 0) || inner.open == 0;
        covered
            && inner.open + inner.picked.told.len() + inner.picked.ready.len() < STREAM_WAITING_MAX
            && inner.waiting.len() < STREAM_PLACES_MAX
    }

    /// No more requests come; `refusal` says why, if one was refused that the stream cannot go on after.
    pub(crate) fn end(&self, refusal: Option<Failure>) {
        let mut inner = self.inner.lock();
        inner.ended = true;
        inner.refusal = refusal;
        wake(inner);
    }

    /// What the stream ends with when everything is answered, once.
    pub(crate) fn take_refusal(&self) -> Option<Failure> {
        self.inner.lock().refusal.take()
    }

    /// Takes all answers that are there. `Ready(false)`: there are none and never will be.
    pub(crate) fn poll(&self, into: &mut Picked, context: &mut Context<'_>) -> Poll<bool> {
        let mut inner = self.inner.lock();
        if inner.picked.told.is_empty() && inner.picked.ready.is_empty() {
            if inner.is_over() {
                return Poll::Ready(false);
            }
            inner.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut inner.picked, into);
        into.charge = std::mem::take(&mut inner.answers).charge;
        drop(inner);
        self.changed.notify_one();
        Poll::Ready(true)
    }
}

fn wake(mut inner: MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Bytes of an answer that is there already; reads are not run yet.
fn bytes(told: &Told) -> usize {
    match told {
        Told::Reply(Reply::Txn(answer)) => answer.encoded_len(),
        Told::Reply(Reply::Outcome(answer)) => answer.encoded_len(),
        Told::Answer(_) | Told::Reply(_) => 0,
    }
}

impl Recipient for Outbox {
    fn deliver(&self, told: &mut Vec<(u32, Told)>) {
        let breaks = |told: &Told| matches!(told, Told::Answer(Answer::NotLeader { .. } | Answer::Unknown));
        let mut broken = false;
        let mut inner = self.inner.lock();
        for (number, mut told) in told.drain(..) {
            if let Some(waiting) = inner.take(number) {
                if !inner.answers.grow(self.place.as_ref(), Side::Answers, bytes(&told)) {
                    told = Told::Answer(Answer::Unknown);
                }
                broken |= breaks(&told);
                inner.picked.told.push((waiting, told));
            }
        }
        if broken {
            inner.ended = true;
            self.broken.store(true, Ordering::Release);
            self.changed.notify_one();
        }
        wake(inner);
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    fn close(&self) {
        let mut inner = self.inner.lock();
        inner.ended = true;
        // What waits has no answer: its caller sees the stream end, and asks elsewhere.
        inner.waiting.clear();
        inner.requests = Cover::default();
        inner.open = 0;
        self.broken.store(true, Ordering::Release);
        self.changed.notify_one();
        wake(inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store_core::{Epoch, Offset};

    fn write(number: u64) -> Waiting {
        Waiting { number, asked: Asked::Write }
    }

    fn poll(outbox: &Outbox) -> Poll<(bool, Vec<u64>)> {
        let mut picked = Picked::default();
        let polled = outbox.poll(&mut picked, &mut Context::from_waker(Waker::noop()));
        polled.map(|more| (more, picked.told.iter().map(|(waiting, _)| waiting.number).collect()))
    }

    fn done() -> Told {
        Told::Reply(Reply::Done { position: store_core::Position::ZERO })
    }

    #[test]
    fn answers_find_their_requests_in_any_order() {
        let outbox = Outbox::new(1, None);
        let numbers: Vec<u32> = [70, 71, 72].map(|n| outbox.enter(write(n)).expect("open")).to_vec();
        assert_eq!(poll(&outbox), Poll::Pending);
        outbox.deliver(&mut vec![(numbers[1], done())]);
        outbox.deliver(&mut vec![(numbers[0], done()), (numbers[0], done()), (99, done())]);
        assert_eq!(poll(&outbox), Poll::Ready((true, vec![71, 70])));
        outbox.end(None);
        assert_eq!(poll(&outbox), Poll::Pending, "one request still waits");
        let ready = Told::Answer(Answer::ReadReady { at: Offset(3) });
        outbox.deliver(&mut vec![(numbers[2], ready)]);
        assert_eq!(poll(&outbox), Poll::Ready((true, vec![72])));
        assert_eq!(poll(&outbox), Poll::Ready((false, vec![])));
    }

    #[test]
    fn a_stream_that_lost_its_leader_takes_nothing_more() {
        let outbox = Outbox::new(1, None);
        let first = outbox.enter(write(1)).expect("open");
        let second = outbox.enter(write(2)).expect("open");
        let lost = Told::Answer(Answer::NotLeader { epoch: Epoch(2), leader: None });
        outbox.deliver(&mut vec![(first, lost)]);
        assert!(outbox.is_broken() && outbox.enter(write(3)).is_none());
        assert_eq!(poll(&outbox), Poll::Ready((true, vec![1])));
        assert_eq!(poll(&outbox), Poll::Pending, "the second is still to be answered");
        outbox.deliver(&mut vec![(second, Told::Answer(Answer::Unknown))]);
        assert_eq!(poll(&outbox), Poll::Ready((true, vec![2])));
        assert_eq!(poll(&outbox), Poll::Ready((false, vec![])));
    }
}
