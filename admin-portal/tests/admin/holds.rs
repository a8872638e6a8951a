//! The ends of reservations: what was open for too long is cancelled once, by the log's time, and what changed first wins.

use std::num::NonZeroUsize;
use std::sync::Arc;

use portal::cache::Capacity;
use portal::document::order::{OrderRecord, Phase};
use portal::document::shop::ShopRecord;
use portal::document::staff_note::Did;
use portal::handle::Bounds;
use portal::id::{Cid, Oid};
use portal::order_row::{OrderRow, Place};
use portal::{Portal, key, shop};
use proto::portal::{GetShopRequest, StaffGetOrderRequest, UpdateShopRequest};
use proto::store::Txn;
use store_client::{Store, now_ms};
use store_engine::memory::MemoryStore;

use crate::fixture::{Fixture, answer};

const MINUTE_MS: i64 = 60_000;

async fn hold(fixture: &Fixture, hold_minutes: u32) {
    let request = UpdateShopRequest { hold_minutes, ..UpdateShopRequest::default() };
    answer(fixture.admin().update_shop(request).await).unwrap();
}

/// A fixture with a client, a product and two open orders that hold three of it each.
async fn with_two_orders() -> (Fixture, Oid, Oid) {
    let fixture = Fixture::with_times().await;
    fixture.insert_client("ana").await;
    fixture.insert_product("fig", 10).await;
    let orders = (fixture.order("ana", 1, &[("fig", 3)]).await, fixture.order("ana", 2, &[("fig", 3)]).await);
    (fixture, orders.0, orders.1)
}

/// Sets an order's times back, as if it was last changed so long ago.
async fn age(store: &MemoryStore, cid: &str, oid: &Oid, by_ms: i64) {
    let cid = Cid::parse("cid", cid).unwrap();
    let at = key::order(&cid, oid);
    let record =
        store.get(at.clone(), proto::store::Freshness::linearizable()).await.unwrap().record.unwrap();
    let order = OrderRecord::read(&at, &record).unwrap();
    let aged = OrderRecord { changed_ms: order.changed_ms.map(|ms| ms - by_ms), ..order };
    let (row, timestamp_ms) = (OrderRow::of(&aged, record.timestamp_ms), record.timestamp_ms);
    let place = Place::of(aged.phase, timestamp_ms, &cid, oid).key();
    let txn = Txn::new().guard_offset(at.clone(), record.offset()).put(at, timestamp_ms, aged.to_bytes());
    assert!(store.txn(txn.put(place, timestamp_ms, row.to_bytes()), None).await.unwrap().success);
}

/// A portal without a server, whose clock is off by so much, and which has tended the shop once.
async fn sweeper(store: &MemoryStore, clock_off_ms: i64) -> Arc<Portal> {
    let capacity = Capacity { entries: NonZeroUsize::new(100).unwrap(), bytes: 1 << 20 };
    let bounds = Bounds { clock_off_ms, ..Bounds::default() };
    let portal = Portal::limited("sweeper", Arc::new(store.clone()), capacity, bounds);
    shop::tend(&portal).await.unwrap();
    portal
}

#[tokio::test]
async fn an_order_that_was_open_for_too_long_is_cancelled_and_gives_back_what_it_held() {
    let (fixture, old, fresh) = with_two_orders().await;
    hold(&fixture, 30).await;
    age(&fixture.store, "ana", &old, 31 * MINUTE_MS).await;
    let ended =
        async || Some(fixture.order_of("ana", &old).await).filter(|order| order.phase == Phase::Cancelled);
    let order = fixture.until("the order expires", ended).await;
    assert_eq!(order.staff.iter().map(|note| note.did).collect::<Vec<_>>(), [Did::Expired]);
    assert_eq!(fixture.order_of("ana", &fresh).await.phase, Phase::Open, "it has time left");
    let stock = fixture.stock("fig").await.unwrap();
    assert_eq!((stock.available, stock.held, stock.open_orders), (7, 3, 1));
    assert_eq!(fixture.rows().await, fixture.places().await);
}

#[tokio::test]
async fn an_open_order_says_until_when_it_is_held() {
    let (fixture, _, fresh) = with_two_orders().await;
    let show = async || {
        let request = StaffGetOrderRequest { cid: "ana".to_owned(), oid: fresh.to_string() };
        answer(fixture.admin().get_order(request).await).unwrap()
    };
    assert_eq!(show().await.expires_ms, 0);
    hold(&fixture, 30).await;
    let seen = async || Some(show().await).filter(|order| order.expires_ms > 0);
    let order = fixture.until("the portal sees the rule", seen).await;
    assert_eq!(order.expires_ms, order.changed_ms + 30 * MINUTE_MS);
    fixture.confirm("ana", &fresh).await;
    assert_eq!(
        fixture
            .until("it is seen", async || Some(show().await).filter(|order| order.expires_ms == 0))
            .await
            .changed_ms,
        show().await.changed_ms
    );
}

