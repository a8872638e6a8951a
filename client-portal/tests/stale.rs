//! A cache that is LIVE and wrong, because events are on their way: reads may show the past for a lease, but no write
//! and no refusal rests on it.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client_portal::operations::{GetOrder, GetProduct, ModifyOrder};
use portal::attempt::{Attempts, Request};
use portal::cache::Capacity;
use portal::change::{Change, Known, RequestedLine, demands, merge};
use portal::coherence::{Input, Output};
use portal::document::client::{ClientData, ClientRecord};
use portal::document::order::{OrderRecord, Phase};
use portal::document::product::{ProductData, ProductRecord};
use portal::document::shop::ShopRecord;
use portal::document::stock::StockRecord;
use portal::document::write;
use portal::error::Error;
use portal::id::{Cid, Oid, Pid};
use portal::order_write::{Named, OrderChange, OrderWrite, changed_pids};
use portal::session::SESSION_HEADER;
use portal::{Portal, key};
use proto::portal::{
    GetOrderRequest, LineChange, ModifyOrderRequest, Order, OrderRequest, ShopGetProductRequest,
};
use proto::store::{Freshness, Txn};
use store_client::Store;
use store_engine::memory::{Fault, MemoryStore};

/// Long enough for a test: no event ever comes, and the lease does not end.
const LEASE_MS: u64 = 60_000;

/// A portal whose cache is LIVE as of now.
async fn live(store: &MemoryStore) -> Arc<Portal> {
    let capacity = Capacity { entries: NonZeroUsize::new(100).unwrap(), bytes: 1 << 20 };
    let portal = Portal::new("test", Arc::new(store.clone()), capacity, LEASE_MS);
    let step = |input| portal.cache().step(1, portal.now_ms(), input);
    step(Input::Connected);
    let outputs = step(Input::Subscribed);
    let [Output::ReadBarrier { number }] = outputs[..] else { panic!("{outputs:?}") };
    let got = store.get(Bytes::from("x"), Freshness::linearizable()).await.unwrap();
    let (offset, log_id) = (got.applied.offset, got.log_id);
    step(Input::Barrier { number, started_ms: portal.now_ms(), offset, epoch: 1, log_id });
    portal
}

fn cid() -> Cid {
    Cid::parse("cid", "ana").unwrap()
}

fn pid() -> Pid {
    Pid::parse("pid", "a").unwrap()
}

async fn put(store: &MemoryStore, key: Bytes, data: Vec<u8>) {
    assert!(store.txn(Txn::new().put(key, 1, data), None).await.unwrap().success);
}

async fn put_client(store: &MemoryStore) {
    put(store, key::client(&cid()), write(&ClientRecord::new(ClientData::parse("{}").unwrap()))).await;
}

