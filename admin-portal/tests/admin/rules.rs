//! The rules of a product's stock, set and changed by staff: each one's success and failure, what the present stock breaks, repeated
//! requests, stocks of earlier versions, deletion and insertion anew, and the moves of orders that have them.

use portal::document::stock::StockRecord;
use portal::error::Kind;
use portal::id::Pid;
use portal::{Error, key};
use proto::portal::{
    AdjustStockRequest, DeleteProductRequest, InsertProductRequest, Product, StaffMoveRequest,
    StaffOrderRequest, StockRules, UpdateProductRequest,
};
use store_client::Store;
use store_engine::memory::Fault;

use crate::fixture::{Fixture, answer, id, is_invalid};

const NONE: StockRules = StockRules {
    safety_stock: 0,
    backorder_limit: 0,
    quantity_min: 0,
    quantity_max: 0,
    untracked: false,
    low_stock: 0,
};

fn safety(units: i64) -> StockRules {
    StockRules { safety_stock: units, ..NONE }
}

fn backorder(units: i64) -> StockRules {
    StockRules { backorder_limit: units, ..NONE }
}

async fn insert(fixture: &Fixture, quantity: i64, rules: StockRules) -> Result<Product, Error> {
    let data = format!(r#"{{"description":"fig","price":"2.50","quantity":{quantity},"from":"SC"}}"#);
    let request = InsertProductRequest { pid: "fig".to_owned(), data, request: None, rules: Some(rules) };
    answer(fixture.admin().insert_product(request).await)
}

fn updating(rules: Option<StockRules>) -> UpdateProductRequest {
    let data = r#"{"description":"Fig","price":"3","from":"PR"}"#.to_owned();
    UpdateProductRequest { pid: "fig".to_owned(), data, rules, ..UpdateProductRequest::default() }
}

async fn update(fixture: &Fixture, request: UpdateProductRequest) -> Result<Product, Error> {
    answer(fixture.admin().update_product(request).await)
}

async fn adjust(fixture: &Fixture, amount: i64) -> Result<i64, Error> {
    let request = AdjustStockRequest { pid: "fig".to_owned(), amount, request: None, if_match_stock: 0 };
    Ok(answer(fixture.admin().adjust_stock(request).await)?.stock.unwrap().available)
}

fn broken(least: i64, available: i64) -> Error {
    Error::RuleBroken { pid: "fig".to_owned(), least, available }
}

/// The stock as it is stored, its laws checked.
async fn stock(fixture: &Fixture) -> StockRecord {
    let stock = fixture.stock("fig").await.unwrap();
    assert!(stock.is_conserved(), "{stock:?}");
    stock
}

#[tokio::test]
async fn a_product_is_inserted_with_rules_and_staff_are_shown_them() {
    let fixture = Fixture::open().await;
    let rules = StockRules { safety_stock: 5, quantity_min: 2, quantity_max: 9, low_stock: 12, ..NONE };
    let made = insert(&fixture, 12, rules).await.unwrap();
    assert_eq!((made.rules, made.low, made.stock.unwrap().least), (Some(rules), true, 5));
    assert_eq!(adjust(&fixture, 1).await, Ok(13));
    let request = proto::portal::GetProductRequest { pid: "fig".to_owned() };
    let seen = answer(fixture.admin().get_product(request).await).unwrap();
    assert_eq!((seen.rules, seen.low), (Some(rules), false));
    // Without rules the records are as those of earlier versions.
    fixture.insert_product("kiwi", 1).await;
    for at in [key::product, key::stock].map(|key| key(&Pid::parse("pid", "kiwi").unwrap())) {
        let text = String::from_utf8(fixture.record(at).await.unwrap().data.to_vec()).unwrap();
        assert!(!text.contains("rules") && !text.contains("least"), "{text}");
    }
}

#[tokio::test]
async fn wrong_rules_are_refused_by_their_names() {
    let fixture = Fixture::open().await;
    is_invalid(insert(&fixture, 1, safety(-1)).await, "rules.safety_stock");
    is_invalid(insert(&fixture, 4, safety(5)).await, "data.quantity");
    insert(&fixture, 5, safety(5)).await.unwrap();
    for (rules, field) in [
        (StockRules { backorder_limit: 1, ..safety(1) }, "rules.backorder_limit"),
        (StockRules { quantity_min: 3, quantity_max: 2, ..NONE }, "rules.quantity_min"),
        (StockRules { untracked: true, ..safety(1) }, "rules.untracked"),
        (StockRules { low_stock: -1, ..NONE }, "rules.low_stock"),
    ] {
        is_invalid(update(&fixture, updating(Some(rules))).await, field);
    }
    assert_eq!(stock(&fixture).await.least, 5);
}

#[tokio::test]
async fn an_update_without_rules_keeps_them_and_one_with_rules_replaces_all() {
    let fixture = Fixture::open().await;
    let rules = StockRules { quantity_max: 9, ..safety(5) };
    insert(&fixture, 10, rules).await.unwrap();
    let updated = update(&fixture, updating(None)).await.unwrap();
    assert_eq!((updated.rules, updated.stock.unwrap().least), (Some(rules), 5));
    assert_eq!((updated.price.as_str(), updated.extra.as_str()), ("3.00", r#"{"from":"PR"}"#));
    let updated = update(&fixture, updating(Some(backorder(3)))).await.unwrap();
    assert_eq!((updated.rules, updated.stock.unwrap().least), (Some(backorder(3)), -3));
    let updated = update(&fixture, updating(Some(NONE))).await.unwrap();
    assert_eq!((updated.rules, updated.stock.unwrap().least), (None, 0));
    assert_eq!(adjust(&fixture, -10).await, Ok(0));
}

#[tokio::test]
async fn a_rule_that_the_present_stock_breaks_is_refused_and_changes_nothing() {
    let fixture = Fixture::open().await;
    fixture.insert_product("fig", 4).await;
    assert_eq!(update(&fixture, updating(Some(safety(5)))).await, Err(broken(5, 4)));
    let request = proto::portal::GetProductRequest { pid: "fig".to_owned() };
    let seen = answer(fixture.admin().get_product(request).await).unwrap();
    assert_eq!((seen.rules, seen.price.as_str(), seen.stock.unwrap().least), (None, "2.50", 0));
    // With a quantity that keeps to it, in one request, it is done.
    let data = r#"{"description":"fig","price":"2.50","quantity":6}"#.to_owned();
    let both = UpdateProductRequest { data, ..updating(Some(safety(5))) };
    assert_eq!(update(&fixture, both.clone()).await.unwrap().stock.unwrap().available, 6);
    let less = both.data.replace('6', "3");
    let kept = UpdateProductRequest { data: less.clone(), rules: None, ..both.clone() };
    assert_eq!(update(&fixture, kept).await, Err(broken(5, 3)), "by the rule that is there");
    assert_eq!(update(&fixture, UpdateProductRequest { data: less, ..both }).await, Err(broken(5, 3)));
    // What is owed already may not be forbidden.
    update(&fixture, updating(Some(backorder(8)))).await.unwrap();
    assert_eq!(adjust(&fixture, -10).await, Ok(-4));
    assert_eq!(update(&fixture, updating(Some(backorder(3)))).await, Err(broken(-3, -4)));
    assert_eq!(update(&fixture, updating(Some(NONE))).await, Err(broken(0, -4)));
    assert_eq!(update(&fixture, updating(Some(backorder(4)))).await.unwrap().stock.unwrap().least, -4);
    stock(&fixture).await;
}

#[tokio::test]
async fn adjustments_keep_to_the_rules() {
    let fixture = Fixture::open().await;
    insert(&fixture, 8, safety(5)).await.unwrap();
    assert_eq!(adjust(&fixture, -3).await, Ok(5));
    assert_eq!(adjust(&fixture, -1).await, Err(broken(5, 4)));
    update(&fixture, updating(Some(backorder(2)))).await.unwrap();
    assert_eq!(adjust(&fixture, -7).await, Ok(-2));
    assert_eq!(adjust(&fixture, -1).await, Err(broken(-2, -3)));
    assert_eq!(adjust(&fixture, 1).await, Ok(-1), "what comes may leave it below zero");
    assert_eq!(stock(&fixture).await.adjusted, -9);
}

#[tokio::test]
async fn rules_that_are_sent_twice_are_set_once() {
    let fixture = Fixture::open().await;
    fixture.insert_product("fig", 10).await;
    let request = UpdateProductRequest { request: id("r"), ..updating(Some(safety(5))) };
    // The product is read, then the transaction is done.
    fixture.store.plan(None);
    fixture.store.plan(Some(Fault::LoseAnswer));
    assert!(update(&fixture, request.clone()).await.unwrap_err().may_have_happened());
    update(&fixture, updating(Some(safety(7)))).await.unwrap();
    let again = update(&fixture, request).await.unwrap();
    assert_eq!(
        (again.rules, stock(&fixture).await.least),
        (Some(safety(5)), 7),
        "answered as then, and not set back"
    );
    let refused = UpdateProductRequest { request: id("s"), ..updating(Some(safety(11))) };
    assert_eq!(update(&fixture, refused.clone()).await, Err(broken(11, 10)));
    assert_eq!(adjust(&fixture, 5).await, Ok(15));
    assert_eq!(update(&fixture, refused).await, Err(broken(11, 10)), "a refusal is the answer, too");
    let other = UpdateProductRequest { request: id("r"), ..updating(Some(safety(6))) };
    assert!(matches!(update(&fixture, other).await, Err(Error::RequestReused { .. })));
}

#[tokio::test]
async fn a_stock_of_an_earlier_version_takes_rules() {
    let fixture = Fixture::open().await;
    fixture.insert_product("fig", 9).await;
    let at = key::stock(&Pid::parse("pid", "fig").unwrap());
    let before = r#"{"initial":9,"adjusted":0,"available":9,"held":0,"open_orders":0}"#;
    let txn = proto::store::Txn::new().put(at.clone(), 1, before);
    assert!(fixture.store.txn(txn, None).await.unwrap().success);
    assert_eq!(adjust(&fixture, -1).await, Ok(8));
    let bytes = fixture.record(at.clone()).await.unwrap().data;
    let adjusted = before.replace("\"adjusted\":0,\"available\":9", "\"adjusted\":-1,\"available\":8");
    assert_eq!(String::from_utf8_lossy(&bytes), adjusted, "only numbers moved");
    assert_eq!(update(&fixture, updating(Some(safety(8)))).await.unwrap().stock.unwrap().least, 8);
    assert_eq!(adjust(&fixture, -1).await, Err(broken(8, 7)));
    stock(&fixture).await;
}

#[tokio::test]
async fn a_product_that_goes_leaves_no_rule_and_comes_back_with_its_own() {
    for rules in [safety(5), backorder(5)] {
        let fixture = Fixture::open().await;
        fixture.insert_client("ana").await;
        insert(&fixture, 9, rules).await.unwrap();
        let oid = fixture.order("ana", 1, &[("fig", 4)]).await;
        fixture.confirm("ana", &oid).await;
        let request = DeleteProductRequest { pid: "fig".to_owned(), ..DeleteProductRequest::default() };
        answer(fixture.admin().delete_product(request).await).unwrap();
        let left = stock(&fixture).await;
        assert_eq!((left.least, left.available, left.held), (0, 0, 4));
        insert(&fixture, 7, safety(6)).await.unwrap();
        let back = stock(&fixture).await;
        assert_eq!((back.least, back.available, back.held), (6, 7, 4));
    }
}

#[tokio::test]
async fn backorders_come_and_go_below_zero_and_untracked_orders_move_nothing() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    insert(&fixture, 2, backorder(9)).await.unwrap();
    let ahead = [fixture.order("ana", 1, &[("fig", 5)]).await, fixture.order("ana", 2, &[("fig", 6)]).await];
    assert_eq!((stock(&fixture).await.available, stock(&fixture).await.held), (-9, 11));
    update(&fixture, UpdateProductRequest { rules: Some(backorder(9)), ..updating(None) }).await.unwrap();
    for oid in &ahead {
        fixture.confirm("ana", oid).await;
    }
    pay(&fixture, ahead[0].as_str()).await;
    // Given back into what is still owed.
    let refund = StaffOrderRequest {
        cid: "ana".to_owned(),
        oid: ahead[0].to_string(),
        reason: "took too long".to_owned(),
        ..StaffOrderRequest::default()
    };
    answer(fixture.admin().refund_order(refund).await).unwrap();
    assert_eq!((stock(&fixture).await.available, stock(&fixture).await.held), (-4, 6));

    adjust(&fixture, 4).await.unwrap();
    update(&fixture, updating(Some(StockRules { untracked: true, ..NONE }))).await.unwrap();
    let free = fixture.order("ana", 3, &[("fig", 1_000)]).await;
    assert_eq!((stock(&fixture).await.available, stock(&fixture).await.open_orders), (0, 1));
    let held = DeleteProductRequest { pid: "fig".to_owned(), ..DeleteProductRequest::default() };
    let refused = answer(fixture.admin().delete_product(held).await).unwrap_err();
    assert!(matches!(refused, Error::Held { kind: Kind::Product, .. }), "{refused}");
    fixture.confirm("ana", &free).await;
    pay(&fixture, free.as_str()).await;
    // Tracked again: the order goes its way as it came.
    update(&fixture, updating(Some(NONE))).await.unwrap();
    for pack_or_send in ["pack", "send"] {
        let request = moving(free.as_str());
        let mut admin = fixture.admin();
        let moved = match pack_or_send {
            "pack" => admin.pack_order(request).await,
            _ => admin.send_order(request).await,
        };
        answer(moved).unwrap();
    }
    let stock = stock(&fixture).await;
    assert_eq!((stock.available, stock.held, stock.sold), (0, 6, 0));
}

fn moving(oid: &str) -> StaffMoveRequest {
    StaffMoveRequest { cid: "ana".to_owned(), oid: oid.to_owned(), ..StaffMoveRequest::default() }
}

async fn pay(fixture: &Fixture, oid: &str) {
    answer(fixture.admin().pay_order(moving(oid)).await).unwrap();
}
