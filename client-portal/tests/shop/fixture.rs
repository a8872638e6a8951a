//! A client portal over a store in memory, and what tests ask of it.

use std::collections::HashMap;
use std::sync::Arc;

use portal::change::{Change, Known, KnownProduct, RequestedLine};
use portal::document::client::{ClientData, ClientRecord};
use portal::document::order::{OrderRecord, Phase};
use portal::document::product::{ProductData, ProductRecord};
use portal::document::rules::{RULES, Rules};
use portal::document::stock::{AVAILABLE, LEAST, StockRecord};
use portal::document::write;
use portal::id::{Cid, Oid, Pid};
use portal::{Config, Error, key};
use proto::portal::portal_client::PortalClient;
use proto::portal::shop_client::ShopClient;
use proto::portal::{
    CreateOrderRequest, LineChange, ModifyOrderRequest, Order, OrderRequest, PortalStatusRequest, RequestId,
};
use proto::store::{Freshness, Txn};
use store_client::{Range, Store};
use store_engine::memory::MemoryStore;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::transport::Channel;

pub(crate) type Shop = ShopClient<Channel>;

pub(crate) struct Fixture {
    pub(crate) store: MemoryStore,
    pub(crate) channel: Channel,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl Fixture {
    /// A portal with the client `ana`.
    pub(crate) async fn open() -> Fixture {
        let store = MemoryStore::new();
        let (bound, address) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let mut config = Config::new("test", "127.0.0.1:0".parse().unwrap(), Arc::new(store.clone()));
        config.bound = Some(bound);
        let stopped = Box::pin(async move {
            let _ = stopped.await;
        });
        let serving = tokio::spawn(async move { client_portal::serve(config, stopped).await.unwrap() });
        let address = address.await.unwrap();
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let fixture = Fixture { store, channel, stop: Some(stop), serving: Some(serving) };
        fixture.insert_client("ana").await;
        fixture
    }

    /// Stops the portal and waits for its end.
    pub(crate) async fn close(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        let serving = self.serving.take().unwrap();
        drop(self);
        serving.await.unwrap();
    }

    pub(crate) fn shop(&self) -> Shop {
        ShopClient::new(self.channel.clone())
    }

    /// Store transactions that the portal has sent.
    pub(crate) async fn transactions(&self) -> u64 {
        let status = PortalClient::new(self.channel.clone()).status(PortalStatusRequest {}).await.unwrap();
        status.into_inner().transactions
    }

    pub(crate) async fn done(&self, txn: Txn) {
        assert!(self.store.txn(txn, None).await.unwrap().success);
    }

    pub(crate) async fn insert_client(&self, cid: &str) {
        let record = ClientRecord::new(ClientData::parse("{}").unwrap());
        self.done(Txn::new().put(key::client(&Cid::parse("cid", cid).unwrap()), 1, write(&record))).await;
    }

    pub(crate) async fn close_client(&self, cid: &str) {
        let at = key::client(&Cid::parse("cid", cid).unwrap());
        self.done(Txn::new().set_json(at, 1, "/state", "\"closing\"")).await;
    }

    /// Leaves what DeleteClient leaves of a client whose orders are kept.
    pub(crate) async fn remove_client(&self, cid: &str) {
        let at = key::client(&Cid::parse("cid", cid).unwrap());
        self.done(Txn::new().put(at, 1, write(&ClientRecord::gone()))).await;
    }

    /// Puts a line into an open order that has none, past the portal.
    pub(crate) async fn fill(&self, order: &Order, pid: &str, quantity: i64) {
        let (cid, oid) = (Cid::parse("cid", &order.cid).unwrap(), Oid::parse(&order.oid).unwrap());
        let (at, pid) = (key::order(&cid, &oid), Pid::parse("pid", pid).unwrap());
        let product_at = key::product(&pid);
        let read = |at: bytes::Bytes| async { self.store.get(at, Freshness::linearizable()).await.unwrap() };
        let known = Known::read(&at, &read(at.clone()).await.record.unwrap()).unwrap();
        let record = read(product_at.clone()).await.record.unwrap();
        let product = ProductRecord::read(&product_at, &record).unwrap();
        let known_product = KnownProduct { product, offset: record.offset() };
        let products = HashMap::from([(pid.clone(), Some(known_product))]);
        let txn =
            Change::by_client(&cid, &oid, 1).modify(&known, &[RequestedLine::of(pid, quantity)], &products);
        self.done(txn.unwrap()).await;
    }

    pub(crate) async fn insert_product(&self, pid: &str, price: &str, quantity: i64) {
        let pid = Pid::parse("pid", pid).unwrap();
        let stock = write(&StockRecord::new(quantity));
        self.done(Txn::new().put(key::product(&pid), 1, product(&pid, price)).put(
            key::stock(&pid),
            1,
            stock,
        ))
        .await;
    }

    pub(crate) async fn set_price(&self, pid: &str, price: &str) {
        let pid = Pid::parse("pid", pid).unwrap();
        self.done(Txn::new().put(key::product(&pid), 1, product(&pid, price))).await;
    }

    /// As staff set them.
    pub(crate) async fn set_rules(&self, pid: &str, rules: Rules) {
        let pid = Pid::parse("pid", pid).unwrap();
        let json = serde_json::to_string(&rules).unwrap();
        let (at, stock) = (key::product(&pid), key::stock(&pid));
        self.done(
            Txn::new()
                .set_json(at, 1, RULES, json)
                .set_json(stock.clone(), 1, LEAST, rules.least().to_string())
                .add(stock, 1, AVAILABLE, 0, Some(rules.least())),
        )
        .await;
    }

    pub(crate) async fn close_product(&self, pid: &str) {
        let at = key::product(&Pid::parse("pid", pid).unwrap());
        self.done(Txn::new().set_json(at, 1, "/state", "\"closing\"")).await;
    }

    pub(crate) async fn delete_product(&self, pid: &str) {
        let pid = Pid::parse("pid", pid).unwrap();
        self.done(Txn::new().delete(key::product(&pid)).delete(key::stock(&pid))).await;
    }

    pub(crate) async fn stock(&self, pid: &str) -> StockRecord {
        let at = key::stock(&Pid::parse("pid", pid).unwrap());
        let got = self.store.get(at.clone(), Freshness::linearizable()).await.unwrap();
        StockRecord::read(&at, &got.record.unwrap()).unwrap()
    }

    pub(crate) async fn open_orders(&self, cid: &str) -> i64 {
        let at = key::client(&Cid::parse("cid", cid).unwrap());
        let got = self.store.get(at.clone(), Freshness::linearizable()).await.unwrap();
        ClientRecord::read(&at, &got.record.unwrap()).unwrap().open_orders
    }

    async fn all(&self, prefix: &'static str) -> Vec<(bytes::Bytes, bytes::Bytes)> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let range = Range::Prefix(prefix.into());
            let page = self.store.scan(range, 1_000, after, Freshness::linearizable()).await.unwrap();
            all.extend(page.records.into_iter().map(|one| (one.key, one.record.unwrap().data)));
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }

    /// The laws of `docs/SCHEMA.md`, over everything stored.
    pub(crate) async fn audit(&self) {
        let mut held = std::collections::BTreeMap::<String, (i64, i64)>::new();
        let mut open = std::collections::BTreeMap::<String, i64>::new();
        let mut holders = std::collections::BTreeSet::new();
        for (at, data) in self.all("o/").await {
            let order: OrderRecord = serde_json::from_slice(&data).unwrap();
            assert_eq!(
                OrderRecord::new(order.phase, order.lines.clone()).total,
                order.total,
                "the total adds up"
            );
            if order.phase == Phase::Open {
                let text = String::from_utf8(at.to_vec()).unwrap();
                *open.entry(text[3..text.find('}').unwrap()].to_owned()).or_default() += 1;
            }
            let oid = key::oid_in(&at).unwrap();
            for line in order.lines.iter().filter(|_| order.phase != Phase::Cancelled) {
                assert!(line.quantity > 0);
                let sums = held.entry(line.pid.clone()).or_default();
                sums.0 += line.taken();
                if order.phase == Phase::Open {
                    sums.1 += 1;
                    holders.insert(key::holder(&Pid::parse("pid", &line.pid).unwrap(), &oid));
                }
            }
        }
        for (at, data) in self.all("s/").await {
            let stock: StockRecord = serde_json::from_slice(&data).unwrap();
            assert!(stock.is_conserved(), "{stock:?}");
            let expected = held.remove(&key::id_in(&at).unwrap()).unwrap_or_default();
            assert_eq!((stock.held, stock.open_orders), expected, "{at:?}");
        }
        assert!(held.is_empty(), "orders hold what has no stock record: {held:?}");
        for (at, data) in self.all("c/").await {
            let client: ClientRecord = serde_json::from_slice(&data).unwrap();
            let expected = open.remove(&key::id_in(&at).unwrap()).unwrap_or_default();
            assert_eq!(client.open_orders, expected, "{at:?}");
        }
        let stored: std::collections::BTreeSet<_> =
            self.all("h/").await.into_iter().map(|(at, _)| at).collect();
        assert_eq!(stored, holders);
    }
}

fn product(pid: &Pid, price: &str) -> Vec<u8> {
    let text = format!(r#"{{"description":"{pid}, fresh","price":"{price}"}}"#);
    write(&ProductRecord::new(&ProductData::parse(&text).unwrap()))
}

pub(crate) fn lines(lines: &[(&str, i64)]) -> Vec<LineChange> {
    lines
        .iter()
        .map(|(pid, quantity)| LineChange {
            pid: (*pid).to_owned(),
            quantity: *quantity,
            ..LineChange::default()
        })
        .collect()
}

pub(crate) fn id(id: &str) -> Option<RequestId> {
    Some(RequestId { id: id.to_owned(), created_ms: 0 })
}

pub(crate) fn creation(cid: &str, wanted: &[(&str, i64)]) -> CreateOrderRequest {
    CreateOrderRequest {
        cid: cid.to_owned(),
        lines: lines(wanted),
        request: None,
        ..CreateOrderRequest::default()
    }
}

pub(crate) fn change(order: &Order, wanted: &[(&str, i64)]) -> ModifyOrderRequest {
    let (cid, oid) = (order.cid.clone(), order.oid.clone());
    ModifyOrderRequest {
        cid,
        oid,
        lines: lines(wanted),
        if_match: 0,
        request: None,
        ..ModifyOrderRequest::default()
    }
}

pub(crate) fn naming(order: &Order) -> OrderRequest {
    OrderRequest { cid: order.cid.clone(), oid: order.oid.clone(), request: None, ..OrderRequest::default() }
}

pub(crate) async fn create(fixture: &Fixture, cid: &str, wanted: &[(&str, i64)]) -> Result<Order, Error> {
    answer(fixture.shop().create_order(creation(cid, wanted)).await)
}

pub(crate) async fn modify(fixture: &Fixture, order: &Order, wanted: &[(&str, i64)]) -> Result<Order, Error> {
    answer(fixture.shop().modify_order(change(order, wanted)).await)
}

/// The answer, or the portal's own error read back from the wire.
pub(crate) fn answer<T>(answer: Result<tonic::Response<T>, Status>) -> Result<T, Error> {
    answer.map(tonic::Response::into_inner).map_err(|status| {
        Error::from_status(&status).unwrap_or_else(|| panic!("not an error of ours: {status:?}"))
    })
}

/// (pid, quantity, price, subtotal) of each line.
pub(crate) fn shown(order: &Order) -> Vec<(&str, i64, &str, &str)> {
    order
        .lines
        .iter()
        .map(|line| (line.pid.as_str(), line.quantity, line.price.as_str(), line.subtotal.as_str()))
        .collect()
}
