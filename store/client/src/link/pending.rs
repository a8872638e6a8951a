//! The requests that are not answered yet, in the order in which they were asked.
//!
//! ```text
//! first                next_to_send            end
//!   │ answered? sent     │ not sent on this stream
//!   ▼                    ▼                       ▼
//!  [s][ ][s][s][ ][s]   [ ][ ][ ]
//! ```
//!
//! An operation takes its place when it is asked, without waiting, and keeps it until it is answered, also over
//! new streams: a broken stream only sets `next_to_send` back to `first`, so that everything unanswered goes
//! out again in its first order. All deadlines are equally long, therefore they end in the same order too and
//! expiry only looks at the front.
//!
//! Leaves out the life of streams ([`super::Link`]).

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use proto::store::Route;
use proto::store::pipeline_response::Response;
use store_core::mutant;
use tokio::sync::oneshot;

use super::body::Body;
use crate::error::{Cause, Error, Refusal};
use crate::pipeline::Kind;

/// Operations that may wait, sent or not.
pub(super) const WAITING_MAX: usize = 16_384;
/// Bytes of requests that may wait.
pub(super) const WAITING_BYTES_MAX: usize = 64 << 20;
/// Operations that may be on their way on one stream.
pub(super) const IN_FLIGHT_MAX: usize = 4_096;

/// Places, those answered behind one that is not included.
pub(super) const SLOTS_MAX: usize = 131_072;

const _: () = assert!(IN_FLIGHT_MAX <= WAITING_MAX && WAITING_MAX <= SLOTS_MAX);

/// A moment, as the time since some beginning that whoever drives the link has chosen.
pub type Moment = Duration;

/// What an operation gets.
pub type Answer = Result<Response, Error>;

struct Slot {
    kind: Kind,
    body: Body,
    /// What it was counted as.
    bytes: usize,
    /// It was put on the stream that is open, and nobody said since that it was not executed.
    sent: bool,
    /// A named write: an earlier stream broke with it on its way. What a node says later of *its* copy is no word
    /// about that one: from then on only the log can say that it did not happen.
    lost: bool,
    deadline: Moment,
    answer: oneshot::Sender<Answer>,
}

impl Slot {
    /// Ends it without an answer from the store.
    fn give_up(self, message: &str) {
        let message = message.to_owned();
        let error = match self.kind {
            Kind::Named | Kind::Unnamed if (self.sent && !mutant!(DeadlineSaysUndone)) || self.lost => {
                Error::Unknown { message }
            }
            _ => Error::away(message),
        };
        // The caller may have gone: then nobody is told, and that is right.
        let _ = self.answer.send(Err(error));
    }

    /// Ends it with what the store said.
    fn conclude(self, answer: Answer) {
        match answer {
            // Refused at admission: of the lost copy the node knows nothing.
            Err(Error::Retry { message, .. } | Error::Refused { reason: Refusal::Invalid, message })
                if self.lost && !mutant!(RefusalOfLost) =>
            {
                self.give_up(&message);
            }
            answer => drop(self.answer.send(answer)),
        }
    }
}

/// The operations of one link.
#[derive(Default)]
pub(super) struct Pending {
    slots: VecDeque<Option<Slot>>,
    /// The number of the first slot.
    first: u64,
    /// The number of the next slot to put on the stream.
    next_to_send: u64,
    /// Slots not answered yet.
    waiting: usize,
    /// Their bytes.
    waiting_bytes: usize,
    /// Sent on this stream and not answered.
    in_flight: usize,
    /// Which stream may send; 0: none is open.
    stream: u64,
    /// Whom it goes to.
    route: Route,
    /// Streams opened so far.
    streams: u64,
    /// The sending side of the stream, when it waits for work or room.
    waker: Option<Waker>,
    /// The handle is gone.
    is_ended: bool,
    /// When this stream last made progress: its first send after idling, or its last answer.
    progress: Option<Moment>,
}

