//! AdjustStock: amounts that move the stock, and those that are refused.

use portal::Error;
use portal::error::{Kind, Short};
use proto::portal::{AdjustStockRequest, Product};
use store_engine::memory::Fault;

use crate::fixture::{Fixture, answer, id, is_invalid};

async fn adjust(fixture: &Fixture, pid: &str, amount: i64) -> Result<Product, Error> {
    let request = AdjustStockRequest { pid: pid.to_owned(), amount, request: None, if_match_stock: 0 };
    answer(fixture.admin().adjust_stock(request).await)
}

#[tokio::test]
async fn stock_moves_by_the_amount() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", 10).await;
    let product = adjust(&fixture, "a", 5).await.unwrap();
    assert_eq!(product.description, "a");
    let stock = adjust(&fixture, "a", -15).await.unwrap().stock.unwrap();
    assert_eq!((stock.initial, stock.adjusted, stock.available), (10, -10, 0));
    assert!(fixture.stock("a").await.unwrap().is_conserved());
}

#[tokio::test]
async fn stock_does_not_fall_below_zero() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", 10).await;
    let short = vec![Short { pid: "a".to_owned(), wanted: 11, left: 10, holds: 0 }];
    assert_eq!(adjust(&fixture, "a", -11).await, Err(Error::ShortStock { short, more: 0 }));
    assert_eq!(fixture.stock("a").await.unwrap().available, 10);
}

#[tokio::test]
async fn missing_products_and_wrong_amounts_are_refused() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", 10).await;
    let missing = Error::NotFound { kind: Kind::Product, id: "x".to_owned() };
    assert_eq!(adjust(&fixture, "x", 1).await, Err(missing));
    for amount in [0, i64::MIN, i64::MAX, 1_000_000_000_001] {
        is_invalid(adjust(&fixture, "a", amount).await, "amount");
    }
    is_invalid(adjust(&fixture, "", 1).await, "pid");
}

#[tokio::test]
async fn a_lost_answer_does_not_adjust_twice() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", 10).await;
    let request = AdjustStockRequest { pid: "a".to_owned(), amount: 5, request: id("r1"), if_match_stock: 0 };
    fixture.store.plan(Some(Fault::LoseAnswer));
    let lost = answer(fixture.admin().adjust_stock(request.clone()).await).unwrap_err();
    assert!(lost.may_have_happened());
    assert_eq!(answer(fixture.admin().adjust_stock(request).await).unwrap().stock.unwrap().available, 15);
}

#[tokio::test]
async fn an_adjustment_of_a_stock_that_has_moved_is_refused() {
    let fixture = Fixture::open().await;
    let seen = fixture.insert_product("a", 10).await.stock.unwrap().etag;
    let of = |amount: i64, if_match_stock: u64| AdjustStockRequest {
        pid: "a".to_owned(),
        amount,
        if_match_stock,
        ..AdjustStockRequest::default()
    };
    for amount in [5, -5] {
        adjust(&fixture, "a", 1).await.unwrap();
        let changed = answer(fixture.admin().adjust_stock(of(amount, seen)).await).unwrap_err();
        assert!(
            matches!(&changed, Error::Changed { kind: Kind::Product, etag, .. } if *etag > seen),
            "{changed}"
        );
    }
    let now = adjust(&fixture, "a", 1).await.unwrap().stock.unwrap().etag;
    let set = answer(fixture.admin().adjust_stock(of(-13, now)).await).unwrap();
    assert_eq!(set.stock.unwrap().available, 0);
}
