//! An admin portal over a store in memory, and what tests ask of it. Orders are made as the client portal makes them:
//! with the transactions of `portal::change`.

use std::collections::HashMap;
use std::sync::Arc;

use portal::change::{Change, Known, KnownProduct, Products, RequestedLine};
use portal::document::order::{OrderRecord, Phase};
use portal::document::product::ProductRecord;
use portal::document::stock::StockRecord;
use portal::id::{Cid, Oid, Pid};
use portal::{Config, Error, key};
use proto::portal::admin_client::AdminClient;
use proto::portal::{Client, InsertClientRequest, InsertProductRequest, Product, RequestId};
use proto::store::{Freshness, Record, Txn};
use store_client::Store;
use store_engine::memory::MemoryStore;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::transport::Channel;

pub(crate) struct Fixture {
    pub(crate) store: MemoryStore,
    pub(crate) channel: Channel,
    /// Dropped with the office: the portal stops.
    _stop: oneshot::Sender<()>,
}

impl Fixture {
    pub(crate) async fn open() -> Fixture {
        Fixture::admitting(1_000).await
    }

    /// An office that works on so many requests at once.
    pub(crate) async fn admitting(requests_max: usize) -> Fixture {
        Fixture::over(MemoryStore::new(), requests_max).await
    }

    /// An office whose store knows times, as all do once every node runs this program.
    pub(crate) async fn with_times() -> Fixture {
        Fixture::over(MemoryStore::new().raised(), 1_000).await
    }

    /// An office over this store, which keeps the feed of events.
    pub(crate) async fn keeping(store: MemoryStore) -> Fixture {
        Fixture::of(store, 1_000, true).await
    }

    /// An office over this store.
    pub(crate) async fn over(store: MemoryStore, requests_max: usize) -> Fixture {
        Fixture::of(store, requests_max, false).await
    }

    async fn of(store: MemoryStore, requests_max: usize, keeps_feed: bool) -> Fixture {
        let (bound, address) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let mut config = Config::new("test", "127.0.0.1:0".parse().unwrap(), Arc::new(store.clone()));
        config.bound = Some(bound);
        config.requests_max = requests_max;
        // Faults are planned for what a request asks of the store next; a keeper reads it all the time.
        config.keeps_feed = keeps_feed;
        let stopped = Box::pin(async move {
            let _ = stopped.await;
        });
        tokio::spawn(async move { admin_portal::serve(config, stopped).await.unwrap() });
        let address = address.await.unwrap();
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Fixture { store, channel, _stop: stop }
    }

