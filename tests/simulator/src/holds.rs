//! The ends of reservations: portals whose clocks are up to an hour off tend the shop, and open orders expire while shoppers change them.
//!
//! Judged: *no hold ends early* (an order expires a hold after its last change at the earliest, by the log's time), *nothing acknowledged
//! is lost* (a shopper's order is as it was left, or has expired as it was left: what was confirmed or changed first wins), and
//! *an order has its row*.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use portal::Portal;
use portal::cache::Capacity;
use portal::document::order::OrderRecord;
use portal::document::shop::ShopRecord;
use portal::document::staff_note::Did;
use portal::handle::Bounds;
use portal::order_row::Place;
use portal::shop;
use proto::portal::OrderState;
use proto::store::Record;
use store_client::Store;

use crate::shop::Known;
use crate::tasks::Sleeper;
use crate::time::{MS, Micros};
use crate::violation::ensure;

/// For how long an order may be open.
const HOLD_MS: i64 = 4_000;
/// How far a clock is off, at most.
const CLOCK_OFF_MS_MAX: i64 = 3_600_000;

/// A portal that only tends, with a clock of its own.
pub(crate) fn portal(number: u32, store: impl Store, random: &mut fastrand::Rng) -> Arc<Portal> {
    let capacity = Capacity { entries: NonZeroUsize::MIN.saturating_add(31), bytes: 1 << 20 };
    let clock_off_ms = random.i64(-CLOCK_OFF_MS_MAX..=CLOCK_OFF_MS_MAX);
    let bounds = Bounds { clock_off_ms, ..Bounds::default() };
    Portal::limited(&format!("sweeper {number}"), Arc::new(store), capacity, bounds)
}

/// Tends the shop until `until`; first it sets the rule.
pub(crate) async fn sweep(portal: Arc<Portal>, sleeper: Sleeper, mut random: fastrand::Rng, until: Micros) {
    while sleeper.now.us() < until {
        sleeper.until(sleeper.now.us() + random.u64(100..900) * MS).await;
        // What stands in its way passes.
        let _ = shop::tend(&portal).await;
        let Ok(known) = portal.shop().await else { continue };
        if known.shop.orders_listed && known.shop.hold_ms().is_none() {
            let rules = ShopRecord { hold_ms: HOLD_MS, ..known.shop };
            let txn = shop::guarding(known.offset).put(portal::key::shop(), 1, rules.to_bytes());
            let _ = portal.store().txn(txn, None).await;
        }
    }
}

/// Whether the shop has cancelled it by its rules.
fn is_expired(order: &OrderRecord) -> bool {
    order.staff.iter().any(|note| note.did == Did::Expired)
}

/// Whether an order may be so at the end, of which its shopper knows this.
pub(crate) fn may_be(known: &Known, order: &OrderRecord) -> bool {
    let state = order.phase.shown();
    known.state == state
        || (known.state == OrderState::Open && state == OrderState::Cancelled && is_expired(order))
}

/// *no hold ends early*: an order that has expired did so a hold after its shopper's last change of it. True: it has.
pub(crate) fn check(oid: &str, order: &OrderRecord, known: Option<&Known>) -> bool {
    if !is_expired(order) {
        return false;
    }
    if let (Some(known), Some(ended_ms)) = (known, order.changed_ms) {
        ensure(ended_ms - known.changed_ms >= HOLD_MS, "no hold ends early", || {
            format!("order {oid}, last changed at {}, expired at {ended_ms}", known.changed_ms)
        });
    }
    true
}

/// *an order has its row*, and no row is without its order.
pub(crate) fn check_rows(orders: &[(Bytes, Record)], rows: &[(Bytes, Record)]) {
    let place = |(key, record): &(Bytes, Record)| {
        let (cid, oid) = portal::key::order_in(key)?;
        let order = OrderRecord::read(key, record).ok()?;
        Some(Place::of(order.phase, record.timestamp_ms, &cid, &oid).key())
    };
    let wanted: BTreeSet<Bytes> = orders.iter().filter_map(place).collect();
    let found: BTreeSet<Bytes> = rows.iter().map(|(key, _)| key.clone()).collect();
    ensure(wanted == found && rows.len() == orders.len(), "an order has its row", || {
        let differs: Vec<&Bytes> = wanted.symmetric_difference(&found).take(3).collect();
        format!("{} orders, {} rows; {differs:?}", orders.len(), rows.len())
    });
}
