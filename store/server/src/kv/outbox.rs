//! The two ends of one `Pipeline`: requests that wait, by number, and answers that the stream picks up.
//!
//! The node's and the applier's threads deliver a whole batch with one lock and one wake; the stream takes all of
//! it at once, and runs all reads that became ready in one read transaction.
//!
//! **Charges.** A request is charged to its connection until its answer is made. While it waits for the store, its caller
//! has nothing to do; from then on the caller is waited for, anew each time that it takes some of the answers.
//!
//! ```text
//!   enter ─► waits for the store ─► deliver ─► told, waits for its caller ─► poll ─► made: given back
//! ```
//!
//! Leaves out the order of a stream's writes ([`Stream`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use admission::Place;
use admission::limits::CONNECTION_BYTES_MAX;
use admission::place::{Charge, Side};
use parking_lot::{Mutex, MutexGuard};
use prost::Message as _;
use proto::store::{Failure, PipelineResponse};
use store_db::limits::ANSWER_BYTES_MAX;
use store_engine::front::{NodeResponse, REQUEST_COST_BYTES, Stream, Waiting};
use store_engine::{Answer, Reply};
use tokio::sync::Notify;

use crate::router::Responder;

/// Requests of one stream that may wait for their answers.
pub(crate) const STREAM_WAITING_MAX: usize = 8_192;

/// Places of one stream, those answered behind one that is not included.
const STREAM_SLOTS_MAX: usize = 65_536;

const _: () = assert!(STREAM_WAITING_MAX <= STREAM_SLOTS_MAX);

/// Bytes that one stream may hold without being charged.
const BYTES_FREE: usize = 64 << 10;
/// Bytes of answers that one stream may hold before they are made, unless it is a single one: the connection keeps room for
/// the one that is on its way.
const ANSWERS_BYTES_MAX: usize = CONNECTION_BYTES_MAX - ANSWER_BYTES_MAX;
/// By how much a charge grows at a time.
const BYTES_STEP: usize = 64 << 10;

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
                self.charge.is_some()
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
        let needed = self.bytes.next_multiple_of(BYTES_STEP);
        match &mut self.charge {
            Some(_) if self.bytes <= BYTES_FREE => self.charge = None,
            Some(charge) if charge.bytes() >= 2 * needed => charge.resize(needed),
            _ => {}
        }
    }

    /// From now on it is the caller who is waited for, or not.
    fn wait_for_caller(&mut self, waits: bool) {
        match &mut self.charge {
            Some(charge) if waits => charge.wait_for_caller(),
            Some(charge) => charge.caller_did(),
            None => {}
        }
    }
}

/// What the stream picks up.
#[derive(Default)]
pub(crate) struct Picked {
    /// Requests and what they were told.
    pub(crate) answered: Vec<(Waiting, NodeResponse)>,
    /// Answers made at admission, and their charges until they are taken.
    pub(crate) ready: Vec<(PipelineResponse, usize)>,
    /// For the answers among them that are not short.
    pub(crate) charge: Option<Charge>,
    /// Bytes of those answers.
    pub(crate) answer_bytes: usize,
}

/// The requests and answers of one stream.
pub(crate) struct Outbox {
    /// Its number at the response router.
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
    /// Requests that are not answered.
    stream: Stream,
    /// For the requests whose answers are not made.
    requests: Cover,
    /// What those of them cost that were told something: they wait for the caller.
    told_bytes: usize,
    /// The reading side waits for room.
    wants_room: bool,
    /// For what is picked up next.
    answers: Cover,
    picked: Picked,
    /// Why no more requests come, if one was refused that the stream cannot go on after.
    refusal: Option<Failure>,
    waker: Option<Waker>,
}

impl Inner {
    fn take(&mut self, number: u32, told: &NodeResponse) -> Option<Waiting> {
        let waiting = self.stream.take(number, told)?;
        self.told_bytes += waiting.cost();
        Some(waiting)
    }

    /// The caller is waited for while answers are there that are not made.
    fn wait_for_caller(&mut self) {
        self.requests.wait_for_caller(self.told_bytes > 0);
    }

    fn is_over(&self) -> bool {
        self.stream.is_ended()
            && self.stream.open() == 0
            && self.picked.answered.is_empty()
            && self.picked.ready.is_empty()
    }
}