/// What the sending side of a stream finds.
pub enum Next {
    /// Put this on the stream.
    Send(u64, Bytes),
    /// Nothing now; the waker is kept.
    Wait,
    /// This stream is over.
    End,
}

impl Pending {
    /// Takes the next place for an operation.
    pub(super) fn ask(
        &mut self,
        kind: Kind,
        body: Body,
        deadline: Moment,
    ) -> Result<oneshot::Receiver<Answer>, Error> {
        let bytes = body.encoded_len();
        let full = self.waiting >= WAITING_MAX || self.slots.len() >= SLOTS_MAX;
        if full || self.waiting_bytes + bytes > WAITING_BYTES_MAX {
            let message = format!("{} operations wait for the store already", self.waiting);
            return Err(Error::Retry { cause: Cause::Busy, message });
        }
        let (answer, receiver) = oneshot::channel();
        self.waiting += 1;
        self.waiting_bytes += bytes;
        self.slots.push_back(Some(Slot { kind, body, bytes, sent: false, lost: false, deadline, answer }));
        if self.in_flight < IN_FLIGHT_MAX {
            self.wake();
        }
        Ok(receiver)
    }

    /// Opens a stream to this cluster and log: it sends from the first unanswered operation on. Returns its number.
    pub(super) fn open(&mut self, route: Route) -> u64 {
        assert_eq!(self.in_flight, 0, "a stream opens after the one before it was closed");
        self.streams += 1;
        self.stream = self.streams;
        self.route = route;
        self.next_to_send = self.first;
        self.progress = None;
        self.stream
    }

    /// Lets the open stream send no more; answers may still come.
    pub(super) fn stop_sending(&mut self) {
        self.stream = 0;
        self.wake();
    }

    /// No stream sends any more, whatever opens.
    pub(super) fn end(&mut self) {
        self.is_ended = true;
        self.stop_sending();
    }

    /// Closes the stream: what it left unanswered will go out again, or is unknown.
    pub(super) fn close(&mut self, why: &str) {
        self.stop_sending();
        self.in_flight = 0;
        let sent_up_to = self.index_to_send();
        for place in self.slots.range_mut(..sent_up_to) {
            let Some(slot) = place.as_mut().filter(|slot| slot.sent) else { continue };
            if slot.kind != Kind::Unnamed || mutant!(UnnamedAgain) {
                slot.sent = false;
                slot.lost |= slot.kind == Kind::Named && !mutant!(LostForgotten);
            } else if let Some(unnamed) = place.take() {
                self.waiting -= 1;
                self.waiting_bytes -= unnamed.bytes;
                unnamed.give_up(why);
            }
        }
        self.trim();
    }

    /// The next operation for the stream numbered `stream`.
    pub(super) fn next(&mut self, stream: u64, now: Moment, waker: &Waker) -> Next {
        if self.is_ended || stream != self.stream {
            return Next::End;
        }
        while self.in_flight < IN_FLIGHT_MAX {
            let index = self.index_to_send();
            let Some(place) = self.slots.get_mut(index) else { break };
            let number = self.next_to_send;
            self.next_to_send += 1;
            if let Some(slot) = place
                && (slot.lost || !slot.answer.is_closed())
            {
                slot.sent = true;
                self.in_flight += 1;
                self.progress.get_or_insert(now);
                return Next::Send(number, slot.body.encoded(&self.route));
            }
            self.take(number);
        }
        self.waker = Some(waker.clone());
        Next::Wait
    }

    /// Gives an operation its answer. False: nobody waits for that number.
    pub(super) fn answer(&mut self, number: u64, now: Moment, answer: Answer) -> bool {
        let Some(slot) = self.take(mutant!(number, AnswerToTheNext => number + 1)) else { return false };
        self.landed(now);
        slot.conclude(answer);
        true
    }

    /// The store said that it did not execute this operation: it stays in its place, to be sent again.
    pub(super) fn not_executed(&mut self, number: u64) {
        let Some(index) = self.index(number) else { return };
        if let Some(Some(slot)) = self.slots.get_mut(index) {
            slot.sent = false;
        }
    }

