//! One connection's account: its rank, its last activity, the bytes that it makes the process hold.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Context;

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::budget::Budget;

/// How a connection is ranked: the first goes first when another needs a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It has not asked for anything yet.
    Newcomer,
    /// It has.
    User,
    /// It belongs to a member of the group.
    Member,
}

/// What bytes are held for. The two have budgets of their own: a call that has room for its request may wait for room for
/// its answer, and never the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Answers that are being made, or that the caller has not taken.
    Answers,
    /// Requests that are coming in, or that are worked on.
    Requests,
}

/// See the module.
pub(crate) struct Seat {
    pub(crate) id: u64,
    pub(crate) class: Mutex<Class>,
    /// When it did something last, on the guard's clock.
    active_ms: AtomicU64,
    /// Its calls under way.
    pub(crate) working: AtomicUsize,
    /// Its streams that are open.
    pub(crate) streams: AtomicUsize,
    closed: AtomicBool,
    reading: AtomicWaker,
    writing: AtomicWaker,
    closing: Notify,
    answers: Budget,
    requests: Budget,
    holds: Mutex<Holds>,
}

/// Charges that wait for the caller: by number, what they are for and since when.
#[derive(Default)]
struct Holds {
    last: u64,
    all: BTreeMap<u64, (Side, u64)>,
}

impl Seat {
    pub(crate) fn new(id: u64, now_ms: u64, bytes_max: usize) -> Seat {
        Seat {
            id,
            class: Mutex::new(Class::Newcomer),
            active_ms: AtomicU64::new(now_ms),
            working: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            reading: AtomicWaker::new(),
            writing: AtomicWaker::new(),
            closing: Notify::new(),
            answers: Budget::new(bytes_max),
            requests: Budget::new(bytes_max),
            holds: Mutex::default(),
        }
    }

    pub(crate) fn budget(&self, side: Side) -> &Budget {
        match side {
            Side::Answers => &self.answers,
            Side::Requests => &self.requests,
        }
    }

    /// Bytes that it makes the process hold.
    pub(crate) fn held(&self) -> usize {
        self.answers.held() + self.requests.held()
    }

    pub(crate) fn touch(&self, now_ms: u64) {
        self.active_ms.store(now_ms, Ordering::Release);
    }

    /// When it did something last; `None`: it is at work.
    pub(crate) fn idle_since_ms(&self) -> Option<u64> {
        (self.working.load(Ordering::Acquire) == 0).then(|| self.active_ms.load(Ordering::Acquire))
    }

    /// Since when the oldest of what waits for the caller on this side does.
    pub(crate) fn holds_since_ms(&self, side: Side) -> Option<u64> {
        let holds = self.holds.lock();
        let of_side = holds.all.values().filter(|(of, _)| *of == side);
        of_side.map(|(_, since_ms)| *since_ms).min()
    }

    /// Something waits for the caller from now on; its number.
    pub(crate) fn hold(&self, side: Side, now_ms: u64) -> u64 {
        let mut holds = self.holds.lock();
        holds.last += 1;
        let number = holds.last;
        holds.all.insert(number, (side, now_ms));
        number
    }

    /// It does not any more.
    pub(crate) fn unhold(&self, number: u64) {
        self.holds.lock().all.remove(&number);
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.reading.wake();
        self.writing.wake();
        self.closing.notify_waiters();
        self.closing.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether it is closed; if not, `context` is woken when it is.
    pub(crate) fn is_closed_for_reading(&self, context: &mut Context<'_>) -> bool {
        self.reading.register(context.waker());
        self.is_closed()
    }

    /// The same for the writing side.
    pub(crate) fn is_closed_for_writing(&self, context: &mut Context<'_>) -> bool {
        self.writing.register(context.waker());
        self.is_closed()
    }

    pub(crate) async fn closed(&self) {
        while !self.is_closed() {
            self.closing.notified().await;
        }
    }
}