impl Outbox {
    pub(crate) fn new(id: u32, place: Option<Place>) -> Outbox {
        Outbox { id, place, inner: Mutex::default(), broken: AtomicBool::new(false), changed: Notify::new() }
    }

    /// Takes a request in; its number. `None`: the stream is broken, or all numbers are used; it is not taken.
    pub(crate) fn enter(&self, waiting: Waiting) -> Option<u32> {
        self.enter_as(waiting, Stream::enter)
    }

    /// Takes a request in again that is to wait for more; its number.
    pub(crate) fn reenter(&self, waiting: Waiting) -> Option<u32> {
        self.enter_as(waiting, Stream::reenter)
    }

    fn enter_as(
        &self,
        waiting: Waiting,
        enter: impl FnOnce(&mut Stream, Waiting) -> Option<u32>,
    ) -> Option<u32> {
        let mut inner = self.inner.lock();
        let cost = waiting.cost();
        let number = enter(&mut inner.stream, waiting)?;
        if !inner.requests.grow(self.place.as_ref(), Side::Requests, cost) {
            // The rest of a batch that was begun when there was room: no more is taken after it.
            inner.requests.bytes += cost;
        }
        inner.wait_for_caller();
        Some(number)
    }

    /// Gives an answer at admission, charged like a request until it is taken.
    pub(crate) fn answer(&self, response: PipelineResponse) {
        let cost = REQUEST_COST_BYTES + response.encoded_len();
        let mut inner = self.inner.lock();
        if !inner.requests.grow(self.place.as_ref(), Side::Requests, cost) {
            inner.requests.bytes += cost;
        }
        inner.told_bytes += cost;
        inner.picked.ready.push((response, cost));
        inner.wait_for_caller();
        wake(inner);
    }

    /// Whether another request may wait.
    pub(crate) fn has_headroom(&self) -> bool {
        let mut inner = self.inner.lock();
        // What is free of charge always has room: a stream goes on, if its caller takes what is there.
        let has_headroom = inner.requests.grow(self.place.as_ref(), Side::Requests, 0)
            && inner.stream.open() + inner.picked.answered.len() + inner.picked.ready.len()
                < STREAM_WAITING_MAX
            && inner.stream.places() < STREAM_SLOTS_MAX;
        inner.wait_for_caller();
        inner.wants_room = !has_headroom;
        has_headroom
    }

    /// No more requests come; `refusal` says why, if one was refused that the stream cannot go on after.
    pub(crate) fn end(&self, refusal: Option<Failure>) {
        let mut inner = self.inner.lock();
        inner.stream.end();
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
        if inner.picked.answered.is_empty() && inner.picked.ready.is_empty() {
            if inner.is_over() {
                return Poll::Ready(false);
            }
            inner.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut inner.picked, into);
        let answers = std::mem::take(&mut inner.answers);
        (into.charge, into.answer_bytes) = (answers.charge, answers.bytes);
        self.room_changed(inner);
        Poll::Ready(true)
    }

    /// Answers were made to requests that cost so much, or taken: the caller takes what is there.
    pub(crate) fn made(&self, bytes: usize) {
        let mut inner = self.inner.lock();
        inner.told_bytes -= bytes;
        inner.requests.shrink(bytes);
        if let Some(charge) = &mut inner.requests.charge {
            charge.caller_does();
        }
        inner.wait_for_caller();
        self.room_changed(inner);
    }

    fn room_changed(&self, mut inner: MutexGuard<'_, Inner>) {
        let wanted = std::mem::take(&mut inner.wants_room);
        drop(inner);
        if wanted {
            self.changed.notify_one();
        }
    }
}