    pub(crate) fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone())
    }

    pub(crate) async fn insert_client(&self, cid: &str) -> Client {
        let request = InsertClientRequest { cid: cid.to_owned(), data: "{}".to_owned(), request: None };
        answer(self.admin().insert_client(request).await).unwrap()
    }

    pub(crate) async fn insert_product(&self, pid: &str, quantity: i64) -> Product {
        let data = format!(r#"{{"description":"{pid}","price":"2.50","quantity":{quantity}}}"#);
        let request = InsertProductRequest { pid: pid.to_owned(), data, request: None, rules: None };
        answer(self.admin().insert_product(request).await).unwrap()
    }

    pub(crate) async fn record(&self, at: bytes::Bytes) -> Option<Record> {
        self.store.get(at, Freshness::linearizable()).await.unwrap().record
    }

    pub(crate) async fn stock(&self, pid: &str) -> Option<StockRecord> {
        let at = key::stock(&Pid::parse("pid", pid).unwrap());
        self.record(at.clone()).await.map(|record| StockRecord::read(&at, &record).unwrap())
    }

    pub(crate) async fn order_record(&self, cid: &str, oid: &Oid) -> Option<Known> {
        let at = key::order(&Cid::parse("cid", cid).unwrap(), oid);
        self.record(at.clone()).await.map(|record| Known::read(&at, &record).unwrap())
    }

    async fn done(&self, txn: Txn) {
        let answer = self.store.txn(txn, None).await.unwrap();
        assert!(answer.success, "{answer:?}");
    }

    /// An open order with these lines; `number` makes its id.
    pub(crate) async fn order(&self, cid: &str, number: u32, lines: &[(&str, i64)]) -> Oid {
        let (oid, txn) = self.creation(cid, number, lines).await;
        self.done(txn).await;
        oid
    }

    /// The products of these lines, as they are.
    pub(crate) async fn products(&self, requested: &[RequestedLine]) -> Products {
        let mut products = HashMap::new();
        for RequestedLine { pid, .. } in requested {
            let at = key::product(pid);
            let record = self.record(at.clone()).await.unwrap();
            let product = ProductRecord::read(&at, &record).unwrap();
            products.insert(pid.clone(), Some(KnownProduct { product, offset: record.offset() }));
        }
        products
    }

    async fn creation(&self, cid: &str, number: u32, lines: &[(&str, i64)]) -> (Oid, Txn) {
        let cid = Cid::parse("cid", cid).unwrap();
        let oid = Oid::derive(&cid, &number.to_be_bytes());
        let asked =
            |(pid, quantity): &(&str, i64)| RequestedLine::of(Pid::parse("pid", pid).unwrap(), *quantity);
        let requested: Vec<RequestedLine> = lines.iter().map(asked).collect();
        let products = self.products(&requested).await;
        (oid, Change::by_client(&cid, &oid, 1).create(&requested, &products).unwrap())
    }

    pub(crate) async fn confirm(&self, cid: &str, oid: &Oid) {
        let known = self.order_record(cid, oid).await.unwrap();
        let cid = Cid::parse("cid", cid).unwrap();
        self.done(Change::by_client(&cid, oid, 1).confirm(&known).unwrap()).await;
    }

    /// As [`Fixture::order`]; `None`: the client may not order (any more).
    pub(crate) async fn try_order(&self, cid: &str, number: u32, lines: &[(&str, i64)]) -> Option<Oid> {
        let (oid, txn) = self.creation(cid, number, lines).await;
        self.store.txn(txn, None).await.unwrap().success.then_some(oid)
    }

    /// Confirms an order, unless it was cancelled meanwhile.
    pub(crate) async fn try_confirm(&self, cid: &str, oid: &Oid) {
        let known = self.order_record(cid, oid).await.unwrap();
        if known.order.phase == Phase::Open {
            let cid = Cid::parse("cid", cid).unwrap();
            let txn = Change::by_client(&cid, oid, 1).confirm(&known).unwrap();
            self.store.txn(txn, None).await.unwrap();
        }
    }

    /// Waits for what the portal does by itself.
    pub(crate) async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(10));
        for _ in 0..2_000 {
            looks.tick().await;
            if let Some(seen) = look().await {
                return seen;
            }
        }
        panic!("not within 20 s: {what}")
    }

    /// The rows of all orders, by key.
    pub(crate) async fn rows(&self) -> std::collections::BTreeSet<bytes::Bytes> {
        let all = store_client::Range::Prefix(bytes::Bytes::from_static(portal::order_row::ROWS.as_bytes()));
        let page = self.store.scan(all, 1_000, None, Freshness::linearizable()).await.unwrap();
        page.records.into_iter().map(|one| one.key).collect()
    }

    /// Where the rows of all orders should be.
    pub(crate) async fn places(&self) -> std::collections::BTreeSet<bytes::Bytes> {
        let all = store_client::Range::Prefix(key::orders());
        let page = self.store.scan(all, 1_000, None, Freshness::linearizable()).await.unwrap();
        let place = |one: &proto::store::KeyRecord| {
            let (cid, oid) = key::order_in(&one.key).unwrap();
            let known = Known::read(&one.key, one.record.as_ref().unwrap()).unwrap();
            portal::order_row::Place::of(known.order.phase, known.timestamp_ms, &cid, &oid).key()
        };
        page.records.iter().map(place).collect()
    }

    pub(crate) async fn order_of(&self, cid: &str, oid: &Oid) -> OrderRecord {
        self.order_record(cid, oid).await.unwrap().order
    }
}

pub(crate) fn id(id: &str) -> Option<RequestId> {
    Some(RequestId { id: id.to_owned(), created_ms: 0 })
}

/// The answer, or the portal's own error read back from the wire.
pub(crate) fn answer<T>(answer: Result<tonic::Response<T>, Status>) -> Result<T, Error> {
    answer.map(tonic::Response::into_inner).map_err(|status| {
        Error::from_status(&status).unwrap_or_else(|| panic!("not an error of ours: {status:?}"))
    })
}

/// Asserts that this is INVALID_ARGUMENT of this field.
pub(crate) fn is_invalid<T: std::fmt::Debug>(answer: Result<T, Error>, field: &str) {
    let error = answer.unwrap_err();
    assert!(matches!(&error, Error::Invalid { field: at, .. } if at == field), "{field}: {error}");
}
