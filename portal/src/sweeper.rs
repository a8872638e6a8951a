//! The end of reservations: an open order that was not changed for the shop's `hold_minutes` is cancelled, and gives back what it held.
//!
//! The store knows no orders, so that every portal sweeps: it looks through the rows of open orders that may be due
//! ([`crate::order_row`]), reads each order whose row says so, and sends one transaction a due one. That guards the order's version: a
//! confirmation or change that comes first wins, and of two portals, a repetition or a change of leader one does it. It guards that
//! *log time* has come, the order's `changed_ms` and the hold: no portal's clock ends a hold early. And it guards the version of the
//! shop's record: a hold that staff have made longer meanwhile counts.
//!
//! A portal whose clock is wrong asks too early or too late. Too early is refused, and the refusal corrects its estimate
//! ([`crate::log_time`]). A row may stand too far in the future, since the clock of the portal that wrote it was ahead; such rows
//! are looked at as well.

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use proto::store::KeyRecord;
use proto::store::failed_guard::Reason;
use store_client::Range;
use store_core::mutant;

use crate::attempt::send_step;
use crate::change::{Change, Known};
use crate::document::order::Phase;
use crate::document::shop::KnownShop;
use crate::error::Error;
use crate::handle::Portal;
use crate::id::Oid;
use crate::key;
use crate::limits::{PAGE_MAX, SWEEP_PARALLEL, SWEPT_MAX};
use crate::order_row::{OrderRow, Place, end, not_after, of_phase};

/// A row that is so far ahead of the log time was written by a clock that was.
const AHEAD_MS: i64 = 10_000;
/// An order that could not be cancelled is looked at again after this.
const ASIDE_MS: u64 = 60_000;

/// Cancels orders that were open for too long.
///
/// # Errors
/// UNAVAILABLE: the store cannot be used, or its members do not all know guards on time yet.
pub async fn sweep(portal: &Portal, known: &KnownShop) -> Result<(), Error> {
    let Some(hold_ms) = known.shop.hold_ms() else { return Ok(()) };
    let now_ms = portal.due_time_ms();
    let due_ms = now_ms.saturating_sub(hold_ms);
    let first = Bytes::from(of_phase(Phase::Open));
    let ahead = not_after(Phase::Open, now_ms.saturating_add(AHEAD_MS));
    let mut places = rows(portal, first, ahead, due_ms).await?;
    places.extend(rows(portal, not_after(Phase::Open, due_ms), end(Phase::Open), due_ms).await?);
    // Of those that were found the oldest first: if one is too early, so are those after it.
    let mut places = places.into_iter().rev();
    loop {
        let some: Vec<Place> = places.by_ref().take(SWEEP_PARALLEL).collect();
        if some.is_empty() {
            return Ok(());
        }
        let steps = stream::iter(some).map(async |place| swept(portal, place, known, hold_ms).await);
        let done: Vec<Swept> = steps.buffer_unordered(SWEEP_PARALLEL).try_collect().await?;
        if done.contains(&Swept::NoMore) {
            return Ok(());
        }
    }
}

/// The rows of a range, the newest first, of orders that were last changed then or before: what is not due needs no look at its order.
async fn rows(portal: &Portal, from: Bytes, to: Bytes, due_ms: i64) -> Result<Vec<Place>, Error> {
    let (mut places, mut after) = (Vec::new(), None);
    while places.len() < SWEPT_MAX {
        let range = Range::Between(from.clone(), to.clone());
        let page = portal.list(range, PAGE_MAX, after).await?;
        let may_be_due = |one: &&KeyRecord| {
            let row = one.record.as_ref().map(|record| OrderRow::read(&one.key, record));
            !matches!(row, Some(Ok(row)) if row.changed_ms > due_ms)
        };
        let due = page.records.iter().filter(may_be_due).filter_map(|one| Place::parse(&one.key));
        places.extend(due.filter(|place| !portal.is_set_aside(&place.oid)));
        after = page.records.last().map(|one| one.key.clone());
        if !page.more {
            break;
        }
    }
    Ok(places)
}

