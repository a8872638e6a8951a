//! The life of a node's process, as what runs in it knows it: its tasks and its handles do nothing while it stands still, and nothing any
//! more when it has ended.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;
use parking_lot::Mutex;

/// One life.
#[derive(Default)]
pub(crate) struct Life {
    has_ended: AtomicBool,
    stands_still: AtomicBool,
    /// Tasks that go on when it does.
    waiting: Mutex<Vec<Waker>>,
}

impl Life {
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    pub(crate) fn stands_still(&self) -> bool {
        self.stands_still.load(Ordering::Relaxed)
    }

    /// The process is gone.
    pub(crate) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// It stands still, or goes on.
    pub(crate) fn stand_still(&self, is_still: bool) {
        if self.stands_still.swap(is_still, Ordering::Relaxed) && !is_still {
            self.wake();
        }
    }

    fn wake(&self) {
        std::mem::take(&mut *self.waiting.lock()).into_iter().for_each(Waker::wake);
    }
}

/// A task of one life.
pub(crate) struct OfLife {
    pub(crate) life: Arc<Life>,
    pub(crate) task: BoxFuture<'static, ()>,
}

impl Future for OfLife {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.life.has_ended() {
            return Poll::Ready(());
        }
        if self.life.stands_still() {
            self.life.waiting.lock().push(context.waker().clone());
            return Poll::Pending;
        }
        self.task.as_mut().poll(context)
    }
}
