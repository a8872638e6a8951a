//! The prices and totals that a client was shown, named in a request: the price of a line, the total of an order that is confirmed. If it is another now,
//! nothing is done, and both are told.

use portal::Error;
use portal::document::shop::{SCHEMA_VERSION, ShopRecord};
use portal::document::write;
use portal::error::Repriced;
use portal::key;
use portal::money::{Price, Total};
use proto::portal::{CreateOrderRequest, LineChange, ModifyOrderRequest, Order, OrderRequest};
use proto::store::Txn;

use crate::fixture::{Fixture, answer, change, creation, id, naming};

fn priced(pid: &str, quantity: i64, price: &str) -> LineChange {
    LineChange { pid: pid.to_owned(), quantity, expect_price: price.to_owned(), ..LineChange::default() }
}

fn creating(lines: Vec<LineChange>) -> CreateOrderRequest {
    CreateOrderRequest { lines, ..creation("ana", &[]) }
}

fn modifying(order: &Order, lines: Vec<LineChange>) -> ModifyOrderRequest {
    ModifyOrderRequest { lines, ..change(order, &[]) }
}

fn confirming(order: &Order, total: &str) -> OrderRequest {
    OrderRequest { expect_total: total.to_owned(), ..naming(order) }
}

fn changed(all: &[(&str, &str, &str)]) -> Error {
    let price = |text: &str| Price::parse(text).unwrap();
    let one = |(pid, expected, now): &(&str, &str, &str)| Repriced {
        pid: (*pid).to_owned(),
        expected: price(expected),
        price: price(now),
    };
    Error::PriceChanged { changed: all.iter().map(one).collect(), more: 0 }
}

async fn open() -> Fixture {
    let fixture = Fixture::open().await;
    fixture.insert_product("fig", "2.50", 10).await;
    fixture.insert_product("pen", "1.00", 10).await;
    fixture
}

#[tokio::test]
async fn an_order_at_other_prices_than_were_shown_is_not_made() {
    let fixture = open().await;
    let asked = creating(vec![priced("fig", 2, "2.5"), priced("pen", 1, "1"), priced("fig", 1, "")]);
    let order = answer(fixture.shop().create_order(asked).await).unwrap();
    assert_eq!(order.total, "8.50");
    fixture.set_price("fig", "2.60").await;
    fixture.set_price("pen", "0.995").await;
    let asked = CreateOrderRequest {
        request: id("r1"),
        ..creating(vec![priced("fig", 2, "2.50"), priced("pen", 1, "1.00")])
    };
    let refused = changed(&[("fig", "2.50", "2.60"), ("pen", "1.00", "0.995")]);
    for _ in 0..2 {
        let told = answer(fixture.shop().create_order(asked.clone()).await);
        let Err(Error::PriceChanged { changed: mut all, more: 0 }) = told else { panic!("{told:?}") };
        all.sort_by(|a, b| a.pid.cmp(&b.pid));
        assert_eq!(Error::PriceChanged { changed: all, more: 0 }, refused);
    }
    assert_eq!((fixture.stock("fig").await.held, fixture.open_orders("ana").await), (3, 1));
    let now = creating(vec![priced("fig", 2, "2.6"), priced("pen", 1, "0.9950")]);
    answer(fixture.shop().create_order(now).await).unwrap();
    fixture.audit().await;
}

#[tokio::test]
async fn a_line_that_is_there_is_expected_at_the_price_that_it_keeps() {
    let fixture = open().await;
    let order = answer(fixture.shop().create_order(creation("ana", &[("fig", 2)])).await).unwrap();
    fixture.set_price("fig", "3.00").await;
    for quantity in [0, 2, 5] {
        let asked = modifying(&order, vec![priced("fig", quantity, "3.00")]);
        let told = answer(fixture.shop().modify_order(asked).await);
        assert_eq!(told, Err(changed(&[("fig", "3.00", "2.50")])), "{quantity}");
    }
    assert_eq!(fixture.stock("fig").await.held, 2);
    let both = modifying(&order, vec![priced("fig", 5, "2.5"), priced("pen", 1, "2")]);
    assert_eq!(answer(fixture.shop().modify_order(both).await), Err(changed(&[("pen", "2", "1.00")])));
    assert_eq!(fixture.stock("fig").await.held, 2, "all or nothing");
    let kept = modifying(&order, vec![priced("fig", 5, "2.5"), priced("pen", 1, "1")]);
    assert_eq!(answer(fixture.shop().modify_order(kept).await).unwrap().total, "13.50");
    fixture.audit().await;
}

#[tokio::test]
async fn a_confirmation_of_another_total_than_was_shown_is_refused() {
    let fixture = open().await;
    fixture.insert_product("nut", "0.115", 10).await;
    let order = answer(fixture.shop().create_order(creation("ana", &[("nut", 3)])).await).unwrap();
    let total = |text: &str| Total::parse(text).unwrap();
    let refused =
        Error::TotalChanged { oid: order.oid.clone(), expected: total("0.34"), total: total("0.345") };
    let asked = OrderRequest { request: id("r1"), ..confirming(&order, "0.34") };
    for _ in 0..2 {
        assert_eq!(answer(fixture.shop().confirm_order(asked.clone()).await), Err(refused.clone()));
    }
    let again = answer(
        fixture
            .shop()
            .get_order(proto::portal::GetOrderRequest { cid: "ana".into(), oid: order.oid.clone() })
            .await,
    );
    assert_eq!(again.unwrap(), order, "nothing was done");
    // As it is shown to people, and as it is.
    answer(fixture.shop().confirm_order(confirming(&order, "0.35")).await).unwrap();
    answer(fixture.shop().confirm_order(confirming(&order, "0.3450")).await).unwrap();
    assert!(answer(fixture.shop().confirm_order(confirming(&order, "1")).await).is_err());
    fixture.audit().await;
}

/// What the shop said last is a while old; the store is asked before a total is refused by it.
#[tokio::test]
async fn a_total_is_as_shown_by_the_decimals_that_the_shop_has_now() {
    let fixture = open().await;
    let order = answer(fixture.shop().create_order(creation("ana", &[("fig", 1)])).await).unwrap();
    assert_eq!(order.total_shown, "2.50");
    let shop = ShopRecord { schema: SCHEMA_VERSION, decimals: Some(0), ..ShopRecord::default() };
    fixture.done(Txn::new().put(key::shop(), 1, write(&shop))).await;
    let confirmed = answer(fixture.shop().confirm_order(confirming(&order, "3")).await).unwrap();
    assert_eq!(confirmed.total_shown, "3");
}

#[tokio::test]
async fn what_cannot_be_expected_is_named() {
    let fixture = open().await;
    let order = answer(fixture.shop().create_order(creation("ana", &[("fig", 2)])).await).unwrap();
    let field = |told: Result<Order, Error>| match told {
        Err(Error::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    for (lines, wrong) in [
        (vec![priced("fig", 1, "2,50")], "lines[0].expect_price"),
        (vec![priced("fig", 1, ""), priced("pen", 1, "-1")], "lines[1].expect_price"),
        (vec![priced("fig", 1, "2.5"), priced("fig", 1, "2.51")], "lines[1].expect_price"),
    ] {
        assert_eq!(field(answer(fixture.shop().modify_order(modifying(&order, lines)).await)), wrong);
    }
    let confirmed = fixture.shop().confirm_order(confirming(&order, "5,00")).await;
    assert_eq!(field(answer(confirmed)), "expect_total");
    let cancelled = fixture.shop().cancel_order(confirming(&order, "5.00")).await;
    assert_eq!(field(answer(cancelled)), "expect_total");
}
