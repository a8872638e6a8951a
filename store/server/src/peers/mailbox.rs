//! Answers that wait to go back on the push stream of one peer. Bounded: an ack that waits is replaced by the next
//! one, since only the newest matters.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::Stream;
use parking_lot::{Mutex, MutexGuard};
use proto::store::PushReply;
use proto::store::push_reply::Message as Kind;
use store_db::limits::STATE_MACHINE_VERSION;
use store_engine::convert;
use tonic::Status;

/// Answers that may wait; the oldest goes first, as if the network had lost it.
const WAITING_MAX: usize = 64;

/// The mailbox of one peer; at most one stream empties it.
#[derive(Default)]
pub(super) struct Mailbox {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<PushReply>,
    /// Which stream may take.
    stream: u64,
    waker: Option<Waker>,
}

impl Mailbox {
    /// Puts an answer in, and whether this replica is out of space, and its clock.
    pub(super) fn put(&self, reply: &store_core::PushReply, out_of_space: bool, clock_ms: i64) {
        let state_machine_version = STATE_MACHINE_VERSION;
        let reply = PushReply { out_of_space, clock_ms, state_machine_version, ..convert::reply_out(reply) };
        let mut inner = self.inner.lock();
        let is_ack = |reply: &PushReply| matches!(reply.message, Some(Kind::Ack(_)));
        if is_ack(&reply) && inner.waiting.back().is_some_and(is_ack) {
            inner.waiting.pop_back();
        }
        if inner.waiting.len() >= WAITING_MAX {
            inner.waiting.pop_front();
        }
        inner.waiting.push_back(reply);
        wake(inner);
    }

    /// Empties it for a new stream; the one before ends.
    pub(super) fn open(self: &Arc<Mailbox>) -> Replies {
        let mut inner = self.inner.lock();
        inner.waiting.clear();
        inner.stream += 1;
        let stream = inner.stream;
        wake(inner);
        Replies { mailbox: Arc::clone(self), stream }
    }

    /// Ends the stream.
    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.stream += 1;
        wake(inner);
    }
}

fn wake(mut inner: MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The answers, as one stream takes them.
pub(super) struct Replies {
    mailbox: Arc<Mailbox>,
    stream: u64,
}

impl Stream for Replies {
    type Item = Result<PushReply, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut inner = self.mailbox.inner.lock();
        if inner.stream != self.stream {
            return Poll::Ready(None);
        }
        if let Some(reply) = inner.waiting.pop_front() {
            return Poll::Ready(Some(Ok(reply)));
        }
        inner.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};
    use store_core::{Epoch, Message, Position, Round};

    fn ack(offset: u64) -> store_core::PushReply {
        let (epoch, durable_up_to, round) = (Epoch(1), Position::new(1, offset), Round(0));
        store_core::PushReply::Ack {
            epoch,
            durable_up_to,
            round,
            checkpoint: None,
            quarantined: false,
            unfit: false,
        }
    }

    fn next(replies: &mut Replies) -> Option<Message> {
        let reply = replies.next().now_or_never()??.expect("never an error");
        Some(convert::reply_in(reply).expect("well formed"))
    }

    #[test]
    fn only_the_newest_ack_waits_and_nothing_else_is_replaced() {
        let mailbox = Arc::new(Mailbox::default());
        let mut replies = mailbox.open();
        let stale = store_core::PushReply::StaleEpoch { epoch: Epoch(4) };
        for message in [ack(1), ack(2), stale, ack(3), ack(4)] {
            mailbox.put(&message, false, 0);
        }
        let all: Vec<Message> = std::iter::from_fn(|| next(&mut replies)).collect();
        assert_eq!(all, [ack(2), stale, ack(4)].map(Message::Reply));
    }

    #[test]
    fn it_is_bounded_and_one_stream_takes() {
        let mailbox = Arc::new(Mailbox::default());
        let mut first = mailbox.open();
        for epoch in 1..=100 {
            mailbox.put(&store_core::PushReply::StaleEpoch { epoch: Epoch(epoch) }, false, 0);
        }
        assert_eq!(std::iter::from_fn(|| next(&mut first)).count(), WAITING_MAX);
        let mut second = mailbox.open();
        mailbox.put(&ack(1), false, 0);
        assert_eq!(first.next().now_or_never().map(|item| item.is_none()), Some(true), "the first has ended");
        assert_eq!(next(&mut second), Some(Message::Reply(ack(1))));
    }
}
