//! Orders as staff see them: one by its ids, and all of them page by page, with filters.

use std::collections::BTreeSet;

use portal::Error;
use portal::error::Kind;
use portal::id::{Cid, Oid};
use portal::key;
use proto::portal::{
    DeleteClientRequest, Order, OrderState, StaffGetOrderRequest, StaffListOrdersRequest,
    StaffListOrdersResponse,
};
use proto::store::Txn;
use store_client::Store;

use crate::fixture::{Fixture, answer, is_invalid};

async fn get(fixture: &Fixture, cid: &str, oid: &str) -> Result<Order, Error> {
    let request = StaffGetOrderRequest { cid: cid.to_owned(), oid: oid.to_owned() };
    answer(fixture.admin().get_order(request).await)
}

async fn list(fixture: &Fixture, request: StaffListOrdersRequest) -> Result<StaffListOrdersResponse, Error> {
    answer(fixture.admin().list_orders(request).await)
}

/// `CID/OID` of all orders that a list shows, in pages of this size; and the number of pages.
async fn pages(fixture: &Fixture, request: &StaffListOrdersRequest, limit: u32) -> (Vec<String>, usize) {
    let (mut all, mut request) = (Vec::new(), StaffListOrdersRequest { limit, ..request.clone() });
    for page in 1.. {
        let listed = list(fixture, request.clone()).await.unwrap();
        assert!(listed.orders.len() <= limit as usize);
        all.extend(listed.orders.iter().map(|order| format!("{}/{}", order.cid, order.oid)));
        if listed.next.is_empty() {
            return (all, page);
        }
        request.after = listed.next;
    }
    unreachable!("a list ends")
}

fn of(cid: &str) -> StaffListOrdersRequest {
    StaffListOrdersRequest { cid: cid.to_owned(), ..StaffListOrdersRequest::default() }
}

fn any() -> StaffListOrdersRequest {
    StaffListOrdersRequest::default()
}

/// Clients `ana` and `bia`, products `a` and `b`; three orders of each client: open with `a`, open with `b`, confirmed with both.
async fn shop() -> (Fixture, Vec<(String, Oid)>) {
    let fixture = Fixture::open().await;
    for pid in ["a", "b"] {
        fixture.insert_product(pid, 100).await;
    }
    let mut made = Vec::new();
    for cid in ["ana", "bia"] {
        fixture.insert_client(cid).await;
        for (number, lines) in [(1, &[("a", 1)][..]), (2, &[("b", 2)]), (3, &[("a", 3), ("b", 4)])] {
            made.push((cid.to_owned(), fixture.order(cid, number, lines).await));
        }
        fixture.confirm(cid, &made.last().unwrap().1).await;
    }
    (fixture, made)
}

/// The orders of `shop` at these places, as a list names them.
fn at(made: &[(String, Oid)], places: &[usize]) -> Vec<String> {
    let mut named: Vec<String> = places.iter().map(|at| format!("{}/{}", made[*at].0, made[*at].1)).collect();
    named.sort();
    named
}

#[tokio::test]
async fn an_order_of_any_client_is_shown_with_its_lines() {
    let (fixture, made) = shop().await;
    let (cid, oid) = &made[2];
    let order = get(&fixture, cid, oid.as_str()).await.unwrap();
    let lines: Vec<_> = order.lines.iter().map(|line| (line.pid.as_str(), line.quantity)).collect();
    assert_eq!((order.cid.as_str(), order.oid.as_str()), (cid.as_str(), oid.as_str()));
    assert_eq!((order.state(), lines), (OrderState::Confirmed, vec![("a", 3), ("b", 4)]));
    assert_eq!((order.total.as_str(), order.changed_ms, order.version), ("17.50", 1, 2));
}

#[tokio::test]
async fn an_order_that_is_not_there_is_refused_with_what_is_missing() {
    let (fixture, made) = shop().await;
    let (ana, bia) = (made[0].1.to_string(), made[3].1.to_string());
    let none = Oid::derive(&Cid::parse("cid", "ana").unwrap(), b"never").to_string();
    let order = |id: &str| Error::NotFound { kind: Kind::Order, id: id.to_owned() };
    assert_eq!(get(&fixture, "ana", &none).await, Err(order(&none)));
    assert_eq!(get(&fixture, "ana", "0193").await, Err(order("0193")));
    assert_eq!(get(&fixture, "ana", &bia).await, Err(Error::NotYours { oid: bia }));
    let client = Error::NotFound { kind: Kind::Client, id: "anna".to_owned() };
    assert_eq!(get(&fixture, "anna", &ana).await, Err(client));
    is_invalid(get(&fixture, "", &ana).await, "cid");
    is_invalid(get(&fixture, &"x".repeat(129), &ana).await, "cid");
    is_invalid(get(&fixture, "ana", "").await, "oid");
    is_invalid(get(&fixture, "ana", &"0".repeat(129)).await, "oid");
    is_invalid(get(&fixture, "ana", "a\tb").await, "oid");
}

