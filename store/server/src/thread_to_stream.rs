//! A bounded channel from a thread, which may wait for room until a moment, to a stream, which is polled. (The channels
//! at hand wait without a limit, or need a runtime's timer, which is gone before the thread when a process ends.)

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use futures::Stream;
use parking_lot::{Condvar, Mutex};

/// Both ends of a channel for `places` values.
pub(crate) fn channel<T>(places: usize) -> (Sender<T>, Receiver<T>) {
    let inner = Inner { waiting: VecDeque::with_capacity(places), places, closed: false, waker: None };
    let shared = Arc::new(Shared { inner: Mutex::new(inner), taken: Condvar::new() });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared })
}

struct Shared<T> {
    inner: Mutex<Inner<T>>,
    /// Something was taken, or the receiver has gone.
    taken: Condvar,
}

struct Inner<T> {
    waiting: VecDeque<T>,
    places: usize,
    /// One end has gone.
    closed: bool,
    waker: Option<Waker>,
}

/// The thread's end.
pub(crate) struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Sends when there is room; false: the receiver has gone, or there was no room until `until`.
    pub(crate) fn send(&self, value: T, until: Instant) -> bool {
        let mut inner = self.shared.inner.lock();
        let full = |inner: &mut Inner<T>| inner.waiting.len() >= inner.places && !inner.closed;
        let waited = self.shared.taken.wait_while_until(&mut inner, full, until);
        if waited.timed_out() || inner.closed {
            return false;
        }
        inner.waiting.push_back(value);
        let waker = inner.waker.take();
        drop(inner);
        wake(waker);
        true
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut inner = self.shared.inner.lock();
        inner.closed = true;
        let waker = inner.waker.take();
        drop(inner);
        wake(waker);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The stream's end.
pub(crate) struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut inner = self.shared.inner.lock();
        if let Some(value) = inner.waiting.pop_front() {
            self.shared.taken.notify_one();
            return Poll::Ready(Some(value));
        }
        if inner.closed {
            return Poll::Ready(None);
        }
        inner.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.inner.lock().closed = true;
        self.shared.taken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use std::time::Duration;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn a_thread_waits_for_room_and_everything_comes_in_order() {
        let (sender, receiver) = channel(2);
        let sending = std::thread::spawn(move || (0..1_000).all(|value| sender.send(value, later())));
        let all: Vec<u32> = receiver.collect().await;
        assert_eq!(all, (0..1_000).collect::<Vec<_>>());
        assert!(sending.join().expect("no panic"));
    }

    #[test]
    fn a_slow_receiver_is_given_up_and_one_that_goes_is_noticed() {
        let (sender, receiver) = channel(1);
        assert!(sender.send(1, later()));
        assert!(!sender.send(2, Instant::now()), "there is no room");
        let sending = std::thread::spawn(move || sender.send(3, later()));
        drop(receiver);
        assert!(!sending.join().expect("no panic"), "whether it waited already or not");
    }
}
