//! ConfirmOrder and CancelOrder; starting, stopping, health and reflection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portal::config::{Bus, StartError};
use portal::error::Kind;
use portal::{Config, Error};
use proto::portal::{Order, OrderRequest, OrderState};
use store_engine::memory::{Fault, MemoryStore};

use crate::fixture::{Fixture, answer, create, creation, id, modify, naming};

#[tokio::test]
async fn cancelling_puts_the_stock_back_once() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", "1", 10).await;
    let order = create(&fixture, "ana", &[("a", 4)]).await.unwrap();
    let cancelled = answer(fixture.shop().cancel_order(naming(&order)).await).unwrap();
    assert_eq!((cancelled.state(), cancelled.total.as_str()), (OrderState::Cancelled, "4.00"));
    assert_eq!(fixture.stock("a").await.available, 10);
    let again = answer(fixture.shop().cancel_order(naming(&order)).await).unwrap();
    assert_eq!(again, cancelled, "the same version: nothing changed");
    assert_eq!(fixture.stock("a").await.available, 10);
    assert_eq!(fixture.open_orders("ana").await, 0);
    fixture.audit().await;
}

#[tokio::test]
async fn confirming_freezes_an_order_and_keeps_its_stock() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", "1", 10).await;
    let order = create(&fixture, "ana", &[("a", 4)]).await.unwrap();
    let confirmed = answer(fixture.shop().confirm_order(naming(&order)).await).unwrap();
    assert_eq!(confirmed.state(), OrderState::Confirmed);
    let stock = fixture.stock("a").await;
    assert_eq!((stock.available, stock.held, stock.open_orders), (6, 4, 0));
    assert_eq!(fixture.open_orders("ana").await, 0);
    assert_eq!(answer(fixture.shop().confirm_order(naming(&order)).await).unwrap(), confirmed);
    let not_open = Error::NotOpen { oid: order.oid.clone(), state: "confirmed".to_owned() };
    assert_eq!(answer(fixture.shop().cancel_order(naming(&order)).await), Err(not_open));
    fixture.audit().await;
}

/// Confirmed it could never be undone, and it sells nothing.
#[tokio::test]
async fn an_order_without_lines_is_not_confirmed_and_stays_open() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", "1", 10).await;
    let empty = || create(&fixture, "ana", &[]);
    let order = empty().await.unwrap();
    let refused = Error::OrderEmpty { oid: order.oid.clone() };
    let confirm = |request: &str| OrderRequest { request: id(request), ..naming(&order) };
    assert_eq!(answer(fixture.shop().confirm_order(confirm("r1")).await), Err(refused.clone()));
    let filled = modify(&fixture, &order, &[("a", 2)]).await.unwrap();
    let again = answer(fixture.shop().confirm_order(confirm("r1")).await);
    assert_eq!(again, Err(refused), "the same request has the same answer");
    let emptied = modify(&fixture, &filled, &[("a", 0)]).await.unwrap();
    assert_eq!((emptied.state(), emptied.lines.len()), (OrderState::Open, 0));
    modify(&fixture, &order, &[("a", 3)]).await.unwrap();
    let confirmed = answer(fixture.shop().confirm_order(confirm("r2")).await).unwrap();
    assert_eq!((confirmed.state(), confirmed.total.as_str()), (OrderState::Confirmed, "3.00"));
    let other = empty().await.unwrap();
    answer(fixture.shop().cancel_order(naming(&other)).await).unwrap();
    fixture.audit().await;
}

/// The order gets a line after the portal has read it, and before the store judges.
#[tokio::test]
async fn an_order_that_is_filled_while_it_is_confirmed_is_confirmed_once() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", "1", 10).await;
    let order = create(&fixture, "ana", &[]).await.unwrap();
    let confirm = OrderRequest { request: id("r1"), ..naming(&order) };
    // What this portal's cache does not know is read; then the confirmation comes late.
    let mut shop = fixture.shop();
    fixture.store.plan(None);
    fixture.store.plan(Some(Fault::DelayBefore(Duration::from_secs(3))));
    let sent = confirm.clone();
    let confirming = tokio::spawn(async move { answer(shop.confirm_order(sent).await) });
    let deadline = Instant::now() + Duration::from_secs(60);
    while fixture.store.planned() > 0 {
        assert!(Instant::now() < deadline, "the confirmation is under way");
        tokio::task::yield_now().await;
    }
    fixture.fill(&order, "a", 2).await;
    let confirmed = confirming.await.unwrap().unwrap();
    assert_eq!((confirmed.state(), confirmed.lines.len()), (OrderState::Confirmed, 1));
    assert_eq!(answer(fixture.shop().confirm_order(confirm).await), Ok(confirmed));
    fixture.audit().await;
}

