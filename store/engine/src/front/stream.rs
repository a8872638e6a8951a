//! The requests of one stream that wait for an answer.
//!
//! **Order.** Writes of a stream are executed in the order sent, or not at all: as soon as one of its requests was
//! not executed for want of a leader, or its fate is open, the stream is *broken*. Nothing later of it is executed
//! any more, it answers the waiting requests, and ends; its caller begins again elsewhere, with the first unanswered.

use std::collections::VecDeque;

use super::request::PendingRequest;
use super::response::NodeResponse;
use crate::job::Answer;

/// What a request costs beside its bytes, about.
pub const REQUEST_COST_BYTES: usize = 256;

/// A request that waits.
#[derive(Debug)]
pub struct Waiting {
    /// The caller's number for it.
    pub number: u64,
    /// What it is.
    pub asked: PendingRequest,
}

impl Waiting {
    /// Bytes that it holds while it waits, about.
    #[must_use]
    pub fn cost(&self) -> usize {
        REQUEST_COST_BYTES + self.asked.bytes()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Stream {
    /// Requests by the stream's own number, the first of them being `first`.
    waiting: VecDeque<Option<Waiting>>,
    first: u32,
    /// Those not answered.
    open: usize,
    /// No more requests come.
    is_ended: bool,
    /// One of its requests was not executed, or its fate is open.
    is_broken: bool,
}

impl Stream {
    /// Takes a request in; the stream's own number for it. `None`: the stream has ended, or all numbers are used; it is not
    /// taken.
    pub fn enter(&mut self, waiting: Waiting) -> Option<u32> {
        if self.is_ended { None } else { self.reenter(waiting) }
    }

    /// Takes in again what was told something and is to wait for more, whether or not others may still come.
    pub fn reenter(&mut self, waiting: Waiting) -> Option<u32> {
        let index = u32::try_from(self.waiting.len()).ok()?;
        let number = self.first.checked_add(index)?;
        self.waiting.push_back(Some(waiting));
        self.open += 1;
        Some(number)
    }

    /// Whether a request of this number waits.
    #[must_use]
    pub fn has(&self, number: u32) -> bool {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.waiting.get(index)).is_some_and(Option::is_some)
    }

    /// Takes the request of this number out, which `told` answers. A refusal for want of a leader, or an open fate, breaks the
    /// stream.
    pub fn take(&mut self, number: u32, told: &NodeResponse) -> Option<Waiting> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let waiting = self.waiting.get_mut(index)?.take()?;
        self.open -= 1;
        while let Some(None) = self.waiting.front() {
            self.waiting.pop_front();
            self.first += 1;
        }
        if matches!(told, NodeResponse::Answer(Answer::NotLeader { .. } | Answer::Unknown)) {
            (self.is_ended, self.is_broken) = (true, true);
        }
        Some(waiting)
    }

    /// No more requests come.
    pub fn end(&mut self) {
        self.is_ended = true;
    }

    /// No answer will ever come any more: what waits is dropped.
    pub fn close(&mut self) {
        (self.is_ended, self.is_broken) = (true, true);
        self.waiting.clear();
        self.open = 0;
    }

    /// Whether its requests must not be executed any more.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether it takes no more requests.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Requests that are not answered.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open
    }

    /// Places from the first request that is not answered on.
    #[must_use]
    pub fn places(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store_core::{Epoch, Offset, Position};

    use crate::job::Reply;

    fn write(number: u64) -> Waiting {
        Waiting { number, asked: PendingRequest::Write }
    }

    fn done() -> NodeResponse {
        NodeResponse::Reply(Reply::Done { position: Position::ZERO })
    }

    fn told(stream: &mut Stream, number: u32, told: &NodeResponse) -> Option<u64> {
        stream.take(number, told).map(|waiting| waiting.number)
    }

    #[test]
    fn answers_find_their_requests_in_any_order_and_once() {
        let mut stream = Stream::default();
        let numbers: Vec<u32> =
            [70, 71, 72].map(|number| stream.enter(write(number)).expect("open")).to_vec();
        assert_eq!(told(&mut stream, numbers[1], &done()), Some(71));
        assert_eq!((stream.open(), stream.places()), (2, 3));
        assert_eq!(told(&mut stream, numbers[0], &done()), Some(70));
        assert_eq!(told(&mut stream, numbers[0], &done()), None);
        assert_eq!(told(&mut stream, 99, &done()), None);
        assert_eq!((stream.open(), stream.places()), (1, 1));
        stream.end();
        let ready = NodeResponse::Answer(Answer::ReadReady { at: Offset(3) });
        assert_eq!(told(&mut stream, numbers[2], &ready), Some(72));
        assert!(stream.enter(write(73)).is_none() && !stream.is_broken());
    }

    #[test]
    fn a_stream_that_lost_its_leader_takes_nothing_more_and_answers_what_waits() {
        for lost in [Answer::NotLeader { epoch: Epoch(2), leader: None }, Answer::Unknown] {
            let mut stream = Stream::default();
            let first = stream.enter(write(1)).expect("open");
            let second = stream.enter(write(2)).expect("open");
            assert_eq!(told(&mut stream, first, &NodeResponse::Answer(lost)), Some(1));
            assert!(stream.is_broken() && stream.enter(write(3)).is_none());
            assert_eq!(told(&mut stream, second, &done()), Some(2));
        }
    }

    #[test]
    fn a_refusal_for_another_reason_breaks_nothing() {
        let mut stream = Stream::default();
        let first = stream.enter(write(1)).expect("open");
        let too_large = NodeResponse::Answer(Answer::BadSize { bytes: 1 << 30 });
        assert_eq!(told(&mut stream, first, &too_large), Some(1));
        assert!(!stream.is_broken() && stream.enter(write(2)).is_some());
    }

    #[test]
    fn nothing_is_answered_after_the_end_of_the_node() {
        let mut stream = Stream::default();
        let first = stream.enter(write(1)).expect("open");
        stream.close();
        assert_eq!((told(&mut stream, first, &done()), stream.open()), (None, 0));
        assert!(stream.is_broken());
    }
}
