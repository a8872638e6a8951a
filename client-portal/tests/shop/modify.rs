//! ModifyOrder: the difference that moves, prices that stay, and what refuses a change.

use portal::Error;
use portal::error::Full;
use portal::error::{Kind, Short};
use portal::id::{Cid, Oid};
use proto::portal::{ModifyOrderRequest, Order};

use crate::fixture::{Fixture, answer, change, create, lines, modify, naming, shown};

async fn fixture_and_order() -> (Fixture, Order) {
    let fixture = Fixture::open().await;
    for pid in ["a", "b", "c"] {
        fixture.insert_product(pid, "1.50", 10).await;
    }
    let order = create(&fixture, "ana", &[("a", 2), ("b", 4)]).await.unwrap();
    (fixture, order)
}

#[tokio::test]
async fn quantities_are_set_and_the_difference_moves() {
    let (fixture, order) = fixture_and_order().await;
    let before = fixture.transactions().await;
    let order = modify(&fixture, &order, &[("a", 5), ("b", 0), ("c", 1)]).await.unwrap();
    assert_eq!(fixture.transactions().await - before, 1);
    assert_eq!(shown(&order), [("a", 5, "1.50", "7.50"), ("c", 1, "1.50", "1.50")]);
    assert_eq!((order.total.as_str(), order.version), ("9.00", 2));
    let available = [fixture.stock("a").await, fixture.stock("b").await, fixture.stock("c").await];
    assert_eq!(available.map(|stock| stock.available), [5, 10, 9]);
    fixture.audit().await;
}

#[tokio::test]
async fn a_line_keeps_its_price_and_a_new_one_takes_that_of_now() {
    let (fixture, order) = fixture_and_order().await;
    fixture.set_price("a", "9").await;
    fixture.set_price("c", "9").await;
    let order = modify(&fixture, &order, &[("a", 3), ("c", 1)]).await.unwrap();
    assert_eq!(shown(&order)[0], ("a", 3, "1.50", "4.50"));
    assert_eq!(shown(&order)[2], ("c", 1, "9.00", "9.00"));
    let order = modify(&fixture, &order, &[("a", 0)]).await.unwrap();
    let order = modify(&fixture, &order, &[("a", 1)]).await.unwrap();
    assert_eq!(shown(&order)[2], ("a", 1, "9.00", "9.00"), "a line that came back is a new one");
    fixture.audit().await;
}

#[tokio::test]
async fn shortage_leaves_everything_as_it_was() {
    let (fixture, order) = fixture_and_order().await;
    let error = modify(&fixture, &order, &[("a", 13), ("b", 1)]).await.unwrap_err();
    let short = vec![Short { pid: "a".to_owned(), wanted: 11, left: 8, holds: 2 }];
    assert!(error.to_string().ends_with("a (11 more wanted than the 2 it holds, 8 left)"), "{error}");
    assert_eq!(error, Error::ShortStock { short, more: 0 });
    assert_eq!(
        modify(&fixture, &order, &[("a", 10)]).await.unwrap().lines[0].quantity,
        10,
        "all that is there"
    );
    fixture.audit().await;
}

#[tokio::test]
async fn a_closing_product_can_be_given_back_but_not_taken() {
    let (fixture, order) = fixture_and_order().await;
    fixture.close_product("a").await;
    let closing = Error::Closing { kind: Kind::Product, id: "a".to_owned() };
    assert_eq!(modify(&fixture, &order, &[("a", 3)]).await, Err(closing));
    assert_eq!(modify(&fixture, &order, &[("a", 1)]).await.unwrap().lines[0].quantity, 1);
    fixture.close_client("ana").await;
    let closing = Error::Closing { kind: Kind::Client, id: "ana".to_owned() };
    assert_eq!(modify(&fixture, &order, &[("a", 0)]).await, Err(closing));
    fixture.audit().await;
}

#[tokio::test]
async fn orders_that_are_not_open_and_products_that_are_not_there_are_refused() {
    let (fixture, order) = fixture_and_order().await;
    let unknown = Error::NotFound { kind: Kind::Product, id: "x".to_owned() };
    assert_eq!(modify(&fixture, &order, &[("x", 1)]).await, Err(unknown));
    answer(fixture.shop().confirm_order(naming(&order)).await).unwrap();
    let not_open = |state: &str| Err(Error::NotOpen { oid: order.oid.clone(), state: state.to_owned() });
    assert_eq!(modify(&fixture, &order, &[("a", 1)]).await, not_open("confirmed"));
    let order = create(&fixture, "ana", &[]).await.unwrap();
    answer(fixture.shop().cancel_order(naming(&order)).await).unwrap();
    let not_open = Error::NotOpen { oid: order.oid.clone(), state: "cancelled".to_owned() };
    assert_eq!(modify(&fixture, &order, &[("a", 1)]).await, Err(not_open));
    fixture.audit().await;
}