#[tokio::test]
async fn without_a_rule_orders_are_open_for_ever() {
    let (fixture, old, _) = with_two_orders().await;
    age(&fixture.store, "ana", &old, 1_000_000 * MINUTE_MS).await;
    sweeper(&fixture.store, 0).await;
    assert_eq!(fixture.order_of("ana", &old).await.phase, Phase::Open);
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_ends_no_hold_early_and_asks_once() {
    let (fixture, old, fresh) = with_two_orders().await;
    hold(&fixture, 30).await;
    for clock_off_ms in [-60 * MINUTE_MS, 60 * MINUTE_MS] {
        let portal = sweeper(&fixture.store, clock_off_ms).await;
        assert_eq!(fixture.order_of("ana", &old).await.phase, Phase::Open, "{clock_off_ms}");
        let asked = portal.status().transactions;
        shop::tend(&portal).await.unwrap();
        assert_eq!(portal.status().transactions, asked, "a refusal has corrected it");
    }
    age(&fixture.store, "ana", &old, 31 * MINUTE_MS).await;
    let ahead = sweeper(&fixture.store, 60 * MINUTE_MS).await;
    shop::tend(&ahead).await.unwrap();
    assert_eq!(fixture.order_of("ana", &old).await.phase, Phase::Cancelled);
    assert_eq!(fixture.order_of("ana", &fresh).await.phase, Phase::Open);
}

#[tokio::test]
async fn an_order_that_a_clock_far_ahead_wrote_is_held_no_longer_than_others() {
    let (fixture, old, _) = with_two_orders().await;
    hold(&fixture, 30).await;
    // As a portal does whose clock is a day ahead.
    let known = fixture.order_record("ana", &old).await.unwrap();
    let cid = Cid::parse("cid", "ana").unwrap();
    let ahead = portal::change::Change::by_client(&cid, &old, now_ms() + 1_440 * MINUTE_MS);
    let txn = ahead.modify(&known, &[], &std::collections::HashMap::new()).unwrap();
    assert!(fixture.store.txn(txn, None).await.unwrap().success);
    age(&fixture.store, "ana", &old, 31 * MINUTE_MS).await;
    let ended =
        async || Some(fixture.order_of("ana", &old).await).filter(|order| order.phase == Phase::Cancelled);
    fixture.until("the order expires", ended).await;
}

#[tokio::test]
async fn many_sweepers_end_an_order_once_and_a_confirmation_that_comes_first_wins() {
    let (fixture, old, confirmed) = with_two_orders().await;
    hold(&fixture, 1).await;
    let mut sweepers = Vec::new();
    for _ in 0..4 {
        sweepers.push(sweeper(&fixture.store, 0).await);
    }
    fixture.confirm("ana", &confirmed).await;
    for oid in [&old, &confirmed] {
        age(&fixture.store, "ana", oid, 2 * MINUTE_MS).await;
    }
    for swept in futures::future::join_all(sweepers.iter().map(|portal| shop::tend(portal))).await {
        swept.unwrap();
    }
    let order = fixture.order_of("ana", &old).await;
    assert_eq!((order.phase, order.staff.len()), (Phase::Cancelled, 1));
    assert_eq!(fixture.order_of("ana", &confirmed).await.phase, Phase::Confirmed);
    let stock = fixture.stock("fig").await.unwrap();
    assert_eq!((stock.available, stock.held, stock.open_orders), (7, 3, 0));
}

#[tokio::test]
async fn a_hold_that_staff_make_longer_counts_for_a_sweeper_that_has_not_heard_of_it() {
    let (fixture, old, _) = with_two_orders().await;
    hold(&fixture, 1).await;
    let portal = sweeper(&fixture.store, 0).await;
    let known = portal.shop().await.unwrap();
    hold(&fixture, 60).await;
    age(&fixture.store, "ana", &old, 2 * MINUTE_MS).await;
    portal::sweeper::sweep(&portal, &known).await.unwrap();
    assert_eq!(fixture.order_of("ana", &old).await.phase, Phase::Open);
}

#[tokio::test]
async fn until_every_node_knows_times_nothing_expires_and_the_shop_goes_on() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    fixture.insert_product("fig", 10).await;
    let old = fixture.order("ana", 1, &[("fig", 3)]).await;
    hold(&fixture, 1).await;
    age(&fixture.store, "ana", &old, 2 * MINUTE_MS).await;
    let capacity = Capacity { entries: NonZeroUsize::new(100).unwrap(), bytes: 1 << 20 };
    let portal = Portal::new("sweeper", Arc::new(fixture.store.clone()), capacity, 1_000);
    // A store in memory refuses it as too early; a cluster as being upgraded.
    let _ = shop::tend(&portal).await;
    assert_eq!(fixture.order_of("ana", &old).await.phase, Phase::Open);
    assert!(answer(fixture.admin().get_shop(GetShopRequest {}).await).is_ok());
}

#[tokio::test]
async fn an_order_that_cannot_be_read_keeps_no_other_from_expiring() {
    let (fixture, old, damaged) = with_two_orders().await;
    let rules = ShopRecord {
        schema: 2,
        orders_listed: true,
        hold_ms: MINUTE_MS,
        currency: String::new(),
        feed_days: 0,
        decimals: None,
    };
    for oid in [&old, &damaged] {
        age(&fixture.store, "ana", oid, 2 * MINUTE_MS).await;
    }
    let at = key::order(&Cid::parse("cid", "ana").unwrap(), &damaged);
    let record = fixture.record(at.clone()).await.unwrap();
    let txn = Txn::new().put(at, record.timestamp_ms, "{}").put(key::shop(), 1, rules.to_bytes());
    fixture.store.txn(txn, None).await.unwrap();
    let ended =
        async || Some(fixture.order_of("ana", &old).await).filter(|order| order.phase == Phase::Cancelled);
    fixture.until("the order expires", ended).await;
}
