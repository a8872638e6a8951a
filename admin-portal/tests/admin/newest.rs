//! The list of orders by time: rows that move with each change, pages, filters, and orders of earlier versions.

use portal::Error;
use portal::document::order::{OrderRecord, Phase};
use portal::id::{Cid, Oid};
use portal::key;
use proto::portal::{OrderState, StaffListOrdersRequest, StaffListOrdersResponse, StaffOrderSummary};
use proto::store::Txn;
use store_client::Store;
use store_engine::memory::MemoryStore;

use crate::fixture::{Fixture, answer, is_invalid};

fn newest() -> StaffListOrdersRequest {
    StaffListOrdersRequest { sort: "newest".to_owned(), ..StaffListOrdersRequest::default() }
}

async fn list(fixture: &Fixture, request: StaffListOrdersRequest) -> Result<StaffListOrdersResponse, Error> {
    answer(fixture.admin().list_orders(request).await)
}

async fn all(fixture: &Fixture, request: &StaffListOrdersRequest, limit: u32) -> Vec<StaffOrderSummary> {
    let (mut all, mut request) = (Vec::new(), StaffListOrdersRequest { limit, ..request.clone() });
    loop {
        let page = list(fixture, request.clone()).await.unwrap();
        assert!(page.orders.len() <= limit as usize);
        all.extend(page.orders);
        if page.next.is_empty() {
            return all;
        }
        request.after = page.next;
    }
}

fn oids(orders: &[StaffOrderSummary]) -> Vec<&str> {
    orders.iter().map(|order| order.oid.as_str()).collect()
}

/// Orders of two clients whose times go up by a minute, in this order: four open ones, the second and fourth confirmed since. The
/// confirmations are an hour later.
async fn shop_of_orders() -> (Fixture, Vec<Oid>) {
    let fixture = Fixture::open().await;
    for cid in ["ana", "bia"] {
        fixture.insert_client(cid).await;
    }
    fixture.insert_product("fig", 100).await;
    let mut made = Vec::new();
    for number in 1..=4_u32 {
        let cid = if number % 2 == 0 { "bia" } else { "ana" };
        let oid = fixture.order(cid, number, &[("fig", i64::from(number))]).await;
        at_time(&fixture, cid, &oid, 60_000 * i64::from(number)).await;
        made.push(oid);
    }
    for (place, minutes) in [(1, 60), (3, 61)] {
        fixture.confirm("bia", &made[place]).await;
        at_time(&fixture, "bia", &made[place], 60_000 * minutes).await;
    }
    fixture.until("orders are listed", async || list(&fixture, newest()).await.ok()).await;
    (fixture, made)
}

/// Writes an order anew with this time, its row too.
async fn at_time(fixture: &Fixture, cid: &str, oid: &Oid, at_ms: i64) {
    let cid = Cid::parse("cid", cid).unwrap();
    let at = key::order(&cid, oid);
    let record = fixture.record(at.clone()).await.unwrap();
    let order = OrderRecord::read(&at, &record).unwrap();
    let order = OrderRecord { changed_ms: Some(at_ms), ..order };
    let place = |ms| portal::order_row::Place::of(order.phase, ms, &cid, oid).key();
    let row = portal::order_row::OrderRow::of(&order, at_ms).to_bytes();
    let txn = Txn::new().put(at, at_ms, order.to_bytes()).delete(place(record.timestamp_ms)).put(
        place(at_ms),
        at_ms,
        row,
    );
    assert!(fixture.store.txn(txn, None).await.unwrap().success);
}

#[tokio::test]
async fn the_last_changed_come_first_whatever_their_state_and_the_pages_size() {
    let (fixture, made) = shop_of_orders().await;
    let expected = [3, 1, 2, 0].map(|at: usize| made[at].as_str());
    for limit in 1..=5 {
        let listed = all(&fixture, &newest(), limit).await;
        assert_eq!(oids(&listed), expected, "pages of {limit}");
    }
    let listed = all(&fixture, &newest(), 10).await;
    assert_eq!(
        (listed[0].state(), listed[0].cid.as_str(), listed[0].total.as_str()),
        (OrderState::Confirmed, "bia", "10.00")
    );
    for one in &listed {
        let oid = Oid::parse(&one.oid).unwrap();
        let known = fixture.order_record(&one.cid, &oid).await.unwrap();
        assert_eq!((one.etag, one.listed_ms), (known.offset, known.timestamp_ms), "{one:?}");
    }
}