fn wake(mut inner: MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// What charges are rounded up to.
pub(crate) fn rounded(bytes: usize) -> usize {
    if bytes <= BYTES_FREE { 0 } else { bytes.next_multiple_of(BYTES_STEP) }
}

/// Bytes of an answer that is there already; reads are not run yet.
pub(crate) fn bytes_of(answered: &NodeResponse) -> usize {
    match answered {
        NodeResponse::Reply(Reply::Txn(answer)) => answer.encoded_len(),
        NodeResponse::Reply(Reply::Outcome(answer)) => answer.encoded_len(),
        NodeResponse::Made(answer) => answer.encoded_len(),
        NodeResponse::Answer(_) | NodeResponse::Reply(_) => 0,
    }
}

impl Responder for Outbox {
    fn deliver(&self, answered: &mut Vec<(u32, NodeResponse)>) {
        let mut inner = self.inner.lock();
        for (number, mut told) in answered.drain(..) {
            if !inner.stream.has(number) {
                continue;
            }
            let bytes = bytes_of(&told);
            let fits = inner.answers.bytes == 0 || inner.answers.bytes + bytes <= ANSWERS_BYTES_MAX;
            if !fits || !inner.answers.grow(self.place.as_ref(), Side::Answers, bytes) {
                told = NodeResponse::Answer(Answer::Unknown);
            }
            if let Some(waiting) = inner.take(number, &told) {
                inner.picked.answered.push((waiting, told));
            }
        }
        let broken = inner.stream.is_broken();
        inner.answers.wait_for_caller(true);
        inner.wait_for_caller();
        if broken && !self.broken.swap(true, Ordering::AcqRel) {
            self.changed.notify_one();
        }
        wake(inner);
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    fn close(&self) {
        let mut inner = self.inner.lock();
        // What waits has no answer: its caller sees the stream end, and asks elsewhere.
        inner.stream.close();
        let waiting_bytes = inner.requests.bytes - inner.told_bytes;
        inner.requests.shrink(waiting_bytes);
        self.broken.store(true, Ordering::Release);
        self.changed.notify_one();
        wake(inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    use admission::limits::HOLD_MS_MAX;
    use admission::{Connection, Guard, Limits};
    use futures::FutureExt as _;
    use store_core::{Epoch, Offset};
    use store_engine::front::PendingRequest;
    use tokio::net::{TcpListener, TcpStream};

    fn write(number: u64) -> Waiting {
        Waiting { number, asked: PendingRequest::Write }
    }

    fn poll(outbox: &Outbox) -> Poll<(bool, Vec<u64>)> {
        let mut picked = Picked::default();
        let polled = outbox.poll(&mut picked, &mut Context::from_waker(Waker::noop()));
        polled.map(|more| (more, picked.answered.iter().map(|(waiting, _)| waiting.number).collect()))
    }

    fn done() -> NodeResponse {
        NodeResponse::Reply(Reply::Done { position: store_core::Position::ZERO })
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
        let ready = NodeResponse::Answer(Answer::ReadReady { at: Offset(3) });
        outbox.deliver(&mut vec![(numbers[2], ready)]);
        assert_eq!(poll(&outbox), Poll::Ready((true, vec![72])));
        assert_eq!(poll(&outbox), Poll::Ready((false, vec![])));
    }

    #[test]
    fn a_stream_that_lost_its_leader_takes_nothing_more() {
        let outbox = Outbox::new(1, None);
        let first = outbox.enter(write(1)).expect("open");
        let second = outbox.enter(write(2)).expect("open");
        let lost = NodeResponse::Answer(Answer::NotLeader { epoch: Epoch(2), leader: None });
        outbox.deliver(&mut vec![(first, lost)]);
        assert!(outbox.is_broken() && outbox.enter(write(3)).is_none());
        assert_eq!(poll(&outbox), Poll::Ready((true, vec![1])));
        assert_eq!(poll(&outbox), Poll::Pending, "the second is still to be answered");
        outbox.deliver(&mut vec![(second, NodeResponse::Answer(Answer::Unknown))]);
        assert_eq!(poll(&outbox), Poll::Ready((true, vec![2])));
        assert_eq!(poll(&outbox), Poll::Ready((false, vec![])));
    }

    /// A guard with room for so many bytes of one side, and connections to it.
    async fn guarded<const N: usize>(bytes_max: usize) -> (Arc<Guard>, [(TcpStream, Connection); N]) {
        let limits = Limits {
            newcomers_max: N,
            users_max: N,
            members_kept: 0,
            members_max: 0,
            connection_bytes_max: bytes_max,
            process_bytes_max: bytes_max,
        };
        let guard = Guard::new(limits, 1);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let mut connections = Vec::new();
        for _ in 0..N {
            let (theirs, ours) = tokio::join!(TcpStream::connect(at), guard.accept(&listener));
            connections.push((theirs.expect("connected"), ours));
        }
        (guard, connections.try_into().ok().expect("as many"))
    }

    /// Longer than a caller may keep what others wait for.
    async fn a_while() {
        tokio::time::advance(Duration::from_millis(2 * HOLD_MS_MAX)).await;
    }

    async fn closed(connection: &Connection) {
        let closed = connection.place().closed();
        tokio::time::timeout(Duration::from_secs(60), closed).await.expect("closed");
    }

    fn answered(outbox: &Outbox, numbers: &[u32]) {
        outbox.deliver(&mut numbers.iter().map(|number| (*number, done())).collect());
    }

    /// Takes what is there, and makes it.
    fn take(outbox: &Outbox) {
        let mut picked = Picked::default();
        if outbox.poll(&mut picked, &mut Context::from_waker(Waker::noop())) == Poll::Ready(true) {
            outbox.made(picked.answered.iter().map(|(waiting, _)| waiting.cost()).sum());
        }
    }

    // A busy stream was the longest holder of all, and the first to be cut when others needed room: its charge was one that
    // waits for the caller from the first request beyond 64 KiB on, until fewer waited.
    #[tokio::test]
    async fn a_caller_is_not_cut_for_requests_that_wait_for_the_store() {
        let (guard, [(_a, busy), (_b, unending), (_c, other)]) = guarded(512 << 10).await;
        let outbox = Outbox::new(1, Some(busy.place().clone()));
        let numbers: Vec<u32> = (0..800).map(|n| outbox.enter(write(n)).expect("open")).collect();
        tokio::time::pause();
        a_while().await;
        // Somebody who does not end a request of his takes what is left, and others need room.
        let rest = (512 << 10) - guard.budget(Side::Requests).held();
        let mut charge = unending.place().try_charge(Side::Requests, rest).expect("room");
        charge.wait_for_caller();
        let cut = async {
            closed(&unending).await;
            drop(charge);
        };
        let (granted, ()) = tokio::join!(other.place().charge(Side::Requests, 100 << 10), cut);
        assert!(
            granted.is_ok() && !busy.place().is_closed(),
            "he waits for the store, not the store for him"
        );
        // All are answered, and he takes them one after the other, while others wait for more than there is.
        answered(&outbox, &numbers);
        let mut picked = Picked::default();
        assert_eq!(outbox.poll(&mut picked, &mut Context::from_waker(Waker::noop())), Poll::Ready(true));
        let taking = async {
            for some in picked.answered.chunks(100) {
                tokio::time::advance(Duration::from_millis(HOLD_MS_MAX / 2)).await;
                outbox.made(some.iter().map(|(waiting, _)| waiting.cost()).sum());
            }
        };
        let (_, ()) = tokio::join!(other.place().charge(Side::Requests, 400 << 10), taking);
        assert!(!busy.place().is_closed(), "he takes what is there");
        drop(granted);
        assert_eq!(guard.budget(Side::Requests).held(), 0);
    }

    #[tokio::test]
    async fn a_caller_who_does_not_take_his_answers_is_cut_when_others_need_room() {
        let (guard, [(_a, deaf), (_b, other)]) = guarded(512 << 10).await;
        let outbox = Outbox::new(1, Some(deaf.place().clone()));
        let numbers: Vec<u32> = (0..800).map(|n| outbox.enter(write(n)).expect("open")).collect();
        answered(&outbox, &numbers);
        assert!(
            guard.budget(Side::Requests).held() >= 800 * REQUEST_COST_BYTES,
            "they are charged until made"
        );
        assert!(outbox.has_headroom(), "there is room, and it is charged");
        tokio::time::pause();
        let cut = async {
            closed(&deaf).await;
            drop(outbox);
        };
        let (granted, ()) = tokio::join!(other.place().charge(Side::Requests, 512 << 10), cut);
        assert!(granted.is_ok());
        drop(granted);
        assert_eq!(guard.budget(Side::Requests).held(), 0);
    }

    #[tokio::test]
    async fn a_charge_follows_what_waits_and_without_room_a_stream_goes_on_with_what_is_free() {
        let (guard, [(_a, busy), (_b, other)]) = guarded(1 << 20).await;
        let outbox = Outbox::new(1, Some(busy.place().clone()));
        let numbers: Vec<u32> = (0..3_000).map(|n| outbox.enter(write(n)).expect("open")).collect();
        let most = guard.budget(Side::Requests).held();
        answered(&outbox, &numbers[..2_500]);
        take(&outbox);
        let held = guard.budget(Side::Requests).held();
        assert!(held >= 500 * REQUEST_COST_BYTES && held <= most / 2, "{held} of {most}");
        answered(&outbox, &numbers[2_500..]);
        take(&outbox);
        assert_eq!(guard.budget(Side::Requests).held(), 0, "what is left is free of charge");
        let _all = other.place().try_charge(Side::Requests, 1 << 20).expect("room");
        let numbers: Vec<u32> = (0..257).map(|n| outbox.enter(write(n)).expect("open")).collect();
        assert!(!outbox.has_headroom());
        answered(&outbox, &numbers);
        assert!(!outbox.has_headroom(), "their answers are not made");
        let woken = outbox.changed.notified();
        take(&outbox);
        woken.now_or_never().expect("whoever waits for room is told");
        assert!(outbox.has_headroom());
    }

    fn refused(number: u64) -> PipelineResponse {
        let response = proto::store::pipeline_response::Response::Failure(Failure::default());
        PipelineResponse { number, response: Some(response) }
    }

    #[tokio::test]
    async fn answers_of_validation_are_charged_until_they_are_taken() {
        let (guard, [(_a, deaf), (_b, other)]) = guarded(1 << 20).await;
        let outbox = Outbox::new(1, Some(deaf.place().clone()));
        (0..1_000).for_each(|number| outbox.answer(refused(number)));
        assert!(guard.budget(Side::Requests).held() >= 1_000 * REQUEST_COST_BYTES);
        // A caller that does not take them is cut when others need the room.
        tokio::time::pause();
        let (granted, ()) = tokio::join!(other.place().charge(Side::Requests, 1 << 20), async {
            closed(&deaf).await;
            let mut picked = Picked::default();
            let polled = outbox.poll(&mut picked, &mut Context::from_waker(Waker::noop()));
            assert_eq!((polled, picked.ready.len()), (Poll::Ready(true), 1_000));
            picked.ready.iter().for_each(|(_, cost)| outbox.made(*cost));
        });
        assert!(granted.is_ok());
        drop(granted);
        assert_eq!(guard.budget(Side::Requests).held(), 0, "each was given back");
    }

    /// A reply of about so many bytes.
    fn large(bytes: usize) -> NodeResponse {
        let touched = proto::store::Touched { key: vec![7; bytes].into(), ..Default::default() };
        let response = proto::store::TxnResponse { results: vec![touched], ..Default::default() };
        NodeResponse::Reply(Reply::Txn(response))
    }

    // The charge of all of them was kept until the last one was made, and the one on its way needed room beside it: with replies
    // of 8 MiB in all, a stream waited for itself.
    #[tokio::test]
    async fn answers_that_wait_leave_room_for_the_one_that_is_on_its_way() {
        let (guard, [(_a, caller)]) = guarded(CONNECTION_BYTES_MAX).await;
        let outbox = Outbox::new(1, Some(caller.place().clone()));
        let numbers: Vec<u32> = (0..3).map(|number| outbox.enter(write(number)).expect("open")).collect();
        let bytes = ANSWERS_BYTES_MAX / 2 - 1_000;
        outbox.deliver(&mut numbers.iter().map(|number| (*number, large(bytes))).collect());
        let mut picked = Picked::default();
        assert_eq!(outbox.poll(&mut picked, &mut Context::from_waker(Waker::noop())), Poll::Ready(true));
        let kinds: Vec<bool> =
            picked.answered.iter().map(|(_, answered)| matches!(answered, NodeResponse::Reply(_))).collect();
        assert_eq!(kinds, [true, true, false], "what has no room is unknown, and ends the stream");
        assert!(caller.place().try_charge(Side::Answers, ANSWER_BYTES_MAX).is_some());
        drop(picked);
        let outbox = Outbox::new(2, Some(caller.place().clone()));
        let only = outbox.enter(write(1)).expect("open");
        outbox.deliver(&mut vec![(only, large(ANSWER_BYTES_MAX - 1_000))]);
        assert!(!outbox.is_broken(), "one answer always has room");
        drop(outbox);
        assert_eq!(guard.budget(Side::Answers).held(), 0);
    }
}