#[tokio::test]
async fn foreign_unknown_and_malformed_orders_are_told_apart() {
    let (fixture, order) = fixture_and_order().await;
    fixture.insert_client("bia").await;
    let of = |cid: &str, oid: &str| Order { cid: cid.to_owned(), oid: oid.to_owned(), ..Order::default() };
    let oid = order.oid.clone();
    let not_yours = Err(Error::NotYours { oid: oid.clone() });
    assert_eq!(modify(&fixture, &of("bia", &oid), &[("a", 1)]).await, not_yours);
    // Whether the order exists makes no difference to what a stranger is told.
    let ana = Cid::parse("cid", "ana").unwrap();
    let never_made = Oid::derive(&ana, b"never sent").to_string();
    let not_yours = Err(Error::NotYours { oid: never_made.clone() });
    assert_eq!(modify(&fixture, &of("bia", &never_made), &[("a", 1)]).await, not_yours);
    for unknown in [never_made.as_str(), "nope"] {
        let error = Error::NotFound { kind: Kind::Order, id: unknown.to_owned() };
        assert_eq!(modify(&fixture, &of("ana", unknown), &[("a", 1)]).await, Err(error));
    }
    for (cid, oid) in [("caio", oid.as_str()), ("caio", "nope")] {
        let error = Error::UnknownClient { cid: cid.to_owned() };
        assert_eq!(modify(&fixture, &of(cid, oid), &[("a", 1)]).await, Err(error));
    }
    let error = modify(&fixture, &of("ana", ""), &[("a", 1)]).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { field, .. } if field == "oid"));
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let (fixture, order) = fixture_and_order().await;
    for (wanted, field) in [(&[][..], "lines"), (&[("a", -1)], "lines[0].quantity")] {
        let error = modify(&fixture, &order, wanted).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid { field: at, .. } if at == field), "{error}");
    }
}

#[tokio::test]
async fn if_match_names_the_version_that_is_changed() {
    let (fixture, order) = fixture_and_order().await;
    let request = ModifyOrderRequest { if_match: order.etag, ..change(&order, &[("a", 3)]) };
    let changed = answer(fixture.shop().modify_order(request.clone()).await).unwrap();
    let request = ModifyOrderRequest { lines: lines(&[("a", 4)]), ..request };
    let error = answer(fixture.shop().modify_order(request).await).unwrap_err();
    assert_eq!(error, Error::Changed { kind: Kind::Order, id: order.oid.clone(), etag: changed.etag });
    fixture.audit().await;
}

#[tokio::test]
async fn an_order_that_is_full_by_its_bytes_says_so_in_bytes() {
    let fixture = Fixture::open().await;
    let pids: Vec<String> = (0..1_000).map(|i| format!("{i:03}{}", "é".repeat(62))).collect();
    for pid in &pids {
        fixture.insert_product(pid, "1", 1).await;
    }
    let wanted: Vec<(&str, i64)> = pids.iter().map(|pid| (pid.as_str(), 1)).collect();
    let order = create(&fixture, "ana", &wanted[..300]).await.unwrap();
    let order = modify(&fixture, &order, &wanted[300..400]).await.unwrap();
    let error = modify(&fixture, &order, &wanted[400..]).await.unwrap_err();
    let Error::OrderFull { full: Full::Bytes { bytes, most }, .. } = error else { panic!("{error}") };
    assert!(bytes > most && most > 500_000, "{bytes} of {most}");
    assert!(error.to_string().contains(&format!("{bytes} bytes, because")), "{error}");
    fixture.audit().await;
}

#[tokio::test]
async fn an_order_is_full_at_two_thousand_lines() {
    let fixture = Fixture::open().await;
    let pids: Vec<String> = (0..2_001).map(|i| format!("p{i}")).collect();
    for pid in &pids {
        fixture.insert_product(pid, "1", 1).await;
    }
    let wanted: Vec<(&str, i64)> = pids.iter().map(|pid| (pid.as_str(), 1)).collect();
    let order = create(&fixture, "ana", &wanted[..1_000]).await.unwrap();
    let order = modify(&fixture, &order, &wanted[1_000..2_000]).await.unwrap();
    assert_eq!((order.lines.len(), order.total.as_str()), (2_000, "2000.00"));
    let error = modify(&fixture, &order, &wanted[2_000..]).await.unwrap_err();
    assert_eq!(error, Error::OrderFull { oid: order.oid.clone(), full: Full::Lines(2_001) });
    assert!(error.to_string().contains("2001 lines, and has at most 2000"), "{error}");
    answer(fixture.shop().cancel_order(naming(&order)).await).unwrap();
    fixture.audit().await;
}
