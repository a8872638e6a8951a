//! InsertProduct, UpdateProduct, GetProduct, ListProducts.

use portal::Error;
use portal::error::Kind;
use proto::portal::{GetProductRequest, InsertProductRequest, ListRequest, Product, UpdateProductRequest};
use store_engine::memory::Fault;

use crate::fixture::{Fixture, answer, id, is_invalid};

fn inserting(pid: &str, data: &str) -> InsertProductRequest {
    InsertProductRequest { pid: pid.to_owned(), data: data.to_owned(), request: None, rules: None }
}

fn updating(pid: &str, data: &str) -> UpdateProductRequest {
    let (pid, data) = (pid.to_owned(), data.to_owned());
    UpdateProductRequest { pid, data, if_match: 0, if_match_stock: 0, request: None, rules: None }
}

async fn get(fixture: &Fixture, pid: &str) -> Result<Product, Error> {
    answer(fixture.admin().get_product(GetProductRequest { pid: pid.to_owned() }).await)
}

fn numbers(product: &Product) -> (i64, i64, i64, i64) {
    let stock = product.stock.unwrap();
    (stock.initial, stock.adjusted, stock.available, stock.held)
}

#[tokio::test]
async fn a_product_is_inserted_and_shown_as_one_document() {
    let fixture = Fixture::open().await;
    let data = r#"{"description":"Maçã Fuji","quantity":10,"price":2.5,"origin":{"state":"SC"}}"#;
    let product = answer(fixture.admin().insert_product(inserting("", data)).await).unwrap();
    assert_eq!((product.pid.as_str(), product.price.as_str()), ("maca-fuji", "2.50"));
    assert_eq!(
        (product.description.as_str(), product.extra.as_str()),
        ("Maçã Fuji", r#"{"origin":{"state":"SC"}}"#)
    );
    assert_eq!(numbers(&product), (10, 0, 10, 0));
    assert_eq!(get(&fixture, "maca-fuji").await, Ok(product));
}

#[tokio::test]
async fn taken_and_missing_products_are_refused() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", 1).await;
    let data = r#"{"description":"a","quantity":1,"price":"1"}"#;
    let taken = Error::AlreadyExists { kind: Kind::Product, id: "a".to_owned() };
    assert_eq!(answer(fixture.admin().insert_product(inserting("a", data)).await), Err(taken));
    let missing = || Error::NotFound { kind: Kind::Product, id: "x".to_owned() };
    assert_eq!(get(&fixture, "x").await, Err(missing()));
    assert_eq!(answer(fixture.admin().update_product(updating("x", data)).await), Err(missing()));
    let without = r#"{"description":"a","price":"1"}"#;
    assert_eq!(answer(fixture.admin().update_product(updating("x", without)).await), Err(missing()));
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let fixture = Fixture::open().await;
    for (pid, data, field) in [
        ("", r#"{"description":"--","quantity":1,"price":"1"}"#, "pid"),
        ("a", r#"{"description":"a","price":"1"}"#, "data.quantity"),
        ("a", r#"{"description":"a","quantity":-1,"price":"1"}"#, "data.quantity"),
        ("a", r#"{"description":"a","quantity":1,"price":"1,5"}"#, "data.price"),
        ("a", r#"{"quantity":1,"price":"1"}"#, "data.description"),
        ("a", "nonsense", "data"),
    ] {
        is_invalid(answer(fixture.admin().insert_product(inserting(pid, data)).await), field);
    }
    let data = r#"{"description":"a","price":"1"}"#;
    is_invalid(answer(fixture.admin().update_product(updating("", data)).await), "pid");
    let request = UpdateProductRequest { if_match_stock: 5, ..updating("a", data) };
    is_invalid(answer(fixture.admin().update_product(request).await), "if_match_stock");
}

#[tokio::test]
async fn an_update_without_quantity_leaves_the_stock() {
    let fixture = Fixture::open().await;
    let before = fixture.insert_product("a", 10).await;
    let data = r#"{"description":"better","price":"3","x":1}"#;
    let after = answer(fixture.admin().update_product(updating("a", data)).await).unwrap();
    assert_eq!((after.description.as_str(), after.price.as_str(), after.version), ("better", "3.00", 2));
    assert_eq!(after.stock, before.stock);
    assert_eq!(get(&fixture, "a").await, Ok(after));
}

#[tokio::test]
async fn a_quantity_is_an_adjustment_by_the_difference() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    fixture.insert_product("a", 10).await;
    fixture.order("ana", 1, &[("a", 4)]).await;
    let seen = get(&fixture, "a").await.unwrap();
    let data = r#"{"description":"a","price":"1","quantity":20}"#;
    let request = UpdateProductRequest { if_match_stock: seen.stock.unwrap().etag, ..updating("a", data) };
    let after = answer(fixture.admin().update_product(request.clone()).await).unwrap();
    assert_eq!(numbers(&after), (10, 14, 20, 4));
    // What the administrator saw is no longer so.
    fixture.order("ana", 2, &[("a", 1)]).await;
    let error = answer(fixture.admin().update_product(request).await).unwrap_err();
    let etag = get(&fixture, "a").await.unwrap().stock.unwrap().etag;
    assert_eq!(error, Error::Changed { kind: Kind::Product, id: "a".to_owned(), etag });
    // Without an etag the portal reads it now.
    let after = answer(fixture.admin().update_product(updating("a", data)).await).unwrap();
    assert_eq!(numbers(&after), (10, 15, 20, 5));
}

#[tokio::test]
async fn a_changed_product_is_refused() {
    let fixture = Fixture::open().await;
    let first = fixture.insert_product("a", 10).await;
    let data = r#"{"description":"a","price":"1"}"#;
    let request = UpdateProductRequest { if_match: first.etag, ..updating("a", data) };
    let second = answer(fixture.admin().update_product(request.clone()).await).unwrap();
    let changed = Error::Changed { kind: Kind::Product, id: "a".to_owned(), etag: second.etag };
    assert_eq!(answer(fixture.admin().update_product(request).await), Err(changed));
}

#[tokio::test]
async fn products_are_listed_with_their_stock() {
    let fixture = Fixture::open().await;
    for (pid, quantity) in [("a1", 1), ("a2", 2), ("a3", 3), ("b", 4)] {
        fixture.insert_product(pid, quantity).await;
    }
    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let request = ListRequest { prefix: "a".to_owned(), limit: 2, after, ..ListRequest::default() };
        let page = answer(fixture.admin().list_products(request).await).unwrap();
        listed.extend(page.products.into_iter().map(|one| (one.pid.clone(), numbers(&one).2)));
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    assert_eq!(listed, [("a1".to_owned(), 1), ("a2".to_owned(), 2), ("a3".to_owned(), 3)]);
    let request = ListRequest { limit: 1_001, ..ListRequest::default() };
    is_invalid(answer(fixture.admin().list_products(request).await), "limit");
}

#[tokio::test]
async fn lost_answers_are_settled() {
    let fixture = Fixture::open().await;
    let data = r#"{"description":"a","quantity":7,"price":"1"}"#;
    let request = InsertProductRequest { request: id("r1"), ..inserting("a", data) };
    // In an empty shop the mark of the index (looked for, allowed, set), then the insertion.
    for _ in 0..3 {
        fixture.store.plan(None);
    }
    fixture.store.plan(Some(Fault::LoseAnswer));
    answer(fixture.admin().insert_product(request.clone()).await).unwrap_err();
    answer(fixture.admin().insert_product(request).await).unwrap();
    let data = r#"{"description":"a","quantity":9,"price":"1"}"#;
    let update = UpdateProductRequest { request: id("r2"), ..updating("a", data) };
    // The product and its stock are read, then the transaction is done.
    fixture.store.plan(None);
    fixture.store.plan(None);
    fixture.store.plan(Some(Fault::LoseAnswer));
    answer(fixture.admin().update_product(update.clone()).await).unwrap_err();
    assert_eq!(numbers(&answer(fixture.admin().update_product(update).await).unwrap()), (7, 2, 9, 0));
}