async fn put_price(store: &MemoryStore, price: &str) {
    let text = format!(r#"{{"description":"a","price":"{price}"}}"#);
    put(store, key::product(&pid()), write(&ProductRecord::new(&ProductData::parse(&text).unwrap()))).await;
}

/// The client `ana` and ten of the product `a`.
async fn market() -> MemoryStore {
    let store = MemoryStore::new();
    put_client(&store).await;
    put_price(&store, "1.00").await;
    put(&store, key::stock(&pid()), write(&StockRecord::new(10))).await;
    store
}

fn request() -> Request {
    Request::new("test", None, &OrderRequest::default()).unwrap()
}

fn one(quantity: i64) -> Vec<RequestedLine> {
    merge(&[LineChange { pid: "a".to_owned(), quantity, ..LineChange::default() }]).unwrap()
}

async fn create(portal: &Portal, quantity: i64) -> Result<Order, Error> {
    let (request, lines) = (request(), one(quantity));
    let named = Named { cid: cid(), oid: Oid::derive(&cid(), request.id()) };
    let mut write = OrderWrite::creating(portal, named, request);
    loop {
        let products = portal.known_products(changed_pids(None, &lines)).await?;
        let txn = write.change().create(&lines, &products)?;
        if let Some(order) = write.send(txn, &demands(None, &lines, &products)).await? {
            return Ok(order);
        }
    }
}

async fn modify(portal: &Portal, order: &Order, quantity: i64) -> Result<Order, Error> {
    let lines = one(quantity);
    let named = portal.named(&order.cid, &order.oid).await?;
    let change = OrderChange { named, request: request(), if_match: 0, staff: None };
    let mut write = OrderWrite::changing(portal, change, &[Phase::Open]).await?;
    loop {
        let txn = match write.known() {
            Some(known) => {
                let products = portal.known_products(changed_pids(Some(known), &lines)).await?;
                write.change().modify(known, &lines, &products)?
            }
            None => write.change().ask(),
        };
        if let Some(order) = write.send(txn, &HashMap::new()).await? {
            return Ok(order);
        }
    }
}

/// As [`modify`], without joining a read that is under way.
async fn modify_from_store(portal: &Portal, order: &Order, quantity: i64) -> Order {
    let oid = Oid::parse(&order.oid).unwrap();
    let at = key::order(&cid(), &oid);
    let known = Known::read(&at, &portal.read_through(&at).await.unwrap().record.unwrap()).unwrap();
    let (cid, lines) = (cid(), one(quantity));
    let products = portal.known_products(changed_pids(Some(&known), &lines)).await.unwrap();
    let txn = Change::by_client(&cid, &oid, 1).modify(&known, &lines, &products).unwrap();
    let answer = Attempts::new(portal, request()).send(txn).await.unwrap();
    assert!(answer.success);
    let record = portal::attempt::shown(&answer, &at).unwrap();
    OrderRecord::read(&at, record).unwrap().shown(&cid, &oid, record, &ShopRecord::default())
}

#[tokio::test]
async fn a_rule_that_came_after_the_product_was_cached_binds_the_next_order() {
    let store = market().await;
    let portal = live(&store).await;
    let first = create(&portal, 1).await.unwrap();
    let (at, stock) = (key::product(&pid()), key::stock(&pid()));
    let ruled = Txn::new()
        .set_json(at.clone(), 1, "/rules", r#"{"safety_stock":9,"quantity_max":3}"#)
        .set_json(stock.clone(), 1, "/least", "9");
    assert!(store.txn(ruled, None).await.unwrap().success);
    assert!(portal.read(&at).await.unwrap().hit, "the event is on its way: readers see no rule");
    let short = create(&portal, 1).await;
    assert!(matches!(short, Err(Error::ShortStock { .. })), "{short:?}");
    portal.cache().forget(&at);
    let unruled = Txn::new().set_json(at.clone(), 1, "/rules", "{}").set_json(stock, 1, "/least", "0");
    assert!(portal.read(&at).await.unwrap().record.is_some());
    assert!(store.txn(unruled, None).await.unwrap().success);
    assert!(portal.read(&at).await.unwrap().hit);
    assert_eq!(
        modify(&portal, &first, 5).await.unwrap().lines[0].quantity,
        5,
        "nor is it refused by one that is gone"
    );
}

#[tokio::test]
async fn a_price_that_was_cached_before_it_changed_does_not_get_into_an_order() {
    let store = market().await;
    let portal = live(&store).await;
    assert_eq!(create(&portal, 1).await.unwrap().total, "1.00");
    assert_eq!(portal.status().transactions, 1);
    put_price(&store, "7.00").await;
    let seen = portal.read(&key::product(&pid())).await.unwrap();
    assert!(seen.hit, "the event is on its way: readers see the past");
    assert_eq!(create(&portal, 2).await.unwrap().total, "14.00");
    assert_eq!(portal.status().transactions, 3, "the price's guard failed once");
    assert!(
        !String::from_utf8_lossy(&portal.read(&key::product(&pid())).await.unwrap().record.unwrap().data)
            .contains("1.00")
    );
}

#[tokio::test]
async fn a_client_that_was_registered_elsewhere_is_not_refused_for_a_cached_absence() {
    let store = MemoryStore::new();
    let portal = live(&store).await;
    let unknown = Error::UnknownClient { cid: "ana".to_owned() };
    assert_eq!(portal.registered("ana").await, Err(unknown));
    put_client(&store).await;
    assert!(portal.read(&key::client(&cid())).await.unwrap().record.is_none(), "the cache says so still");
    assert_eq!(portal.registered("ana").await, Ok(cid()));
}

#[tokio::test]
async fn an_order_for_a_client_that_was_deleted_elsewhere_is_refused() {
    let store = market().await;
    let portal = live(&store).await;
    portal.registered("ana").await.unwrap();
    store.txn(Txn::new().delete(key::client(&cid())), None).await.unwrap();
    assert!(portal.registered("ana").await.is_ok(), "the cache says so still");
    assert_eq!(create(&portal, 1).await, Err(Error::UnknownClient { cid: "ana".to_owned() }));
}

#[tokio::test]
async fn an_order_that_another_portal_changed_is_changed_from_what_it_is() {
    let store = market().await;
    let (here, there) = (live(&store).await, live(&store).await);
    let order = create(&here, 2).await.unwrap();
    modify(&there, &order, 5).await.unwrap();
    let before = here.status().transactions;
    assert_eq!(modify(&here, &order, 6).await.unwrap().lines[0].quantity, 6);
    assert_eq!(here.status().transactions - before, 2, "the refusal brought the order as it is");
    let at = key::stock(&pid());
    let stock = StockRecord::read(&at, &here.read_through(&at).await.unwrap().record.unwrap()).unwrap();
    assert!(stock.is_conserved() && stock.held == 6, "{stock:?}");
}

#[tokio::test]
async fn ones_own_writes_are_read_at_once_and_from_the_cache() {
    let store = market().await;
    let portal = live(&store).await;
    let order = create(&portal, 2).await.unwrap();
    let at = key::order(&cid(), &Oid::parse(&order.oid).unwrap());
    store.set_down(true);
    let seen = portal.read(&at).await.unwrap();
    assert!(seen.hit && seen.at == order.etag);
    store.set_down(false);
    let order = modify(&portal, &order, 3).await.unwrap();
    assert_eq!(portal.read(&at).await.unwrap().record.unwrap().offset(), order.etag);
}

#[tokio::test]
async fn a_read_that_began_before_an_own_write_is_not_joined_after_it() {
    let store = market().await;
    let portal = live(&store).await;
    let order = create(&portal, 2).await.unwrap();
    let at = key::order(&cid(), &Oid::parse(&order.oid).unwrap());
    portal.cache().forget(&at);
    // The reader has read the store, and its answer is on its way while the order is changed.
    store.plan(Some(Fault::DelayAfter(Duration::from_millis(60))));
    let reader = portal.clone();
    let (key, misses) = (at.clone(), portal.status().misses);
    let slow = tokio::spawn(async move { reader.read(&key).await });
    while portal.status().misses == misses {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    let changed = modify_from_store(&portal, &order, 3).await;
    let seen = portal.read(&at).await.unwrap();
    assert_eq!(seen.record.unwrap().offset(), changed.etag, "what was just written");
    slow.await.unwrap().unwrap();
    assert_eq!(portal.read(&at).await.unwrap().record.unwrap().offset(), changed.etag);
}

#[tokio::test]
async fn a_write_of_unknown_outcome_leaves_nothing_in_the_cache() {
    let store = market().await;
    let portal = live(&store).await;
    let order = create(&portal, 2).await.unwrap();
    let at = key::order(&cid(), &Oid::parse(&order.oid).unwrap());
    store.plan(Some(Fault::LoseAnswer));
    assert!(modify(&portal, &order, 3).await.unwrap_err().may_have_happened());
    let seen = portal.read(&at).await.unwrap();
    assert!(!seen.hit && seen.record.unwrap().offset() > order.etag);
}

#[tokio::test]
async fn many_readers_of_one_key_are_one_read_of_the_store() {
    let store = market().await;
    let portal = live(&store).await;
    store.plan(Some(Fault::DelayAfter(Duration::from_millis(30))));
    (0..50).for_each(|_| store.plan(Some(Fault::Refuse)));
    let at = key::product(&pid());
    let readers = futures::future::join_all((0..50).map(|_| portal.read(&at))).await;
    assert!(readers.into_iter().all(|seen| seen.is_ok_and(|seen| seen.record.is_some())));
    assert_eq!(portal.status().misses, 50);
    let seen = portal.read(&at).await.unwrap();
    assert!(seen.hit, "and it filled the cache");
}

#[tokio::test]
async fn a_reader_that_goes_away_does_not_stop_the_read_for_others() {
    let store = market().await;
    let portal = live(&store).await;
    store.plan(Some(Fault::DelayAfter(Duration::from_millis(20))));
    let at = key::product(&pid());
    let gone = tokio::time::timeout(Duration::from_millis(1), portal.read(&at)).await;
    assert!(gone.is_err(), "it gave up");
    assert!(portal.read(&at).await.unwrap().record.is_some());
}

/// The quantity in the order as a request of this session sees it, and the session after it.
async fn quantity(portal: &Portal, order: &Order, session: Option<&str>) -> (i64, String) {
    let request = GetOrderRequest { cid: order.cid.clone(), oid: order.oid.clone() };
    let answered = portal.call::<GetOrder>(session, request).await;
    (answered.done.unwrap().lines[0].quantity, answered.token.unwrap().to_string())
}

/// The product's price as a request of this session sees it, and the session after it.
async fn price(portal: &Portal, session: Option<&str>) -> (String, String) {
    let request = ShopGetProductRequest { cid: "ana".to_owned(), pid: "a".to_owned() };
    let answered = portal.call::<GetProduct>(session, request).await;
    (answered.done.unwrap().price, answered.token.unwrap().to_string())
}

#[tokio::test]
async fn a_session_reads_its_own_writes_through_any_portal() {
    let store = market().await;
    let (here, there) = (live(&store).await, live(&store).await);
    let order = create(&here, 2).await.unwrap();
    assert_eq!(quantity(&there, &order, None).await.0, 2);
    let lines = vec![LineChange { pid: "a".to_owned(), quantity: 5, ..LineChange::default() }];
    let change =
        ModifyOrderRequest { cid: "ana".to_owned(), oid: order.oid.clone(), lines, ..Default::default() };
    let changed = here.call::<ModifyOrder>(None, change.clone()).await;
    assert_eq!(changed.done.unwrap().lines[0].quantity, 5);
    let session = changed.token.unwrap().to_string();
    assert_eq!(quantity(&there, &order, None).await.0, 2, "whoever is of no session may be shown the past");
    assert_eq!(quantity(&there, &order, Some(&session)).await.0, 5);
    // Over HTTP and MQTT it is the same call. A change that is refused says what was seen too.
    let refused = here.call::<ModifyOrder>(None, ModifyOrderRequest { if_match: order.etag, ..change }).await;
    assert!(matches!(refused.done, Err(Error::Changed { .. })), "{refused:?}");
    assert_ne!(refused.token.unwrap().to_string(), "-");
}

#[tokio::test]
async fn a_session_never_reads_what_is_older_than_it_has_read() {
    let store = market().await;
    let there = live(&store).await;
    assert_eq!(price(&there, None).await.0, "1.00");
    put_price(&store, "2.00").await;
    // It was cached after the change, and is answered from the cache here.
    let here = live(&store).await;
    price(&here, None).await;
    let hits = here.status().hits;
    let (seen, session) = price(&here, None).await;
    assert!(seen == "2.00" && here.status().hits > hits);
    assert_eq!(price(&there, None).await.0, "1.00", "no event has come there");
    let (again, session) = price(&there, Some(&session)).await;
    assert_eq!(again, "2.00");
    // A list is a read too.
    put_price(&store, "3.00").await;
    let request = proto::portal::BrowseProductsRequest { cid: "ana".to_owned(), ..Default::default() };
    let listed = here.call::<client_portal::operations::BrowseProducts>(Some(&session), request).await;
    assert_eq!(listed.done.unwrap().products[0].price, "3.00");
    assert_eq!(price(&there, Some(&listed.token.unwrap().to_string())).await.0, "3.00");
}

#[tokio::test]
async fn a_hit_on_what_was_read_after_the_last_event_is_not_forgotten_by_its_session() {
    let store = market().await;
    let (here, there) = (live(&store).await, live(&store).await);
    assert_eq!(price(&there, None).await.0, "1.00");
    put_price(&store, "2.00").await;
    // Somebody's miss fills the cache with what no event has told yet.
    price(&here, None).await;
    let hits = here.status().hits;
    let (seen, session) = price(&here, None).await;
    assert!(seen == "2.00" && here.status().hits > hits);
    assert_eq!(price(&there, Some(&session)).await.0, "2.00", "{session}");
    // And whoever has read it may hit it again.
    let hits = here.status().hits;
    assert_eq!(price(&here, Some(&session)).await.0, "2.00");
    assert!(here.status().hits > hits);
}

#[tokio::test]
async fn a_read_that_began_before_what_a_session_has_seen_is_not_joined() {
    let store = market().await;
    let (here, there) = (live(&store).await, live(&store).await);
    let order = create(&there, 2).await.unwrap();
    // The reader has read the store, and its answer is on its way while the order is changed elsewhere.
    store.plan(Some(Fault::DelayAfter(Duration::from_millis(60))));
    let at = key::order(&cid(), &Oid::parse(&order.oid).unwrap());
    let (reader, misses) = (here.clone(), here.status().misses);
    let slow = tokio::spawn(async move { reader.read(&at).await });
    while here.status().misses == misses {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    let lines = vec![LineChange { pid: "a".to_owned(), quantity: 5, ..LineChange::default() }];
    let change =
        ModifyOrderRequest { cid: "ana".to_owned(), oid: order.oid.clone(), lines, ..Default::default() };
    let session = there.call::<ModifyOrder>(None, change).await.token.unwrap().to_string();
    assert_eq!(quantity(&here, &order, Some(&session)).await.0, 5);
    assert_eq!(slow.await.unwrap().unwrap().record.unwrap().offset(), order.etag, "it began before");
}

#[tokio::test]
async fn a_session_of_what_is_not_in_the_log_is_refused_and_harms_no_cache() {
    let store = market().await;
    let portal = live(&store).await;
    price(&portal, None).await;
    let before = portal.status();
    for session in ["-;1=999999", "-;2=1", "nonsense", "0000000000000abc;1=18446744073709551616"] {
        let request = ShopGetProductRequest { cid: "ana".to_owned(), pid: "a".to_owned() };
        let answered = portal.call::<GetProduct>(Some(session), request).await;
        assert!(
            matches!(&answered.done, Err(Error::Invalid { field, .. }) if field == SESSION_HEADER),
            "{session}: {answered:?}"
        );
        assert_eq!(answered.token.unwrap().to_string(), "-", "it begins anew");
    }
    let after = portal.status();
    assert_eq!((after.gaps, after.flushes), (before.gaps, before.flushes));
    let hits = after.hits;
    assert_eq!(price(&portal, None).await.0, "1.00");
    assert!(portal.status().hits > hits, "what was cached is there still");
}

#[tokio::test]
async fn a_cache_that_shows_what_is_older_than_a_lease_is_found_by_its_portal_and_begins_anew() {
    let store = market().await;
    let portal = live(&store).await;
    let at = key::product(&pid());
    let lease = Duration::from_millis(80);
    price(&portal, None).await;
    portal::sampler::compare(&portal, &at, lease).await;
    let (sampled, stale) = (portal.status().sampled, portal.status().sampled_stale);
    assert_eq!((sampled, stale), (1, 0), "it was as the store has it");
    // No event comes, and this portal takes its lease for longer than the sampler does.
    put_price(&store, "2.00").await;
    portal::sampler::compare(&portal, &at, lease).await;
    let status = portal.status();
    assert_eq!((status.sampled, status.sampled_stale), (2, 1));
    assert!(status.sampled_oldest_ms >= 80, "{} ms", status.sampled_oldest_ms);
    assert_eq!(status.groups[0].state, "SUSPECT");
    assert_eq!(price(&portal, None).await.0, "2.00");
}