#[tokio::test]
async fn cancelled_orders_are_not_confirmed() {
    let fixture = Fixture::open().await;
    let order = create(&fixture, "ana", &[]).await.unwrap();
    answer(fixture.shop().cancel_order(naming(&order)).await).unwrap();
    let not_open = Error::NotOpen { oid: order.oid.clone(), state: "cancelled".to_owned() };
    assert_eq!(answer(fixture.shop().confirm_order(naming(&order)).await), Err(not_open));
}

#[tokio::test]
async fn strangers_the_unknown_and_the_closing_are_refused() {
    let fixture = Fixture::open().await;
    fixture.insert_client("bia").await;
    let order = create(&fixture, "ana", &[]).await.unwrap();
    let of = |cid: &str, oid: &str| Order { cid: cid.to_owned(), oid: oid.to_owned(), ..Order::default() };
    let not_yours = || Error::NotYours { oid: order.oid.clone() };
    let nobody = || Error::UnknownClient { cid: "nobody".to_owned() };
    let unknown = || Error::NotFound { kind: Kind::Order, id: "nope".to_owned() };
    for (order, error) in [
        (of("bia", &order.oid), not_yours()),
        (of("nobody", &order.oid), nobody()),
        (of("ana", "nope"), unknown()),
    ] {
        assert_eq!(answer(fixture.shop().cancel_order(naming(&order)).await), Err(error.clone()));
        assert_eq!(answer(fixture.shop().confirm_order(naming(&order)).await), Err(error));
    }
    fixture.remove_client("bia").await;
    let gone = || Error::UnknownClient { cid: "bia".to_owned() };
    let of_bia = of("bia", &order.oid);
    assert_eq!(answer(fixture.shop().cancel_order(naming(&of_bia)).await), Err(gone()));
    assert_eq!(create(&fixture, "bia", &[]).await, Err(gone()), "removed, with orders that are kept");
    fixture.close_client("ana").await;
    let closing = || Error::Closing { kind: Kind::Client, id: "ana".to_owned() };
    assert_eq!(answer(fixture.shop().cancel_order(naming(&order)).await), Err(closing()));
    assert_eq!(answer(fixture.shop().confirm_order(naming(&order)).await), Err(closing()));
}

#[tokio::test]
async fn a_portal_stops_when_told() {
    let fixture = Fixture::open().await;
    create(&fixture, "ana", &[]).await.unwrap();
    fixture.close().await;
}

#[tokio::test]
async fn a_stop_lets_the_requests_under_way_end() {
    let fixture = Fixture::open().await;
    fixture.store.plan(Some(Fault::DelayAfter(Duration::from_millis(200))));
    let before = fixture.store.applied();
    let mut shop = fixture.shop();
    let order = tokio::spawn(async move { answer(shop.create_order(creation("ana", &[])).await) });
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    while fixture.store.applied() == before {
        assert!(Instant::now() < deadline, "the order is under way");
        pace.tick().await;
    }
    fixture.close().await;
    assert!(order.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_store_that_is_down_is_unavailable() {
    let fixture = Fixture::open().await;
    fixture.store.set_down(true);
    let error = create(&fixture, "ana", &[]).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    fixture.store.set_down(false);
    create(&fixture, "ana", &[]).await.unwrap();
}

/// Keys of a cluster of these tests, which nobody changes.
fn keys() -> tokio::sync::watch::Receiver<store_keys::KeyFile> {
    let id = store_keys::ClusterId::new(7).unwrap();
    let key = store_keys::ClusterKey::new(id, store_keys::Secret::new([7; store_keys::KEY_BYTES]));
    tokio::sync::watch::channel(store_keys::KeyFile::Cluster(key)).1
}

#[test]
fn wrong_values_are_named() {
    let good = || Config::new("test", ([127, 0, 0, 1], 0).into(), Arc::new(MemoryStore::new()));
    let bus = |host: &str, cluster: &str| {
        Some(Bus {
            host: host.to_owned(),
            port: 1883,
            login: None,
            cluster: cluster.to_owned(),
            keys: keys(),
        })
    };
    assert!(Config { bus: bus("localhost", "feira-1"), ..good() }.check().is_ok());
    let named = |config: Config| match config.check() {
        Err(StartError::Invalid { field, .. }) => field,
        other => panic!("a refusal: {other:?}"),
    };
    assert_eq!(named(Config { lease: Duration::from_millis(99), ..good() }), "lease");
    assert_eq!(named(Config { requests_max: 0, ..good() }), "requests_max");
    assert_eq!(named(Config { bus: bus("", "feira-1"), ..good() }), "bus.host");
    for cluster in ["", "a/b", "a+", "#"] {
        assert_eq!(named(Config { bus: bus("localhost", cluster), ..good() }), "bus.cluster");
    }
}