#[tokio::test]
async fn the_orders_of_a_removed_client_are_still_seen() {
    let (fixture, made) = shop().await;
    let request =
        DeleteClientRequest { cid: "ana".to_owned(), cascade: true, ..DeleteClientRequest::default() };
    answer(fixture.admin().delete_client(request).await).unwrap();
    let states: Vec<OrderState> =
        list(&fixture, of("ana")).await.unwrap().orders.iter().map(|order| order.state()).collect();
    assert_eq!(states.iter().filter(|state| **state == OrderState::Cancelled).count(), 2);
    assert_eq!(states.iter().filter(|state| **state == OrderState::Confirmed).count(), 1);
    let sold = get(&fixture, "ana", made[2].1.as_str()).await.unwrap();
    assert_eq!((sold.state(), sold.total.as_str()), (OrderState::Confirmed, "17.50"));
    assert_eq!(pages(&fixture, &any(), 2).await.0.len(), made.len());
}

#[tokio::test]
async fn pages_of_any_size_show_each_order_once_by_client_and_id() {
    let (fixture, made) = shop().await;
    for (request, places) in
        [(any(), &[0, 1, 2, 3, 4, 5][..]), (of("ana"), &[0, 1, 2]), (of("bia"), &[3, 4, 5])]
    {
        for limit in [1, 2, 3, 4, 1_000] {
            let (listed, count) = pages(&fixture, &request, limit).await;
            assert_eq!(listed, at(&made, places), "{request:?} by {limit}");
            assert!(count <= places.len().div_ceil(limit as usize) + 1, "{count} pages by {limit}");
        }
    }
}

#[tokio::test]
async fn filters_show_what_they_name_and_nothing_else() {
    let (fixture, made) = shop().await;
    let state = |state: OrderState| StaffListOrdersRequest { state: state.into(), ..any() };
    let product = |pid: &str| StaffListOrdersRequest { pid: pid.to_owned(), ..any() };
    for (request, places) in [
        (state(OrderState::Open), &[0, 1, 3, 4][..]),
        (state(OrderState::Confirmed), &[2, 5]),
        (state(OrderState::Cancelled), &[]),
        (product("a"), &[0, 2, 3, 5]),
        (product("b"), &[1, 2, 4, 5]),
        (product("c"), &[]),
        (StaffListOrdersRequest { state: OrderState::Open.into(), ..product("b") }, &[1, 4]),
        (StaffListOrdersRequest { cid: "bia".to_owned(), ..product("b") }, &[4, 5]),
        (StaffListOrdersRequest { cid: "bia".to_owned(), ..state(OrderState::Confirmed) }, &[5]),
    ] {
        for limit in [1, 3, 1_000] {
            assert_eq!(pages(&fixture, &request, limit).await.0, at(&made, places), "{request:?} by {limit}");
        }
    }
}

/// The fixture changes its orders at millisecond 1; this one changes some at others.
#[tokio::test]
async fn orders_are_found_by_the_time_of_their_last_change() {
    let (fixture, made) = shop().await;
    for (place, ms) in [(0, 100), (4, 200)] {
        let (cid, oid) = &made[place];
        let at = key::order(&Cid::parse("cid", cid).unwrap(), oid);
        let changed = Txn::new().set_json(at, ms, "/changed_ms", ms.to_string());
        assert!(fixture.store.txn(changed, None).await.unwrap().success);
    }
    let changed = |from: i64, to: i64| StaffListOrdersRequest {
        changed_from_ms: from,
        changed_to_ms: to,
        ..StaffListOrdersRequest::default()
    };
    for (from, to, places) in [
        (100, 0, &[0, 4][..]),
        (101, 0, &[4]),
        (0, 200, &[0, 1, 2, 3, 5]),
        (100, 200, &[0]),
        (100, 201, &[0, 4]),
        (201, 0, &[]),
    ] {
        let (listed, _) = pages(&fixture, &changed(from, to), 2).await;
        assert_eq!(listed, at(&made, places), "from {from} to {to}");
    }
    let listed = list(&fixture, changed(200, 0)).await.unwrap().orders;
    assert_eq!((listed[0].changed_ms, listed[0].etag > 0), (200, true));
}

/// Orders come and change while somebody turns pages: what was there all the time is shown, and only once.
#[tokio::test]
async fn pages_neither_skip_nor_repeat_what_was_there_all_the_time() {
    let (fixture, made) = shop().await;
    let (mut seen, mut request) = (Vec::new(), StaffListOrdersRequest { limit: 1, ..any() });
    for number in 10.. {
        let listed = list(&fixture, request.clone()).await.unwrap();
        seen.extend(listed.orders.iter().map(|order| format!("{}/{}", order.cid, order.oid)));
        if number < 20 {
            fixture.order(if number % 2 == 0 { "ana" } else { "bia" }, number, &[("a", 1)]).await;
        }
        if listed.next.is_empty() {
            break;
        }
        request.after = listed.next;
    }
    let distinct: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "nothing twice: {seen:?}");
    let all_the_time = at(&made, &[0, 1, 2, 3, 4, 5]);
    assert!(all_the_time.iter().all(|one| distinct.contains(one)), "{seen:?}");
    assert!(seen.is_sorted(), "{seen:?}");
}

