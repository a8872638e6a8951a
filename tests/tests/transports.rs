//! One shop over all transports at once, with each broker: each write repeated under its id over each other transport has one effect and
//! one answer, to the byte; so has a refusal, and what became of a write that nobody answered. What a portal refuses for the store's
//! sake or for records as other programs left them, it refuses over each of them. The suite in `shop.rs` has the rest.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use client_portal::operations::{CancelOrder, ConfirmOrder, CreateOrder, ModifyOrder};
use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::http1;
use feira_tests::shop::{
    Refusal, insert_client, insert_product, lines, patient, product, refused, request_id,
};
use feira_tests::shopper::{Shop, Told, Via};
use feira_tests::wait;
use nix::sys::signal::Signal;
use portal::operation::Operation;
use portal::transport::asking;
use proto::portal::{
    AdjustStockRequest, BrowseProductsRequest, CreateOrderRequest, GetOrderRequest, InsertProductRequest,
    ListSort, ModifyOrderRequest, Order, OrderRequest, OrderState, RequestId, ShopGetProductRequest,
    StockRules,
};
use proto::store::{Identity, Txn};
use store_client::Store;
use tonic::{Code, Status};

/// Longer than a portal waits for the store; a caller over a broker repeats what may pass for as long as it is let.
const BRIEF: Duration = Duration::from_secs(8);

/// A cluster, and the transports of its shoppers. Each of the three portals that they can choose is asked over one of them.
struct Market {
    cluster: Cluster,
    ways: [Via; 3],
}

/// With mosquitto and with the embedded broker.
async fn with_each_broker(test: impl AsyncFn(Market)) {
    for over_broker in [Via::Mosquitto, Via::EmbeddedBroker] {
        let _told = Told(over_broker);
        test(Market::open(over_broker).await).await;
    }
}

impl Market {
    /// `ana` and `bia`; 100 figs and 100 kiwis.
    async fn open(over_broker: Via) -> Market {
        let embedded_broker = over_broker == Via::EmbeddedBroker;
        let options = Options { client_portals: 3, embedded_broker, ..Options::default() };
        let cluster = Cluster::start(feira_tests::feira!(), options).await;
        for cid in ["ana", "bia"] {
            insert_client(&mut cluster.admin(1), cid).await.unwrap();
        }
        for pid in ["fig", "kiwi"] {
            insert_product(&mut cluster.admin(1), pid, 100, "1.50").await.unwrap();
        }
        Market { cluster, ways: [Via::Grpc, Via::Http, over_broker] }
    }

    fn shop(&self, via: Via) -> Shop {
        let at = self.ways.iter().position(|way| *way == via).unwrap() + 1;
        Shop::new(via, &self.cluster, &format!("client-{at}"))
    }

    /// What is available and what is held of figs.
    async fn figs(&self) -> (i64, i64) {
        let stock = product(&mut self.cluster.admin(1), "fig").await.unwrap().stock.unwrap();
        assert_eq!(stock.initial + stock.adjusted, stock.available + stock.held, "{stock:?}");
        (stock.available, stock.held)
    }

    /// Asks over one transport, then over each other; the one answer to all. What HTTP says of it is its JSON, to the byte.
    async fn repeated<O: Operation<Response = Order>>(&self, first: Via, request: &O::Request) -> Order {
        let made = self.shop(first).call::<O>(patient(request.clone())).await.unwrap().into_inner();
        for other in self.ways.into_iter().filter(|way| *way != first) {
            let again = self.shop(other).call::<O>(patient(request.clone())).await;
            assert_eq!(again.unwrap().into_inner(), made, "{} over {first:?}, then {other:?}", O::NAME);
        }
        assert_eq!(self.over_http_by_hand::<O>(request), serde_json::to_string(&made).unwrap());
        made
    }

    /// The body that HTTP answers with.
    fn over_http_by_hand<O: Operation>(&self, request: &O::Request) -> String {
        let mut message = request.clone();
        let id = O::id(&mut message).and_then(Option::take);
        let asked = asking::request(O::RESOURCE, &message, id.as_ref()).unwrap();
        let headers: Vec<(&str, &str)> =
            asked.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let line = format!("{} {}", asked.method(), asked.uri());
        let answer = http1::ask(
            self.cluster.address("client-2"),
            &line,
            &headers,
            std::str::from_utf8(asked.body()).unwrap(),
        );
        assert!((200..300).contains(&answer.status), "{answer:?}");
        answer.body
    }

