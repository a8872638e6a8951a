//! The rules of a product's stock, as clients meet them: safety stock, backorder, smallest and largest quantity, not tracked; at once
//! and repeated; and what clients are shown of them.

use portal::Error;
use portal::document::rules::Rules;
use portal::error::Short;
use proto::portal::{
    BrowseProductsRequest, ModifyOrderRequest, Order, OrderRequest, OrderState, ShopGetProductRequest, Stock,
    StockRules,
};

use crate::fixture::{Fixture, answer, creation, id, lines};

const NONE: Rules = Rules {
    safety_stock: 0,
    backorder_limit: 0,
    quantity_min: 0,
    quantity_max: 0,
    untracked: false,
    low_stock: 0,
};

async fn open(quantity: i64, rules: Rules) -> Fixture {
    let fixture = Fixture::open().await;
    fixture.insert_product("fig", "2.00", quantity).await;
    fixture.set_rules("fig", rules).await;
    fixture
}

async fn create(fixture: &Fixture, quantity: i64) -> Result<Order, Error> {
    answer(fixture.shop().create_order(creation("ana", &[("fig", quantity)])).await)
}

async fn modify(fixture: &Fixture, order: &Order, quantity: i64) -> Result<Order, Error> {
    let request = ModifyOrderRequest {
        cid: "ana".to_owned(),
        oid: order.oid.clone(),
        lines: lines(&[("fig", quantity)]),
        ..ModifyOrderRequest::default()
    };
    answer(fixture.shop().modify_order(request).await)
}

async fn cancel(fixture: &Fixture, order: &Order) -> Result<Order, Error> {
    let request = OrderRequest {
        cid: "ana".to_owned(),
        oid: order.oid.clone(),
        request: None,
        ..OrderRequest::default()
    };
    answer(fixture.shop().cancel_order(request).await)
}

fn short(wanted: i64, left: i64, holds: i64) -> Error {
    Error::ShortStock { short: vec![Short { pid: "fig".to_owned(), wanted, left, holds }], more: 0 }
}

fn outside(quantity: i64, least: i64, most: i64) -> Error {
    Error::OutsideQuantity { pid: "fig".to_owned(), quantity, least, most }
}

/// Available and held.
async fn stock(fixture: &Fixture) -> (i64, i64) {
    fixture.audit().await;
    let stock = fixture.stock("fig").await;
    (stock.available, stock.held)
}

#[tokio::test]
async fn orders_leave_the_safety_stock() {
    let fixture = open(10, Rules { safety_stock: 4, ..NONE }).await;
    assert_eq!(create(&fixture, 7).await, Err(short(7, 6, 0)), "what is told is what can be had");
    let order = create(&fixture, 6).await.unwrap();
    assert_eq!(modify(&fixture, &order, 7).await, Err(short(1, 0, 6)));
    assert_eq!(stock(&fixture).await, (4, 6));
    cancel(&fixture, &order).await.unwrap();
    assert_eq!(stock(&fixture).await, (10, 0));
}

#[tokio::test]
async fn orders_take_up_to_the_backorder_limit_and_give_back_below_zero() {
    let fixture = open(3, Rules { backorder_limit: 5, ..NONE }).await;
    let first = create(&fixture, 7).await.unwrap();
    assert_eq!(create(&fixture, 2).await, Err(short(2, 1, 0)));
    let second = create(&fixture, 1).await.unwrap();
    assert_eq!(stock(&fixture).await, (-5, 8));
    modify(&fixture, &first, 6).await.unwrap();
    cancel(&fixture, &second).await.unwrap();
    assert_eq!(stock(&fixture).await, (-3, 6), "still owed");
    assert_eq!(modify(&fixture, &first, 9).await, Err(short(3, 2, 6)));
    modify(&fixture, &first, 8).await.unwrap();
    assert_eq!(stock(&fixture).await, (-5, 8));
}

#[tokio::test]
async fn quantities_outside_the_bounds_are_refused_and_nothing_is_taken() {
    let fixture = open(100, Rules { quantity_min: 2, quantity_max: 20, ..NONE }).await;
    assert_eq!(create(&fixture, 1).await, Err(outside(1, 2, 20)));
    assert_eq!(create(&fixture, 21).await, Err(outside(21, 2, 20)));
    let twice = creation("ana", &[("fig", 15), ("fig", 15)]);
    assert_eq!(answer(fixture.shop().create_order(twice).await), Err(outside(30, 2, 20)), "merged first");
    assert_eq!(stock(&fixture).await, (100, 0));
    let order = create(&fixture, 20).await.unwrap();
    for (quantity, done) in [(21, false), (1, false), (2, true), (2, true), (0, true)] {
        let modified = modify(&fixture, &order, quantity).await;
        let refused = (!done).then(|| outside(quantity, 2, 20));
        assert_eq!(modified.err(), refused, "{quantity}");
    }
    assert_eq!(stock(&fixture).await, (100, 0), "0 takes the line out");
    // Bounds that came after the line bind it when it is changed, and do not keep it from going.
    fixture.set_rules("fig", NONE).await;
    let order = create(&fixture, 50).await.unwrap();
    fixture.set_rules("fig", Rules { quantity_max: 20, ..NONE }).await;
    assert_eq!(modify(&fixture, &order, 40).await, Err(outside(40, 0, 20)));
    assert_eq!(modify(&fixture, &order, 50).await.unwrap().lines[0].quantity, 50, "nothing is changed");
    modify(&fixture, &order, 20).await.unwrap();
    cancel(&fixture, &order).await.unwrap();
    assert_eq!(stock(&fixture).await, (100, 0));
}

