//! The shop's own record: its rules, and the version that keeps earlier portals from serving.

use portal::Error;
use portal::document::shop::SCHEMA_VERSION;
use portal::error::Kind;
use portal::key;
use portal::money::Total;
use proto::portal::{
    GetClientRequest, GetShopRequest, ShopRules, StaffGetOrderRequest, StaffListOrdersRequest,
    UpdateShopRequest,
};
use proto::store::Txn;
use store_client::Store;

use crate::fixture::{Fixture, answer, id, is_invalid};

async fn get(fixture: &Fixture) -> ShopRules {
    answer(fixture.admin().get_shop(GetShopRequest {}).await).unwrap()
}

async fn set(fixture: &Fixture, request: UpdateShopRequest) -> Result<ShopRules, Error> {
    answer(fixture.admin().update_shop(request).await)
}

fn rules(hold_minutes: u32, currency: &str) -> UpdateShopRequest {
    UpdateShopRequest { hold_minutes, currency: currency.to_owned(), ..UpdateShopRequest::default() }
}

async fn put(fixture: &Fixture, data: &'static str) {
    fixture.store.txn(Txn::new().put(key::shop(), 1, data), None).await.unwrap();
}

#[tokio::test]
async fn the_first_portal_raises_the_version_of_a_shop_and_finds_its_orders_listed() {
    let fixture = Fixture::open().await;
    let shop = fixture
        .until("the shop is tended", async || Some(get(&fixture).await).filter(|shop| shop.orders_listed))
        .await;
    assert_eq!((shop.schema, shop.hold_minutes, shop.currency.as_str()), (SCHEMA_VERSION, 0, ""));
}

#[tokio::test]
async fn rules_are_set_as_a_whole_and_a_repetition_sets_nothing_twice() {
    let fixture = Fixture::open().await;
    let request = UpdateShopRequest { request: id("r1"), ..rules(30, "BRL") };
    let first = set(&fixture, request.clone()).await.unwrap();
    assert_eq!((first.hold_minutes, first.currency.as_str()), (30, "BRL"));
    let other = set(&fixture, rules(0, "EUR")).await.unwrap();
    assert!(other.etag > first.etag && other.hold_minutes == 0);
    assert_eq!(set(&fixture, request).await.unwrap(), first, "the answer of then");
    assert_eq!(get(&fixture).await.currency, "EUR");
    let reused = set(&fixture, UpdateShopRequest { request: id("r1"), ..rules(31, "BRL") }).await;
    assert_eq!(reused, Err(Error::RequestReused { request: "r1".to_owned() }));
}

#[tokio::test]
async fn rules_are_set_over_the_version_that_was_seen_only() {
    let fixture = Fixture::open().await;
    let seen = set(&fixture, rules(30, "")).await.unwrap();
    let set_again = set(&fixture, UpdateShopRequest { if_match: seen.etag, ..rules(45, "") }).await;
    // The portal may write the record meanwhile, since it lists the orders.
    let now = match set_again {
        Ok(now) => now,
        Err(_) => get(&fixture).await,
    };
    let stale = set(&fixture, UpdateShopRequest { if_match: seen.etag, ..rules(60, "") }).await;
    let changed = |etag| Err(Error::Changed { kind: Kind::Shop, id: "rules".to_owned(), etag });
    assert!(stale == changed(now.etag) || stale == changed(get(&fixture).await.etag), "{stale:?}");
}

#[tokio::test]
async fn wrong_rules_are_refused_and_named() {
    let fixture = Fixture::open().await;
    is_invalid(set(&fixture, rules(527_041, "")).await, "hold_minutes");
    for bad in ["R$", "brl", "REAL", "B L"] {
        is_invalid(set(&fixture, rules(1, bad)).await, "currency");
    }
    let decimals = UpdateShopRequest { decimals: Some(9), ..rules(1, "") };
    is_invalid(set(&fixture, decimals).await, "decimals");
    assert_eq!(get(&fixture).await.hold_minutes, 0);
}

#[tokio::test]
async fn totals_are_shown_with_the_decimals_of_the_shop_and_kept_exactly() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    fixture.insert_product("a", 10).await;
    let oid = fixture.order("ana", 1, &[("a", 3)]).await;
    let order = async || {
        let asked = StaffGetOrderRequest { cid: "ana".into(), oid: oid.to_string() };
        answer(fixture.admin().get_order(asked).await).unwrap()
    };
    let exact = Total::parse(&order().await.total).unwrap();
    assert_eq!(order().await.total_shown, exact.rounded_text(2));
    let asked = UpdateShopRequest { decimals: Some(0), ..rules(0, "") };
    assert_eq!(set(&fixture, asked).await.unwrap().decimals, Some(0));
    let is_whole = async || Some(order().await).filter(|order| order.total_shown == exact.rounded_text(0));
    let shown = fixture.until("the portal knows the rule", is_whole).await;
    assert_eq!(Total::parse(&shown.total), Ok(exact));
    let listed = answer(fixture.admin().list_orders(StaffListOrdersRequest::default()).await).unwrap();
    assert_eq!(listed.orders[0].total_shown, shown.total_shown);
    set(&fixture, rules(0, "")).await.unwrap();
    assert_eq!(get(&fixture).await.decimals, None, "rules are set as a whole");
}

#[tokio::test]
async fn a_portal_of_an_earlier_program_than_the_shops_records_serves_nothing() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    put(&fixture, r#"{"schema":99,"loyalty":"gold"}"#).await;
    let outdated = Error::Outdated { schema: 99, known: SCHEMA_VERSION };
    let ask = async || answer(fixture.admin().get_client(GetClientRequest { cid: "ana".to_owned() }).await);
    let refused = fixture.until("the portal sees it", async || ask().await.err()).await;
    assert_eq!(refused, outdated);
    assert_eq!(set(&fixture, rules(1, "")).await, Err(outdated));
    assert_eq!(fixture.record(key::shop()).await.unwrap().data, r#"{"schema":99,"loyalty":"gold"}"#);
    put(&fixture, r#"{"schema":2}"#).await;
    fixture.until("it serves again", async || ask().await.ok()).await;
}

#[tokio::test]
async fn a_damaged_record_of_the_shop_is_named() {
    let fixture = Fixture::open().await;
    put(&fixture, r#"{"schema":2,"hold_ms":"long"}"#).await;
    let ask = async || answer(fixture.admin().get_shop(GetShopRequest {}).await);
    let refused = fixture.until("the portal sees it", async || ask().await.err()).await;
    assert!(matches!(&refused, Error::Damaged { key, .. } if key == "shop"), "{refused}");
}
