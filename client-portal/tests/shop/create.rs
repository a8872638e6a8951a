//! CreateOrder: what a new order takes, and what refuses it.

use portal::Error;
use portal::error::{Kind, Short};
use proto::portal::OrderState;

use crate::fixture::{Fixture, create, modify, shown};

#[tokio::test]
async fn an_order_takes_its_stock_and_the_prices_of_now() {
    let fixture = Fixture::open().await;
    fixture.insert_product("maca", "2.55", 10).await;
    fixture.insert_product("pera", "0.001", 5).await;
    let order = create(&fixture, "ana", &[("maca", 2), ("pera", 1), ("maca", 1)]).await.unwrap();
    assert_eq!(shown(&order), [("maca", 3, "2.55", "7.65"), ("pera", 1, "0.001", "0.001")]);
    assert_eq!((order.total.as_str(), order.state()), ("7.651", OrderState::Open));
    assert_eq!((order.cid.as_str(), order.version), ("ana", 1));
    let stock = fixture.stock("maca").await;
    assert_eq!((stock.available, stock.held, stock.open_orders), (7, 3, 1));
    assert_eq!(fixture.open_orders("ana").await, 1);
    fixture.audit().await;
}

#[tokio::test]
async fn an_empty_order_is_open_and_is_filled_by_a_change() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", "2", 3).await;
    let order = create(&fixture, "ana", &[]).await.unwrap();
    assert_eq!((order.lines.len(), order.total.as_str(), order.state()), (0, "0.00", OrderState::Open));
    assert_eq!(fixture.open_orders("ana").await, 1);
    let filled = modify(&fixture, &order, &[("a", 2)]).await.unwrap();
    assert_eq!(shown(&filled), [("a", 2, "2.00", "4.00")]);
    fixture.audit().await;
}

#[tokio::test]
async fn a_line_of_zero_opens_no_order() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", "1", 3).await;
    for wanted in [&[("a", 0)][..], &[("a", 1), ("a", 0)]] {
        let error = create(&fixture, "ana", wanted).await.unwrap_err();
        let field = format!("lines[{}].quantity", wanted.len() - 1);
        assert!(matches!(&error, Error::Invalid { field: at, .. } if *at == field), "{error}");
    }
    assert_eq!(fixture.open_orders("ana").await, 0);
}

#[tokio::test]
async fn an_order_is_one_transaction_also_with_many_lines() {
    let fixture = Fixture::open().await;
    let pids: Vec<String> = (0..50).map(|i| format!("p{i}")).collect();
    for pid in &pids {
        fixture.insert_product(pid, "1", 10).await;
    }
    let before = fixture.transactions().await;
    let wanted: Vec<(&str, i64)> = pids.iter().map(|pid| (pid.as_str(), 1)).collect();
    assert_eq!(create(&fixture, "ana", &wanted).await.unwrap().total, "50.00");
    assert_eq!(fixture.transactions().await - before, 1);
    fixture.audit().await;
}

#[tokio::test]
async fn every_short_product_is_named_with_what_is_left_and_nothing_moves() {
    let fixture = Fixture::open().await;
    for (pid, quantity) in [("a", 3), ("b", 100), ("c", 0), ("d", 4)] {
        fixture.insert_product(pid, "1", quantity).await;
    }
    let error = create(&fixture, "ana", &[("a", 5), ("b", 5), ("c", 1), ("d", 5)]).await.unwrap_err();
    let short = [("a", 5, 3), ("c", 1, 0), ("d", 5, 4)];
    let short = short.map(|(pid, wanted, left)| Short { pid: pid.to_owned(), wanted, left, holds: 0 });
    assert_eq!(error, Error::ShortStock { short: short.to_vec(), more: 0 });
    assert_eq!(fixture.open_orders("ana").await, 0);
    fixture.audit().await;
}

#[tokio::test]
async fn the_unregistered_and_the_closing_are_refused() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", "1", 3).await;
    assert_eq!(
        create(&fixture, "bia", &[("a", 1)]).await,
        Err(Error::UnknownClient { cid: "bia".to_owned() })
    );
    fixture.close_client("ana").await;
    let closing = Error::Closing { kind: Kind::Client, id: "ana".to_owned() };
    assert_eq!(create(&fixture, "ana", &[("a", 1)]).await, Err(closing));
    fixture.audit().await;
}

#[tokio::test]
async fn products_that_are_unknown_or_closing_are_refused() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", "1", 3).await;
    let unknown = Error::NotFound { kind: Kind::Product, id: "x".to_owned() };
    assert_eq!(create(&fixture, "ana", &[("a", 1), ("x", 1)]).await, Err(unknown));
    fixture.close_product("a").await;
    let closing = Error::Closing { kind: Kind::Product, id: "a".to_owned() };
    assert_eq!(create(&fixture, "ana", &[("a", 1)]).await, Err(closing));
    fixture.audit().await;
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let fixture = Fixture::open().await;
    let long = "x".repeat(129);
    let lots: Vec<(String, i64)> = (0..1_001).map(|i| (format!("p{i}"), 1)).collect();
    let lots: Vec<(&str, i64)> = lots.iter().map(|(pid, quantity)| (pid.as_str(), *quantity)).collect();
    for (cid, wanted, field) in [
        ("", &[][..], "cid"),
        (&long, &[], "cid"),
        ("ana", &[("a", -1)], "lines[0].quantity"),
        ("ana", &[("a", 1), ("a", 1_000_000)], "lines[1].quantity"),
        ("ana", &[("", 1)], "lines[0].pid"),
        ("ana", &lots, "lines"),
    ] {
        let error = create(&fixture, cid, wanted).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid { field: at, .. } if at == field), "{field}: {error}");
    }
}

/// Composed and decomposed letters look the same: a line means the product that is there.
#[tokio::test]
async fn a_product_is_ordered_however_its_letters_are_composed() {
    let fixture = Fixture::open().await;
    fixture.insert_product("ma\u{e7}\u{e3}", "1", 10).await;
    fixture.insert_product("pa\u{303}o", "2", 10).await;
    let wanted = [("mac\u{327}a\u{303}", 1), ("ma\u{e7}\u{e3}", 2), ("pa\u{303}o", 1)];
    let order = create(&fixture, "ana", &wanted).await.unwrap();
    let lines: Vec<_> = order.lines.iter().map(|line| (line.pid.as_str(), line.quantity)).collect();
    assert_eq!(lines, [("ma\u{e7}\u{e3}", 3), ("pa\u{303}o", 1)]);
    fixture.audit().await;
}