    /// Gives up what waited too long.
    pub(super) fn expire(&mut self, now: Moment, why: &str) {
        while let Some(Some(slot)) = self.slots.front() {
            if slot.deadline > now {
                break;
            }
            let on_stream = self.stream != 0 && self.first < self.next_to_send;
            if let Some(late) = self.take(self.first) {
                // Its answer may still come; then nobody waits for it, but the stream did make room.
                self.in_flight -= usize::from(on_stream && self.in_flight > 0);
                late.give_up(why);
            }
        }
    }

    /// How long the stream has answered nothing although something is on its way.
    pub(super) fn stalled_for(&self, now: Moment) -> Duration {
        match self.progress {
            Some(since) if self.in_flight > 0 => now.saturating_sub(since),
            _ => Duration::ZERO,
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Whether a stream may send.
    pub(super) fn is_open(&self) -> bool {
        self.stream != 0
    }

    fn landed(&mut self, now: Moment) {
        let was_full = self.in_flight >= IN_FLIGHT_MAX;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.progress = (self.in_flight > 0).then_some(now);
        if was_full {
            self.wake();
        }
    }

    fn take(&mut self, number: u64) -> Option<Slot> {
        let index = self.index(number)?;
        let slot = self.slots.get_mut(index)?.take()?;
        self.waiting -= 1;
        self.waiting_bytes -= slot.bytes;
        self.trim();
        Some(slot)
    }

    fn trim(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
        self.next_to_send = self.next_to_send.max(self.first);
    }

    /// The place of an operation. `None`: it has left, and every place belongs to a later one.
    fn index(&self, number: u64) -> Option<usize> {
        let index = number.checked_sub(self.first)?;
        Some(usize::try_from(index).expect("places are fewer than addresses"))
    }

    fn index_to_send(&self) -> usize {
        self.index(self.next_to_send).expect("what has left is never sent")
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::TxnResponse;

    fn ask(pending: &mut Pending, kind: Kind, body: &'static str, at: Moment) -> oneshot::Receiver<Answer> {
        pending.ask(kind, Body::Ready(Bytes::from_static(body.as_bytes())), at).expect("there is room")
    }

    fn sent(pending: &mut Pending, stream: u64) -> Vec<(u64, Bytes)> {
        let mut all = Vec::new();
        while let Next::Send(number, body) = pending.next(stream, Moment::ZERO, Waker::noop()) {
            all.push((number, body));
        }
        all
    }

    fn done() -> Answer {
        Ok(Response::Txn(TxnResponse::default()))
    }

    #[test]
    fn a_broken_stream_sends_what_is_unanswered_again_in_the_first_order() {
        let (mut pending, now) = (Pending::default(), Moment::ZERO);
        let mut waiting: Vec<_> =
            ["a", "b", "c", "d"].iter().map(|body| ask(&mut pending, Kind::Named, body, now)).collect();
        let stream = pending.open(Route::default());
        let first = sent(&mut pending, stream);
        assert!(pending.answer(first[1].0, now, done()));
        assert!(!pending.answer(first[1].0, now, done()), "an answer counts once");
        pending.close("lost");
        assert!(matches!(pending.next(stream, now, Waker::noop()), Next::End));
        let again = pending.open(Route::default());
        assert_eq!(sent(&mut pending, again), [first[0].clone(), first[2].clone(), first[3].clone()]);
        assert!(waiting[1].try_recv().is_ok() && waiting[0].try_recv().is_err());
    }

    #[test]
    fn a_write_without_a_name_is_unknown_once_its_stream_broke() {
        let (mut pending, now) = (Pending::default(), Moment::ZERO);
        let mut lost = ask(&mut pending, Kind::Unnamed, "lost", now);
        let mut told = ask(&mut pending, Kind::Unnamed, "told", now);
        let stream = pending.open(Route::default());
        let numbers = sent(&mut pending, stream);
        let mut unsent = ask(&mut pending, Kind::Unnamed, "unsent", now);
        pending.not_executed(numbers[1].0);
        pending.close("connection reset");
        assert!(matches!(lost.try_recv(), Ok(Err(Error::Unknown { .. }))));
        assert!(told.try_recv().is_err() && unsent.try_recv().is_err(), "both are sent again");
        let again = pending.open(Route::default());
        assert_eq!(sent(&mut pending, again).len(), 2);
    }

    #[test]
    fn a_write_lost_on_one_stream_and_refused_on_the_next_is_unknown() {
        let (mut pending, now) = (Pending::default(), Moment::ZERO);
        let mut late = ask(&mut pending, Kind::Named, "late", now);
        let mut full = ask(&mut pending, Kind::Named, "full", now);
        let mut ahead = ask(&mut pending, Kind::Named, "ahead", now);
        let mut read = ask(&mut pending, Kind::Read, "read", now);
        let mut closed = ask(&mut pending, Kind::Named, "closed", now);
        let mut bad = ask(&mut pending, Kind::Read, "bad", now);
        let stream = pending.open(Route::default());
        let numbers: Vec<u64> = sent(&mut pending, stream).into_iter().map(|(number, _)| number).collect();
        pending.close("the leader died with all of them in its log");
        let again = pending.open(Route::default());
        assert_eq!(sent(&mut pending, again).len(), 6);
        let refused = |reason| Err(Error::Refused { reason, message: String::new() });
        assert!(pending.answer(numbers[1], now, Err(Error::away(""))));
        assert!(pending.answer(numbers[2], now, refused(Refusal::Invalid)));
        assert!(pending.answer(numbers[3], now, Err(Error::away(""))));
        assert!(pending.answer(numbers[4], now, refused(Refusal::Closed)));
        assert!(pending.answer(numbers[5], now, refused(Refusal::Invalid)));
        pending.not_executed(numbers[0]);
        pending.close("it does not lead");
        pending.expire(now, "deadline");
        for unknown in [&mut late, &mut full, &mut ahead] {
            assert!(matches!(unknown.try_recv(), Ok(Err(Error::Unknown { .. }))));
        }
        assert!(matches!(read.try_recv(), Ok(Err(Error::Retry { .. }))));
        assert_eq!(bad.try_recv(), Ok(refused(Refusal::Invalid)), "a read has no copy to fear");
        let by_the_log = closed.try_recv().expect("answered");
        assert_eq!(by_the_log, refused(Refusal::Closed), "what the log decided is true of every copy");
    }

    #[test]
    fn a_late_message_about_an_expired_operation_says_nothing_of_the_next() {
        let (mut pending, now) = (Pending::default(), Moment::ZERO);
        let _read = ask(&mut pending, Kind::Read, "read", now);
        let mut write = ask(&mut pending, Kind::Named, "write", now + Duration::from_secs(1));
        let stream = pending.open(Route::default());
        let numbers = sent(&mut pending, stream);
        pending.expire(now, "deadline");
        pending.not_executed(numbers[0].0);
        pending.close("it stopped leading with the write in its log");
        pending.expire(now + Duration::from_secs(1), "deadline");
        assert!(matches!(write.try_recv(), Ok(Err(Error::Unknown { .. }))));
    }

    /// Streams come and go, answers come late, deadlines pass: whatever the order, an operation that some node took
    /// and never said it had not executed is not called undone, and each gets one answer.
    #[test]
    fn what_a_node_took_and_did_not_refuse_is_never_called_undone() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut pending, begun) = (Pending::default(), Moment::ZERO);
            // By number: its answer, and how many copies of it a node may have executed.
            let (mut asked, mut copies): (Vec<oneshot::Receiver<Answer>>, Vec<u32>) =
                (Vec::new(), Vec::new());
            let (mut stream, mut on_it) = (None, Vec::new());
            for step in 0..300 {
                let now = begun + Duration::from_millis(step);
                match rng.u8(..8) {
                    0 | 1 => {
                        let deadline = now + Duration::from_millis(40);
                        asked.push(ask(&mut pending, Kind::Named, "write", deadline));
                        copies.push(0);
                    }
                    2 if stream.is_none() => stream = Some(pending.open(Route::default())),
                    3 | 4 => {
                        let taken = stream.map(|stream| sent(&mut pending, stream)).unwrap_or_default();
                        for (number, _) in taken {
                            copies[usize::try_from(number).expect("few")] += 1;
                            on_it.push(number);
                        }
                    }
                    5 if !on_it.is_empty() => {
                        let number = on_it.swap_remove(rng.usize(..on_it.len()));
                        copies[usize::try_from(number).expect("few")] -= 1;
                        pending.not_executed(number);
                    }
                    6 if rng.u8(..4) == 0 && stream.take().is_some() => {
                        pending.close("lost");
                        on_it.clear();
                    }
                    _ => pending.expire(now, "deadline"),
                }
            }
            pending.close("the end");
            pending.expire(begun + Duration::from_secs(9), "deadline");
            for (number, (mut answer, copies)) in asked.into_iter().zip(copies).enumerate() {
                let answer = answer.try_recv().expect("everything has an end");
                let undone = matches!(answer, Err(Error::Retry { .. }));
                assert!(
                    !undone || copies == 0,
                    "seed {seed}: {number} may have been executed {copies} times"
                );
            }
        }
    }