    /// Asks over each transport what must be refused.
    async fn refused_over_each<O: Operation>(&self, request: &O::Request) -> Vec<Refusal> {
        let mut all = Vec::new();
        for via in self.ways {
            let answer = self.shop(via).within(BRIEF).call::<O>(patient(request.clone())).await;
            all.push(refused(answer.map(drop)));
        }
        all
    }

    /// What must be refused alike.
    async fn refused_alike<O: Operation>(&self, request: &O::Request) -> Refusal {
        let mut all = self.refused_over_each::<O>(request).await;
        assert!(all.iter().all(|one| *one == all[0]), "{all:#?}");
        all.swap_remove(0)
    }
}

fn creating(cid: &str, wanted: &[(&str, i64)]) -> CreateOrderRequest {
    CreateOrderRequest {
        cid: cid.to_owned(),
        lines: lines(wanted),
        request: request_id(),
        ..Default::default()
    }
}

fn modifying(made: &Order, wanted: &[(&str, i64)]) -> ModifyOrderRequest {
    let (cid, oid) = (made.cid.clone(), made.oid.clone());
    ModifyOrderRequest {
        cid,
        oid,
        lines: lines(wanted),
        if_match: made.etag,
        request: request_id(),
        ..Default::default()
    }
}

fn of(made: &Order) -> OrderRequest {
    OrderRequest { cid: made.cid.clone(), oid: made.oid.clone(), request: request_id(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_write_repeated_over_each_other_transport_has_one_effect_and_one_answer() {
    with_each_broker(async |market: Market| {
        let mut held = 0;
        for first in market.ways {
            let made = market.repeated::<CreateOrder>(first, &creating("ana", &[("fig", 4)])).await;
            assert_eq!(market.figs().await, (100 - held - 4, held + 4), "{first:?}");
            let change = modifying(&made, &[("fig", 9)]);
            let changed = market.repeated::<ModifyOrder>(first, &change).await;
            assert_eq!((changed.version, market.figs().await), (2, (100 - held - 9, held + 9)), "{first:?}");
            // Another change comes after it: the repetition is answered as then, and moves nothing.
            let later = market.repeated::<ModifyOrder>(first, &modifying(&changed, &[("fig", 1)])).await;
            assert_eq!(market.repeated::<ModifyOrder>(first, &change).await, changed, "the answer of then");
            let confirmed = market.repeated::<ConfirmOrder>(first, &of(&later)).await;
            assert_eq!((confirmed.state(), confirmed.version), (OrderState::Confirmed, 4));
            let other = market.repeated::<CreateOrder>(first, &creating("ana", &[("fig", 5)])).await;
            let cancelled = market.repeated::<CancelOrder>(first, &of(&other)).await;
            assert_eq!((cancelled.state(), cancelled.version), (OrderState::Cancelled, 2));
            held += 1;
            assert_eq!(market.figs().await, (100 - held, held), "{first:?}");
        }
        market.cluster.assert_audited().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_remembered_and_an_id_is_of_one_request_over_all_transports() {
    with_each_broker(async |market: Market| {
        let much = creating("ana", &[("fig", 101), ("kiwi", 1)]);
        let short = market.refused_alike::<CreateOrder>(&much).await;
        assert_eq!(short.class(), (Code::FailedPrecondition, "STOCK_SHORT"));
        let more =
            AdjustStockRequest { pid: "fig".into(), amount: 50, request: request_id(), if_match_stock: 0 };
        market.cluster.admin(1).adjust_stock(patient(more)).await.unwrap();
        assert_eq!(market.refused_alike::<CreateOrder>(&much).await, short, "though there is enough by now");
        for first in market.ways {
            let create = creating("ana", &[("fig", 1)]);
            let made = market.repeated::<CreateOrder>(first, &create).await;
            let other = CreateOrderRequest { lines: lines(&[("fig", 2)]), ..create.clone() };
            let reused = market.refused_alike::<CreateOrder>(&other).await;
            assert_eq!(reused.class(), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
            let confirm = OrderRequest { request: create.request.clone(), ..of(&made) };
            assert_eq!(market.refused_alike::<ConfirmOrder>(&confirm).await, reused);
            let of_bia = CreateOrderRequest { cid: "bia".into(), ..create };
            assert_ne!(market.repeated::<CreateOrder>(first, &of_bia).await.oid, made.oid);
        }
        assert_eq!(market.figs().await, (144, 6));
        market.cluster.assert_audited().await;
    })
    .await;
}

/// The majority stops under a write over each transport; each is then settled over another.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_nobody_answered_is_settled_over_another_transport() {
    let market = Market::open(Via::Mosquitto).await;
    let nodes = market.cluster.nodes();
    let majority = |signal| nodes[1..].iter().for_each(|node| market.cluster.signal(node, signal));
    let writes = market.ways.map(|first| (first, creating("ana", &[("fig", 1)])));
    majority(Signal::SIGSTOP);
    let lost = writes.clone().map(async |(first, create)| {
        let shop = market.shop(first).within(BRIEF);
        let (mut reading, read) =
            (shop.clone(), BrowseProductsRequest { cid: "ana".into(), ..Default::default() });
        // The caller over the broker repeats it by itself meanwhile; none of its attempts may have an effect of its own.
        let (lost, unread) =
            tokio::join!(shop.call::<CreateOrder>(patient(create)), reading.browse_products(patient(read)));
        let (lost, unread) = (refused(lost.map(drop)), refused(unread.map(drop)));
        assert!(matches!(lost.code, Code::DeadlineExceeded | Code::Unavailable), "{first:?}: {lost:?}");
        assert_eq!(unread.code, Code::Unavailable, "{first:?}: {unread:?}");
    });
    futures::future::join_all(lost).await;
    majority(Signal::SIGCONT);
    for (first, create) in &writes {
        let other = market.ways.into_iter().find(|way| way != first).unwrap();
        let settled = wait::until("the write to be settled", PATIENCE, || async {
            let answer = market.shop(other).call::<CreateOrder>(patient(create.clone())).await;
            answer.map_err(|status| status.to_string())
        })
        .await;
        assert_eq!(market.repeated::<CreateOrder>(*first, create).await, settled.into_inner());
    }
    assert_eq!(market.figs().await, (97, 3), "each took one");
    market.cluster.assert_audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_room_refuses_writes_over_each_transport_and_reads_go_on() {
    let mut market = Market::open(Via::Mosquitto).await;
    let reserve = [("FEIRA_STORE__DISK_RESERVE_BYTES", "17592186044416")];
    for node in market.cluster.nodes() {
        market.cluster.stop(&node);
        market.cluster.run_with(&node, &reserve);
    }
    market.cluster.leader().await;
    market.cluster.wait_until_live().await;
    // Which node said so is in the words.
    let refusals = market.refused_over_each::<CreateOrder>(&creating("ana", &[("fig", 1)])).await;
    let class = (Code::Unavailable, "STORE_OUT_OF_SPACE");
    assert!(refusals.iter().all(|one| one.class() == class), "{refusals:?}");
    for via in market.ways {
        let request = BrowseProductsRequest { cid: "ana".into(), ..BrowseProductsRequest::default() };
        let page = market.shop(via).browse_products(patient(request)).await.unwrap().into_inner();
        assert_eq!(page.products.len(), 2, "{via:?}");
    }
    assert_eq!(market.figs().await, (100, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_order_or_a_request_id_may_not_be_is_refused_alike_over_each_transport() {
    with_each_broker(async |market: Market| {
        let store = market.cluster.store();
        let empty = market.repeated::<CreateOrder>(Via::Grpc, &creating("ana", &[])).await;
        let refusal = market.refused_alike::<ConfirmOrder>(&of(&empty)).await;
        assert_eq!(refusal.class(), (Code::FailedPrecondition, "ORDER_EMPTY"));

        let few = StockRules { quantity_max: 6, ..StockRules::default() };
        let data = r#"{"description":"caqui","price":"2","quantity":50}"#.to_owned();
        let request =
            InsertProductRequest { pid: "caqui".into(), data, request: request_id(), rules: Some(few) };
        market.cluster.admin(1).insert_product(patient(request)).await.unwrap();
        let refusal = market.refused_alike::<CreateOrder>(&creating("ana", &[("caqui", 7)])).await;
        assert_eq!(
            (refusal.class(), refusal.says("most")),
            ((Code::FailedPrecondition, "QUANTITY_OUTSIDE"), "6")
        );

        let ahead = RequestId { id: "ahead".into(), created_ms: store_client::now_ms() + 3 * 86_400_000 };
        let ahead = CreateOrderRequest { request: Some(ahead), ..creating("ana", &[]) };
        // How far ahead it is, each says by its own clock.
        let refusals = market.refused_over_each::<CreateOrder>(&ahead).await;
        let class = (Code::Unavailable, "CLOCKS_APART");
        assert!(refusals.iter().all(|one| one.class() == class), "{refusals:?}");

        let closed = creating("ana", &[]);
        let id = closed.request.clone().unwrap();
        let identity = Identity::user(id.id.into_bytes(), id.created_ms, 1, [0; 16]);
        store.outcome(bytes::Bytes::from_static(b"c/{ana}"), identity).await.unwrap();
        let refusal = market.refused_alike::<CreateOrder>(&closed).await;
        assert_eq!(refusal.class(), (Code::Aborted, "REQUEST_ID_CLOSED"));

        market.cluster.assert_audited().await;
    })
    .await;
}

/// As a cascade that was interrupted, a hand at the store, an earlier and a later program leave the shop's records.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_shops_records_forbid_is_refused_alike_over_each_transport() {
    with_each_broker(async |market: Market| {
        let store = market.cluster.store();
        let put = async |txn: Txn| assert!(store.txn(txn, None).await.unwrap().success);
        let made = market.repeated::<CreateOrder>(Via::Grpc, &creating("ana", &[])).await;
        put(Txn::new().put("p/{odd}", 0, "not JSON")).await;
        let odd = creating("ana", &[("odd", 1)]);
        let refusal = market.refused_alike::<CreateOrder>(&odd).await;
        assert_eq!((refusal.class(), refusal.says("key")), ((Code::Internal, "DAMAGED_RECORD"), "p/{odd}"));

        put(Txn::new().set_json("p/{kiwi}", 0, "/state", "\"closing\"")).await;
        let refusal = market.refused_alike::<CreateOrder>(&creating("ana", &[("kiwi", 1)])).await;
        assert_eq!(
            (refusal.class(), refusal.says("kind")),
            ((Code::FailedPrecondition, "CLOSING"), "product")
        );
        put(Txn::new().set_json("c/{ana}", 0, "/state", "\"closing\"")).await;
        let refusal = market.refused_alike::<CancelOrder>(&of(&made)).await;
        assert_eq!(
            (refusal.class(), refusal.says("kind")),
            ((Code::FailedPrecondition, "CLOSING"), "client")
        );

        put(Txn::new().delete("i/p")).await;
        is_refused_alike_soon(
            &market,
            (Code::FailedPrecondition, "INDEX_INCOMPLETE"),
            async |mut shop: Shop| {
                let sort = ListSort::Price.into();
                let request = BrowseProductsRequest { cid: "bia".into(), sort, ..Default::default() };
                shop.browse_products(patient(request)).await.map(drop)
            },
        )
        .await;

        put(Txn::new().set_json("shop", 0, "/schema", "99")).await;
        is_refused_alike_soon(&market, (Code::Unavailable, "PORTAL_OUTDATED"), async |mut shop: Shop| {
            let request = ShopGetProductRequest { cid: "bia".into(), pid: "fig".into() };
            shop.get_product(patient(request)).await.map(drop)
        })
        .await;
        let get = GetOrderRequest { cid: "ana".into(), oid: made.oid };
        assert_eq!(refused(market.shop(Via::Http).get_order(patient(get)).await).says("schema"), "99");
    })
    .await;
}

/// Over each transport by and by, since what a portal knows of the shop may be a lease old; what it says is then the same.
async fn is_refused_alike_soon(
    market: &Market,
    class: (Code, &str),
    ask: impl AsyncFn(Shop) -> Result<(), Status>,
) {
    let mut all = Vec::new();
    for via in market.ways {
        let refusal = wait::until("the refusal over each transport", PATIENCE, || async {
            let refusal = refused(match ask(market.shop(via)).await {
                Ok(()) => return Err(format!("{via:?} is served")),
                refused => refused,
            });
            if refusal.class() == class { Ok(refusal) } else { Err(format!("{via:?}: {refusal:?}")) }
        })
        .await;
        all.push(refusal);
    }
    assert!(all.iter().all(|one| *one == all[0]), "{all:#?}");
}