/// One request looks at a bounded number of orders: its page is then empty, and not the last.
#[tokio::test]
async fn a_filter_that_fits_little_gives_short_pages_that_go_on() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    fixture.insert_product("a", 1).await;
    let wanted = fixture.order("ana", 0, &[("a", 1)]).await;
    let cid = Cid::parse("cid", "ana").unwrap();
    let empty = r#"{"state":"cancelled","lines":[],"total":"0.00"}"#;
    for piece in 0_u32..20 {
        let mut txn = Txn::new();
        for number in 0_u32..500 {
            let oid = Oid::derive(&cid, format!("{piece}-{number}").as_bytes());
            txn = txn.put(key::order(&cid, &oid), 1, empty);
        }
        assert!(fixture.store.txn(txn, None).await.unwrap().success);
    }
    let open = StaffListOrdersRequest { state: OrderState::Open.into(), ..any() };
    let (listed, count) = pages(&fixture, &open, 10).await;
    assert_eq!(listed, [format!("ana/{wanted}")]);
    assert_eq!(count, 2, "10,001 orders are looked at in two requests");
    let cancelled = StaffListOrdersRequest { state: OrderState::Cancelled.into(), limit: 1_000, ..any() };
    assert_eq!(pages(&fixture, &cancelled, 1_000).await.0.len(), 10_000);
}

#[tokio::test]
async fn a_list_of_a_client_without_orders_is_empty_and_of_nobody_is_refused() {
    let (fixture, _) = shop().await;
    fixture.insert_client("caio").await;
    assert_eq!(list(&fixture, of("caio")).await, Ok(StaffListOrdersResponse::default()));
    let nobody = Error::NotFound { kind: Kind::Client, id: "anna".to_owned() };
    assert_eq!(list(&fixture, of("anna")).await, Err(nobody));
    // Orders under an id without a record, as versions before the state `gone` left them, are seen.
    let absent = Txn::new().delete(key::client(&Cid::parse("cid", "ana").unwrap()));
    assert!(fixture.store.txn(absent, None).await.unwrap().success);
    assert_eq!(pages(&fixture, &of("ana"), 2).await.0.len(), 3);
}

#[tokio::test]
async fn wrong_fields_of_a_list_are_named() {
    let (fixture, made) = shop().await;
    let cursor = format!("ana/{}", made[0].1);
    for (request, field) in [
        (StaffListOrdersRequest { limit: 1_001, ..any() }, "limit"),
        (StaffListOrdersRequest { state: 9, ..any() }, "state"),
        (of("\u{7}"), "cid"),
        (of(&"x".repeat(129)), "cid"),
        (StaffListOrdersRequest { pid: "x".repeat(129), ..any() }, "pid"),
        (StaffListOrdersRequest { changed_from_ms: -1, ..any() }, "changed_from_ms"),
        (StaffListOrdersRequest { changed_to_ms: -1, ..any() }, "changed_to_ms"),
        (StaffListOrdersRequest { changed_from_ms: 7, changed_to_ms: 7, ..any() }, "changed_to_ms"),
        (StaffListOrdersRequest { after: "ana".to_owned(), ..any() }, "after"),
        (StaffListOrdersRequest { after: "ana/0193".to_owned(), ..any() }, "after"),
        (StaffListOrdersRequest { after: format!("/{}", made[0].1), ..any() }, "after"),
        (StaffListOrdersRequest { after: cursor, ..of("bia") }, "after"),
    ] {
        is_invalid(list(&fixture, request.clone()).await, field);
    }
}

#[tokio::test]
async fn a_damaged_order_is_left_out_and_named_and_the_list_goes_on() {
    let (fixture, made) = shop().await;
    let (cid, oid) = (Cid::parse("cid", "ana").unwrap(), made[1].1);
    let (damaged, stray) = (key::order(&cid, &oid), bytes::Bytes::from_static(b"o/{ana}/zzz"));
    let txn = Txn::new().put(damaged, 1, "{}").put(stray, 1, "{}");
    assert!(fixture.store.txn(txn, None).await.unwrap().success);
    for limit in [1, 2, 1_000] {
        let (listed, _) = pages(&fixture, &any(), limit).await;
        assert_eq!(listed, at(&made, &[0, 2, 3, 4, 5]), "by {limit}");
    }
    let keys: Vec<String> =
        list(&fixture, any()).await.unwrap().damage.unwrap().records.into_iter().map(|one| one.key).collect();
    let mut expected = vec![format!("o/{{ana}}/{oid}"), "o/{ana}/zzz".to_owned()];
    expected.sort();
    assert_eq!(keys, expected);
    let shown = get(&fixture, "ana", oid.as_str()).await.unwrap_err();
    assert!(matches!(shown, Error::Damaged { .. }), "{shown}");
}
