//! A call whose request is on its way: nobody's work, and without room for its answer, until the request has come whole. It
//! must come in time.
//!
//! ```text
//!   headers ─► bytes ─► … ─► end ─► Work, and room for the answer ─► the service sees the end, and runs
//!      └─ within REQUEST_MS_MAX ──┘
//! ```
//!
//! A service reads its request to the end before it runs: so the end is kept back until there is room.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Sleep;
use tonic::Status;

use crate::limits::REQUEST_MS_MAX;
use crate::place::{Charge, Full, Place, Side, Work};
use crate::rules::Rules;

/// Room that is waited for, if there is any in time.
pub(crate) type Room = Pin<Box<dyn Future<Output = Result<Charge, Full>> + Send>>;

/// A call whose request has come whole.
pub(crate) struct Begun {
    pub(crate) work: Work,
    /// For its answer; `None`: it needs none.
    pub(crate) charge: Option<Charge>,
}

/// Where whoever runs the call finds it begun; empty while its request has not come whole.
pub(crate) type Beginning = Arc<Mutex<Option<Begun>>>;

/// See the module.
pub(crate) struct Arrival {
    place: Place,
    rules: Rules,
    /// What its answer is expected to need; `None`: nothing is charged for it.
    answer_bytes: Option<usize>,
    beginning: Beginning,
    is_over: bool,
    /// When the request is late, from when it was waited for first.
    late: Option<Pin<Box<Sleep>>>,
    /// It has waited for room of the process: the time for that is not the caller's.
    has_waited: bool,
    work: Option<Work>,
    room: Option<Room>,
}

impl Arrival {
    pub(crate) fn new(place: Place, rules: Rules, answer_bytes: Option<usize>) -> (Arrival, Beginning) {
        let beginning = Beginning::default();
        let arrival = Arrival {
            place,
            rules,
            answer_bytes,
            beginning: Arc::clone(&beginning),
            is_over: false,
            late: None,
            has_waited: false,
            work: None,
            room: None,
        };
        (arrival, beginning)
    }

    /// Whether the call has begun.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The request is not whole, and nothing of it is there now: ready when it is too late.
    pub(crate) fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        if self.is_over {
            return Poll::Pending;
        }
        let late = self
            .late
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(REQUEST_MS_MAX))));
        late.as_mut().poll(context).map(|()| (self.rules.late)())
    }

    /// It has waited for room: once, its time begins anew.
    pub(crate) fn waited(&mut self) {
        if !self.has_waited {
            self.has_waited = true;
            self.late = None;
        }
    }

    /// The request has come whole: ready when the call may run.
    pub(crate) fn poll_begin(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        if self.is_over {
            return Poll::Ready(Ok(()));
        }
        self.late = None;
        let work = self.work.take().unwrap_or_else(|| self.place.begin());
        let charge = match self.answer_bytes {
            None => None,
            Some(bytes) => match self.poll_room(bytes, context) {
                Poll::Ready(Ok(charge)) => Some(charge),
                Poll::Ready(Err(full)) => return Poll::Ready(Err((self.rules.full)(full))),
                Poll::Pending => {
                    self.work = Some(work);
                    return Poll::Pending;
                }
            },
        };
        self.is_over = true;
        *self.beginning.lock() = Some(Begun { work, charge });
        Poll::Ready(Ok(()))
    }

    fn poll_room(&mut self, bytes: usize, context: &mut Context<'_>) -> Poll<Result<Charge, Full>> {
        if self.room.is_none()
            && let Some(charge) = self.place.try_charge(Side::Answers, bytes)
        {
            return Poll::Ready(Ok(charge));
        }
        let place = &self.place;
        let room = self.room.get_or_insert_with(|| {
            let place = place.clone();
            Box::pin(async move { place.charge(Side::Answers, bytes).await })
        });
        let charge = ready!(room.as_mut().poll(context));
        self.room = None;
        Poll::Ready(charge)
    }
}
