//! The place of one connection, as those that serve it hold it; its work, its streams and its charges.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;
use std::time::Duration;

use parking_lot::Mutex;

use crate::guard::Guard;
use crate::limits::{HOLD_MS_MAX, RELIEF_MS, ROOM_MS_MAX, STREAMS_MAX};
use crate::seat::Seat;
pub use crate::seat::{Class, Side};

/// A connection's place; clones mean the same one.
#[derive(Clone)]
pub struct Place(Arc<Inner>);

struct Inner {
    seat: Arc<Seat>,
    guard: Arc<Guard>,
    /// Charges for answers that were handed over whole and that the socket may not have taken yet.
    tails: Mutex<Vec<Charge>>,
    has_tails: AtomicBool,
}

/// There was no room, for as long as a request may wait for it; whose making that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The caller's own: his connection holds answers that he does not take, or as many streams as it may. It does not pass.
    Own,
    /// That of all of them together.
    All,
}

impl Place {
    pub(crate) fn new(seat: Arc<Seat>, guard: Arc<Guard>) -> Place {
        Place(Arc::new(Inner { seat, guard, tails: Mutex::default(), has_tails: AtomicBool::new(false) }))
    }

    /// The connection has ended: what its socket has not taken, it never will.
    pub(crate) fn leave(&self) {
        self.0.guard.leave(&self.0.seat);
        self.0.seat.close();
        self.flushed();
    }

    /// Whether the guard has closed it; if not, `context` is woken when it does.
    pub(crate) fn is_closed_for_reading(&self, context: &mut Context<'_>) -> bool {
        self.0.seat.is_closed_for_reading(context)
    }

    /// The same for the writing side.
    pub(crate) fn is_closed_for_writing(&self, context: &mut Context<'_>) -> bool {
        self.0.seat.is_closed_for_writing(context)
    }

    /// Whether the guard has closed it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.seat.is_closed()
    }

    /// Ready when the guard closes it.
    pub async fn closed(&self) {
        self.0.seat.closed().await;
    }

    /// It did something.
    pub fn touch(&self) {
        self.0.seat.touch(self.0.guard.now_ms());
    }

    /// It asks for something: it is no newcomer any more.
    pub fn asks(&self) {
        self.touch();
        self.0.guard.promote(&self.0.seat, Class::User);
    }

    /// The same, and it is not idle until the work is dropped.
    #[must_use]
    pub fn begin(&self) -> Work {
        self.0.seat.working.fetch_add(1, Ordering::AcqRel);
        let work = Work(self.clone());
        self.asks();
        work
    }

    /// One more stream, if it may have one: not work by itself, only what moves on it is.
    #[must_use]
    pub fn open_stream(&self) -> Option<StreamOpen> {
        let open = StreamOpen(self.clone());
        (self.0.seat.streams.fetch_add(1, Ordering::AcqRel) < STREAMS_MAX).then_some(open)
    }

    /// It belongs to a member of the group: it keeps its place whatever comes.
    pub fn is_members(&self) {
        self.0.guard.promote(&self.0.seat, Class::Member);
    }

    /// How it is ranked.
    #[must_use]
    pub fn class(&self) -> Class {
        *self.0.seat.class.lock()
    }

    /// Room for so many bytes.
    ///
    /// # Errors
    /// [`Full`]: there was none in time.
    pub async fn charge(&self, side: Side, bytes: usize) -> Result<Charge, Full> {
        let limit = Duration::from_millis(ROOM_MS_MAX);
        tokio::time::timeout(limit, self.charge_some_time(side, bytes))
            .await
            .map_err(|_| self.why_full(side, bytes))
    }

    /// Whether it is this caller who has to do something first: his own room is full, and he has been waited for for long.
    fn why_full(&self, side: Side, bytes: usize) -> Full {
        let Inner { seat, guard, .. } = &*self.0;
        let is_waited_for =
            seat.holds_since_ms(side).is_some_and(|since| since + HOLD_MS_MAX <= guard.now_ms());
        let own_is_full = seat.budget(side).try_take(bytes).is_none();
        if own_is_full && is_waited_for { Full::Own } else { Full::All }
    }

    /// The same, however long it takes. While it waits, whoever holds the process's room without taking anything is cut.
    pub async fn charge_some_time(&self, side: Side, bytes: usize) -> Charge {
        let bytes = bytes.min(self.0.seat.budget(side).max());
        let own = self.0.seat.budget(side).take(bytes).await;
        let guard = &self.0.guard;
        let taking = guard.budget(side).take(bytes);
        tokio::pin!(taking);
        let all = loop {
            tokio::select! {
                all = &mut taking => break all,
                () = tokio::time::sleep(Duration::from_millis(RELIEF_MS)) => guard.relieve(side),
            }
        };
        own.keep();
        all.keep();
        Charge { place: self.clone(), side, bytes, hold: None }
    }

    /// The same, if there is room now.
    #[must_use]
    pub fn try_charge(&self, side: Side, bytes: usize) -> Option<Charge> {
        let bytes = bytes.min(self.0.seat.budget(side).max());
        let (own, all) =
            (self.0.seat.budget(side).try_take(bytes)?, self.0.guard.budget(side).try_take(bytes)?);
        own.keep();
        all.keep();
        Some(Charge { place: self.clone(), side, bytes, hold: None })
    }

    /// A charge for nothing yet.
    pub(crate) fn no_charge(&self, side: Side) -> Charge {
        Charge { place: self.clone(), side, bytes: 0, hold: None }
    }

    /// Bytes that it makes the process hold.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.seat.held()
    }

    /// A charge for what was handed over whole, until the socket has taken everything.
    pub(crate) fn tail(&self, charge: Charge) {
        if !self.is_closed() {
            self.0.tails.lock().push(charge);
            self.0.has_tails.store(true, Ordering::Release);
            // It may have been closed meanwhile, and nobody would look again.
            if self.is_closed() {
                self.flushed();
            }
        }
    }

    /// The socket has taken everything that it was given.
    pub(crate) fn flushed(&self) {
        if self.0.has_tails.swap(false, Ordering::AcqRel) {
            let taken = std::mem::take(&mut *self.0.tails.lock());
            drop(taken);
        }
    }
}