    #[test]
    fn only_what_was_sent_and_may_change_something_expires_as_unknown() {
        let (mut pending, now) = (Pending::default(), Moment::ZERO);
        let mut read = ask(&mut pending, Kind::Read, "read", now);
        let mut write = ask(&mut pending, Kind::Named, "write", now);
        let stream = pending.open(Route::default());
        assert_eq!(sent(&mut pending, stream).len(), 2);
        pending.stop_sending();
        let mut unsent = ask(&mut pending, Kind::Named, "unsent", now);
        let mut young = ask(&mut pending, Kind::Named, "young", now + Duration::from_secs(9));
        pending.expire(now, "deadline");
        assert!(matches!(read.try_recv(), Ok(Err(Error::Retry { .. }))));
        assert!(matches!(write.try_recv(), Ok(Err(Error::Unknown { .. }))));
        assert!(matches!(unsent.try_recv(), Ok(Err(Error::Retry { .. }))));
        assert!(young.try_recv().is_err() && !pending.is_empty());
    }

    #[test]
    fn both_bounds_hold() {
        let (mut pending, now) = (Pending::default(), Moment::ZERO);
        let kept: Vec<_> = (0..WAITING_MAX).map(|_| ask(&mut pending, Kind::Read, "x", now)).collect();
        assert!(pending.ask(Kind::Read, Body::Ready(Bytes::new()), now).is_err());
        let stream = pending.open(Route::default());
        assert_eq!(sent(&mut pending, stream).len(), IN_FLIGHT_MAX);
        assert!(pending.answer(0, now, done()));
        assert_eq!(sent(&mut pending, stream).len(), 1, "an answer makes room for one");
        drop(kept);
        let big = Bytes::from(vec![0; WAITING_BYTES_MAX]);
        let mut empty = Pending::default();
        assert!(empty.ask(Kind::Read, Body::Ready(big), now).is_ok());
        assert!(empty.ask(Kind::Read, Body::Ready(Bytes::from_static(b"x")), now).is_err());
    }

    #[test]
    fn what_nobody_waits_for_is_not_sent() {
        let (mut pending, now) = (Pending::default(), Moment::ZERO);
        drop(ask(&mut pending, Kind::Named, "gone", now));
        let _kept = ask(&mut pending, Kind::Named, "kept", now);
        let stream = pending.open(Route::default());
        assert_eq!(sent(&mut pending, stream), [(1, Bytes::from_static(b"kept"))]);
    }
}