#[tokio::test]
async fn what_is_not_tracked_is_ordered_without_stock_and_gives_back_what_was_taken() {
    let fixture = open(3, Rules { untracked: true, ..NONE }).await;
    let free = create(&fixture, 1_000).await.unwrap();
    assert!(free.lines[0].untracked);
    assert_eq!((stock(&fixture).await, fixture.stock("fig").await.open_orders), ((3, 0), 1));
    // Tracked from now on: what comes takes stock, and what is there does not, also when it grows.
    fixture.set_rules("fig", NONE).await;
    let held = create(&fixture, 2).await.unwrap();
    assert!(!held.lines[0].untracked);
    modify(&fixture, &free, 2_000).await.unwrap();
    assert_eq!(stock(&fixture).await, (1, 2));
    fixture.set_rules("fig", Rules { untracked: true, ..NONE }).await;
    assert_eq!(modify(&fixture, &held, 4).await, Err(short(2, 1, 2)), "a line that took stock takes more");
    modify(&fixture, &held, 3).await.unwrap();
    assert_eq!(stock(&fixture).await, (0, 3));
    cancel(&fixture, &free).await.unwrap();
    assert_eq!(cancel(&fixture, &held).await.unwrap().state(), OrderState::Cancelled);
    assert_eq!((stock(&fixture).await, fixture.stock("fig").await.open_orders), ((3, 0), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_at_once_never_pass_the_backorder_limit() {
    let fixture = open(5, Rules { backorder_limit: 15, ..NONE }).await;
    let each = (0..60).map(|_| create(&fixture, 1));
    let (done, refused): (Vec<_>, Vec<_>) =
        futures::future::join_all(each).await.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), refused.len(), stock(&fixture).await), (20, 40, (-15, 20)));
    assert!(refused.iter().all(|one| matches!(one, Err(Error::ShortStock { .. }))), "{refused:?}");
}

#[tokio::test]
async fn repeated_requests_change_nothing_twice_whatever_the_rules_are_meanwhile() {
    let fixture = open(10, Rules { quantity_max: 5, ..NONE }).await;
    let request = |name: &str, quantity: i64| {
        let mut request = creation("ana", &[("fig", quantity)]);
        request.request = id(name);
        request
    };
    let send = |request| async { answer(fixture.shop().create_order(request).await) };
    let made = send(request("a", 5)).await.unwrap();
    let refused = send(request("b", 6)).await;
    assert_eq!(refused, Err(outside(6, 0, 5)));
    fixture.set_rules("fig", Rules { quantity_max: 6, safety_stock: 5, ..NONE }).await;
    assert_eq!(send(request("a", 5)).await, Ok(made));
    assert_eq!(send(request("b", 6)).await, refused, "a refusal is the answer of its id");
    assert_eq!(send(request("c", 6)).await, Err(short(6, 0, 0)));
    assert_eq!(stock(&fixture).await, (5, 5));
}

#[tokio::test]
async fn clients_are_shown_what_they_can_order_and_nothing_of_what_is_the_shops() {
    let all = Rules { safety_stock: 4, quantity_min: 2, quantity_max: 20, low_stock: 50, ..NONE };
    let fixture = open(10, all).await;
    let request = ShopGetProductRequest { cid: "ana".to_owned(), pid: "fig".to_owned() };
    let seen = answer(fixture.shop().get_product(request.clone()).await).unwrap();
    let request_all = BrowseProductsRequest { cid: "ana".to_owned(), ..BrowseProductsRequest::default() };
    let page = answer(fixture.shop().browse_products(request_all).await).unwrap();
    for product in [&seen, &page.products[0]] {
        let Stock { etag, .. } = product.stock.unwrap();
        assert_eq!(product.stock, Some(Stock { available: 6, etag, ..Stock::default() }));
        let bounds = StockRules { quantity_min: 2, quantity_max: 20, ..StockRules::default() };
        assert_eq!((product.rules, product.low), (Some(bounds), false));
    }
    fixture.set_rules("fig", Rules { low_stock: 50, ..NONE }).await;
    let seen = answer(fixture.shop().get_product(request).await).unwrap();
    assert_eq!((seen.rules, seen.low, seen.stock.unwrap().initial), (None, false, 10));
}