#[tokio::test]
async fn filters_of_state_client_and_time_hold_in_the_list_by_time() {
    let (fixture, made) = shop_of_orders().await;
    let open = StaffListOrdersRequest { state: OrderState::Open.into(), ..newest() };
    assert_eq!(oids(&all(&fixture, &open, 1).await), [made[2].as_str(), made[0].as_str()]);
    let of_bia = StaffListOrdersRequest { cid: "bia".to_owned(), ..newest() };
    assert_eq!(oids(&all(&fixture, &of_bia, 1).await), [made[3].as_str(), made[1].as_str()]);
    let hour = StaffListOrdersRequest { changed_from_ms: 120_000, changed_to_ms: 61 * 60_000, ..newest() };
    assert_eq!(oids(&all(&fixture, &hour, 1).await), [made[1].as_str(), made[2].as_str()]);
    let none = StaffListOrdersRequest { changed_from_ms: 62 * 60_000, ..newest() };
    assert!(all(&fixture, &none, 1).await.is_empty());
}

#[tokio::test]
async fn an_order_that_is_changed_while_pages_are_read_hides_no_other() {
    let (fixture, made) = shop_of_orders().await;
    let first = list(&fixture, StaffListOrdersRequest { limit: 2, ..newest() }).await.unwrap();
    assert_eq!(oids(&first.orders), [made[3].as_str(), made[1].as_str()]);
    fixture.confirm("ana", &made[2]).await;
    at_time(&fixture, "ana", &made[2], 62 * 60_000).await;
    let rest = StaffListOrdersRequest { after: first.next, limit: 2, ..newest() };
    assert_eq!(oids(&all(&fixture, &rest, 2).await), [made[0].as_str()]);
    assert_eq!(oids(&all(&fixture, &newest(), 2).await)[0], made[2].as_str());
}

#[tokio::test]
async fn wrong_arguments_of_the_list_by_time_are_named() {
    let (fixture, _) = shop_of_orders().await;
    is_invalid(list(&fixture, StaffListOrdersRequest { sort: "price".to_owned(), ..newest() }).await, "sort");
    is_invalid(list(&fixture, StaffListOrdersRequest { pid: "fig".to_owned(), ..newest() }).await, "pid");
    for bad in
        ["x", "1/ana", "ana/0123456789abcdefghjkmnpq", "one/ana/0123456789abcdefghjkmnpq", "1/ana/short"]
    {
        is_invalid(
            list(&fixture, StaffListOrdersRequest { after: bad.to_owned(), ..newest() }).await,
            "after",
        );
    }
    let nobody = StaffListOrdersRequest { cid: "nobody".to_owned(), ..newest() };
    assert!(matches!(list(&fixture, nobody).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn every_change_of_an_order_moves_its_row() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    fixture.insert_product("fig", 100).await;
    let oid = fixture.order("ana", 1, &[("fig", 1)]).await;
    assert_eq!(fixture.rows().await, fixture.places().await);
    fixture.confirm("ana", &oid).await;
    assert_eq!(fixture.rows().await, fixture.places().await);
    assert_eq!(fixture.rows().await.len(), 1);
}

#[tokio::test]
async fn orders_of_earlier_versions_are_listed_as_they_are_and_interrupted_listings_go_on() {
    let store = MemoryStore::new();
    let (before, made) = {
        let fixture = Fixture::over(store.clone(), 100).await;
        fixture.insert_client("ana").await;
        fixture.insert_product("fig", 1_000).await;
        let mut made = Vec::new();
        for number in 0..450 {
            made.push(fixture.order("ana", number, &[("fig", 1)]).await);
        }
        fixture.confirm("ana", &made[7]).await;
        (fixture.places().await, made)
    };
    // As they were: no rows, and no record of the shop; half of the listing was done when its portal ended.
    let mut txn = Txn::new().delete(key::shop());
    for row in before.iter().skip(225) {
        txn = txn.delete(row.clone());
    }
    assert!(store.txn(txn, None).await.unwrap().success);
    let fixture = Fixture::over(store, 100).await;
    let listed = async || list(&fixture, StaffListOrdersRequest { limit: 1_000, ..newest() }).await.ok();
    let page = fixture.until("orders are listed", listed).await;
    assert_eq!(page.orders.len(), 450);
    assert_eq!(fixture.rows().await, before);
    let known = fixture.order_record("ana", &made[7]).await.unwrap();
    let shown = page.orders.iter().find(|order| order.oid == made[7].as_str()).unwrap();
    assert_eq!((shown.etag, known.order.phase), (known.offset, Phase::Confirmed), "its version is its own");
}