/// A call under way.
pub struct Work(Place);

impl Work {
    /// Whose it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.0
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.touch();
        self.0.0.seat.working.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A stream that is open.
pub struct StreamOpen(Place);

impl Drop for StreamOpen {
    fn drop(&mut self) {
        self.0.0.seat.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Bytes that a connection makes the process hold, given back when this is dropped.
pub struct Charge {
    place: Place,
    side: Side,
    bytes: usize,
    /// Its number among those that wait for the caller.
    hold: Option<u64>,
}

impl Charge {
    /// It turned out to be so many.
    pub fn resize(&mut self, bytes: usize) {
        let (own, all) = (self.place.0.seat.budget(self.side), self.place.0.guard.budget(self.side));
        if bytes > self.bytes {
            own.force(bytes - self.bytes);
            all.force(bytes - self.bytes);
        } else {
            own.give(self.bytes - bytes);
            all.give(self.bytes - bytes);
        }
        self.bytes = bytes;
    }

    /// How many.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes it larger, if there is room now.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let (own, all) = (self.place.0.seat.budget(self.side), self.place.0.guard.budget(self.side));
        let more = bytes.saturating_sub(self.bytes);
        if bytes > own.max() {
            return false;
        }
        let Some((own, all)) = own.try_take(more).zip(all.try_take(more)) else { return false };
        own.keep();
        all.keep();
        self.bytes += more;
        true
    }

    /// From now on it is the caller who is waited for.
    pub fn wait_for_caller(&mut self) {
        if self.hold.is_none() {
            self.hold = Some(self.place.0.seat.hold(self.side, self.place.0.guard.now_ms()));
        }
    }

    /// So many milliseconds from now it is the caller who is waited for, if it is still held then.
    pub fn wait_for_caller_in(&mut self, ms: u64) {
        self.caller_did();
        self.hold = Some(self.place.0.seat.hold(self.side, self.place.0.guard.now_ms().saturating_add(ms)));
    }

    /// The caller has done some of it: he is waited for anew.
    pub fn caller_does(&mut self) {
        if self.hold.is_some() {
            self.caller_did();
            self.wait_for_caller();
        }
    }

    /// The caller has done his part.
    pub fn caller_did(&mut self) {
        if let Some(number) = self.hold.take() {
            self.place.0.seat.unhold(number);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.caller_did();
        self.resize(0);
    }
}