/// What became of an order that may be due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Swept {
    /// It is cancelled now.
    Expired,
    /// It is not due, or not open any more, or somebody was first.
    Left,
    /// The log time has not come, or the rule is another now: nor is any other to be swept in this round.
    NoMore,
}

/// Looks at one order. One that cannot be cancelled is told, and left alone for a while: it keeps no other from it.
async fn swept(portal: &Portal, place: Place, rules: &KnownShop, hold_ms: i64) -> Result<Swept, Error> {
    match expire(portal, &place, rules, hold_ms).await {
        Err(error @ (Error::Damaged { .. } | Error::OrderFull { .. } | Error::Invalid { .. })) => {
            tracing::warn!(oid = %place.oid, %error, "an order that is open for too long cannot be cancelled");
            portal.set_aside(place.oid);
            Ok(Swept::Left)
        }
        swept => swept,
    }
}

async fn expire(portal: &Portal, place: &Place, rules: &KnownShop, hold_ms: i64) -> Result<Swept, Error> {
    let Place { cid, oid, .. } = place;
    let at = key::order(cid, oid);
    let Some(record) = portal.read_through(&at).await?.record else { return Ok(Swept::Left) };
    let known = Known::read(&at, &record)?;
    let due_ms = known.order.changed_ms(&record).saturating_add(hold_ms);
    if known.order.phase != Phase::Open || due_ms > portal.due_time_ms() {
        return Ok(Swept::Left);
    }
    let change = Change::by_shop(cid, oid, portal.log_time_ms()).told_by(portal.teller());
    let txn = change.expire(&known, due_ms, (key::shop(), rules.offset))?;
    let sent_ms = portal.now_ms();
    let answer = send_step(portal, txn).await?;
    if answer.success {
        tracing::info!(%cid, %oid, "an order was open for too long and is cancelled");
        return Ok(Swept::Expired);
    }
    let failed = |reason: Reason, key: &[u8]| {
        answer.failed.iter().find(move |failed| failed.reason() == reason && failed.key == key)
    };
    if let Some(early) = failed(Reason::TooEarly, &at) {
        portal.saw_log_time(early.log_time_ms, sent_ms, answer.remembered);
        return Ok(Swept::NoMore);
    }
    if answer.failed.iter().any(|failed| failed.key == key::shop()) {
        return Ok(Swept::NoMore);
    }
    if failed(Reason::WrongOffset, &at).is_none() {
        // Not that somebody was first: a client or a stock is not as it must be.
        let why = answer.failed.first().map(|failed| (failed.reason(), failed.key.clone()));
        let why = why.map_or_else(String::new, |(reason, key)| {
            format!("{reason:?} of {}", String::from_utf8_lossy(&key))
        });
        tracing::warn!(%cid, %oid, why, "an order that is open for too long cannot be cancelled; feira audit says more");
        portal.set_aside(*oid);
    }
    Ok(Swept::Left)
}

impl Portal {
    /// Whether an order is left alone for now.
    fn is_set_aside(&self, oid: &Oid) -> bool {
        self.shared.set_aside.lock().get(oid).is_some_and(|until_ms| *until_ms > self.now_ms())
    }

    /// Leaves an order alone for a while.
    fn set_aside(&self, oid: Oid) {
        let now_ms = self.now_ms();
        let mut all = self.shared.set_aside.lock();
        if all.len() >= SWEPT_MAX {
            all.retain(|_, until_ms| *until_ms > now_ms);
        }
        if all.len() < SWEPT_MAX {
            all.insert(oid, now_ms + ASIDE_MS);
        }
    }

    /// The time by which orders are due.
    fn due_time_ms(&self) -> i64 {
        if mutant!(HoldByPortalClock) { self.clock_ms() } else { self.log_time_ms() }
    }
}
