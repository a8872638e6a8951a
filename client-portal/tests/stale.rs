//! A cache that is LIVE and wrong, because events are on their way: reads may show the past for a lease, but no write
//! and no refusal rests on it.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portal::attempt::{Attempts, Request};
use portal::cache::Capacity;
use portal::change::{Change, Known, RequestedLine, demands, merge};
use portal::coherence::{Input, Output};
use portal::document::client::{ClientData, ClientRecord};
use portal::document::order::{OrderRecord, Phase};
use portal::document::product::{ProductData, ProductRecord};
use portal::document::stock::StockRecord;
use portal::document::write;
use portal::error::Error;
use portal::id::{Cid, Oid, Pid};
use portal::order_write::{Named, OrderChange, OrderWrite, new_pids};
use portal::{Portal, key};
use proto::portal::{LineChange, Order, OrderRequest};
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
    merge(&[LineChange { pid: "a".to_owned(), quantity }]).unwrap()
}

async fn create(portal: &Portal, quantity: i64) -> Result<Order, Error> {
    let (request, lines) = (request(), one(quantity));
    let named = Named { cid: cid(), oid: Oid::derive(&cid(), request.id()) };
    let mut write = OrderWrite::creating(portal, named, request);
    loop {
        let products = portal.known_products(new_pids(None, &lines)).await?;
        let txn = write.change().create(&lines, &products)?;
        if let Some(order) = write.send(txn, &demands(None, &lines)).await? {
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
            Some(known) => write.change().modify(known, &lines, &HashMap::new())?,
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
    let txn = Change::by_client(&cid, &oid, 1).modify(&known, &lines, &HashMap::new()).unwrap();
    let answer = Attempts::new(portal, request()).send(txn).await.unwrap();
    assert!(answer.success);
    let record = portal::attempt::shown(&answer, &at).unwrap();
    OrderRecord::read(&at, record).unwrap().shown(&cid, &oid, record)
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
