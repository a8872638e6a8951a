//! The shoppers' service over real processes, through several portals: every operation with success and
//! with each way to fail (C3, C7), request ids repeated through another portal, and nothing that rests on what a cache
//! says wrongly. Each test ends with the audit of the books.
#![allow(clippy::unwrap_used)]

use std::ops::{Deref, DerefMut};

use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::shop::{
    Refusal, insert_client, insert_product, lines, patient, refusal, refused, request_id,
};
use feira_tests::shopper::{Shop, Told, Via};
use feira_tests::wait;
use proto::portal::{
    BrowseProductsRequest, CreateOrderRequest, GetOrderRequest, LineChange, ListOrdersRequest,
    ModifyOrderRequest, Order, OrderRequest, OrderState, RequestId, ShopGetProductRequest,
    UpdateProductRequest,
};
use tonic::{Code, Status};

/// A cluster whose shoppers come in one way.
struct Shops {
    cluster: Cluster,
    via: Via,
}

impl Shops {
    fn shop(&self, at: usize) -> Shop {
        Shop::new(self.via, &self.cluster, &format!("client-{at}"))
    }
}

impl Deref for Shops {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl DerefMut for Shops {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }
}

/// A test over each transport, with a cluster of its own. Over a broker it has so many portals: which of several is asked the
/// caller cannot choose, and what one of them has just written another may know a cache lease later.
async fn over_each(of_broker: usize, test: impl AsyncFn(Shops)) {
    for via in Via::ALL {
        let _told = Told(via);
        let portals = if matches!(via, Via::Grpc | Via::Http) { 3 } else { of_broker };
        test(Shops { cluster: open(via, portals, 1).await, via }).await;
    }
    // And once on a ring, where nearly every order is over several shards.
    let via = Via::Grpc;
    let _told = Told(via);
    test(Shops { cluster: open(via, 3, 3).await, via }).await;
}

const INVALID: (Code, &str) = (Code::InvalidArgument, "INVALID_FIELD");
const NOT_FOUND: (Code, &str) = (Code::NotFound, "NOT_FOUND");
const UNKNOWN: (Code, &str) = (Code::Unauthenticated, "CLIENT_UNKNOWN");
const NOT_YOURS: (Code, &str) = (Code::PermissionDenied, "ORDER_OF_ANOTHER_CLIENT");
const NOT_OPEN: (Code, &str) = (Code::FailedPrecondition, "ORDER_NOT_OPEN");
const SHORT: (Code, &str) = (Code::FailedPrecondition, "STOCK_SHORT");
const REUSED: (Code, &str) = (Code::InvalidArgument, "REQUEST_ID_REUSED");

/// Shoppers' portals; the clients `ana` and `bia`; 100 figs and 100 kiwis.
async fn open(via: Via, client_portals: usize, shards: u64) -> Cluster {
    let options =
        Options { shards, client_portals, embedded_broker: via == Via::EmbeddedBroker, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    let mut admin = cluster.admin(1);
    for cid in ["ana", "bia"] {
        insert_client(&mut admin, cid).await.unwrap();
    }
    for (pid, price) in [("fig", "1.50"), ("kiwi", "0.999")] {
        insert_product(&mut admin, pid, 100, price).await.unwrap();
    }
    cluster
}

/// The books, at one position on every replica; the stock of a product as it must be in the end.
async fn close(cluster: &Cluster, stocks: &[(&str, i64, i64)]) {
    cluster.assert_audited().await;
    for (pid, available, held) in stocks {
        let stock = stock(cluster, pid).await;
        assert_eq!((stock.0, stock.1), (*available, *held), "{pid}");
    }
}

/// What is available and what is held of a product, once the administrators' portal shows what was last written.
async fn stock(cluster: &Cluster, pid: &str) -> (i64, i64) {
    // Lists are read past the cache.
    let request = proto::portal::ListRequest { prefix: pid.to_owned(), limit: 1, ..Default::default() };
    let listed = cluster.admin(1).list_products(patient(request)).await.unwrap().into_inner();
    let stock = listed.products[0].stock.unwrap();
    assert_eq!(stock.initial + stock.adjusted, stock.available + stock.held, "{pid}: {stock:?}");
    (stock.available, stock.held)
}

fn creating(cid: &str, wanted: &[(&str, i64)]) -> CreateOrderRequest {
    CreateOrderRequest {
        cid: cid.to_owned(),
        lines: lines(wanted),
        request: request_id(),
        ..CreateOrderRequest::default()
    }
}

fn modifying(cid: &str, oid: &str, wanted: &[(&str, i64)]) -> ModifyOrderRequest {
    let (cid, oid) = (cid.to_owned(), oid.to_owned());
    ModifyOrderRequest {
        cid,
        oid,
        lines: lines(wanted),
        if_match: 0,
        request: request_id(),
        ..ModifyOrderRequest::default()
    }
}

fn of(cid: &str, oid: &str) -> OrderRequest {
    OrderRequest {
        cid: cid.to_owned(),
        oid: oid.to_owned(),
        request: request_id(),
        ..OrderRequest::default()
    }
}

async fn order(shop: &mut Shop, cid: &str, wanted: &[(&str, i64)]) -> Result<Order, Status> {
    Ok(shop.create_order(patient(creating(cid, wanted))).await?.into_inner())
}

async fn modify(shop: &mut Shop, made: &Order, wanted: &[(&str, i64)]) -> Result<Order, Status> {
    Ok(shop.modify_order(patient(modifying(&made.cid, &made.oid, wanted))).await?.into_inner())
}

async fn get(shop: &mut Shop, cid: &str, oid: &str) -> Result<Order, Status> {
    let request = GetOrderRequest { cid: cid.to_owned(), oid: oid.to_owned() };
    Ok(shop.get_order(patient(request)).await?.into_inner())
}

fn shown(order: &Order) -> Vec<(&str, i64, &str, &str)> {
    order.lines.iter().map(|l| (l.pid.as_str(), l.quantity, l.price.as_str(), l.subtotal.as_str())).collect()
}

#[track_caller]
fn names_field(refusal: &Refusal, field: &str) {
    assert_eq!((refusal.class(), refusal.says("field")), (INVALID, field), "{refusal:?}");
    assert_eq!(refusal.fields, [field]);
}

#[track_caller]
fn is_of(refusal: &Refusal, class: (Code, &str), name: &str, value: &str) {
    assert_eq!((refusal.class(), refusal.says(name)), (class, value), "{refusal:?}");
}

#[tokio::test]
async fn an_order_goes_through_its_life_over_three_portals() {
    over_each(1, async |cluster: Shops| {
        let [mut one, mut two, mut three] = [cluster.shop(1), cluster.shop(2), cluster.shop(3)];
        let made = order(&mut one, "ana", &[("fig", 2), ("kiwi", 1), ("fig", 1)]).await.unwrap();
        assert_eq!(
            shown(&made),
            [("fig", 3, "1.50", "4.50"), ("kiwi", 1, "0.999", "0.999")],
            "lines of one product are merged"
        );
        assert_eq!(
            (made.total.as_str(), made.state(), made.cid.as_str()),
            ("5.499", OrderState::Open, "ana")
        );
        assert_eq!(get(&mut three, "ana", &made.oid).await.unwrap(), made);
        assert_eq!(stock(&cluster, "fig").await, (97, 3));

        let changed = modify(&mut two, &made, &[("fig", 10), ("kiwi", 0)]).await.unwrap();
        assert_eq!((shown(&changed), changed.total.as_str()), (vec![("fig", 10, "1.50", "15.00")], "15.00"));
        assert_eq!((stock(&cluster, "fig").await, stock(&cluster, "kiwi").await), ((90, 10), (100, 0)));
        let back = modify(&mut three, &made, &[("fig", 4)]).await.unwrap();
        assert_eq!(
            (stock(&cluster, "fig").await, back.version),
            ((96, 4), 3),
            "exactly the difference moves"
        );

        let confirmed = one.confirm_order(patient(of("ana", &made.oid))).await.unwrap().into_inner();
        assert_eq!((confirmed.state(), confirmed.total.as_str()), (OrderState::Confirmed, "6.00"));
        let again = two.confirm_order(patient(of("ana", &made.oid))).await.unwrap().into_inner();
        assert_eq!(again, confirmed, "confirming twice changes nothing");
        let other = order(&mut two, "ana", &[("kiwi", 7)]).await.unwrap();
        let cancelled = three.cancel_order(patient(of("ana", &other.oid))).await.unwrap().into_inner();
        assert_eq!(cancelled.state(), OrderState::Cancelled);
        let again = one.cancel_order(patient(of("ana", &other.oid))).await.unwrap().into_inner();
        assert_eq!(again, cancelled, "the stock comes back once");

        let request = ListOrdersRequest { cid: "ana".into(), ..ListOrdersRequest::default() };
        let listed = two.list_orders(patient(request)).await.unwrap().into_inner().orders;
        let mut seen: Vec<_> =
            listed.iter().map(|one| (one.oid.as_str(), one.total.as_str(), one.state(), one.lines)).collect();
        let mut expected = vec![
            (made.oid.as_str(), "6.00", OrderState::Confirmed, 1),
            (other.oid.as_str(), "6.993", OrderState::Cancelled, 1),
        ];
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected);
        close(&cluster, &[("fig", 96, 4), ("kiwi", 100, 0)]).await;
    })
    .await;
}

#[tokio::test]
async fn an_order_that_the_stock_cannot_fill_says_how_many_are_left_and_moves_nothing() {
    over_each(1, async |cluster: Shops| {
        let [mut one, mut two] = [cluster.shop(1), cluster.shop(2)];
        insert_product(&mut cluster.admin(1), "caqui", 3, "2").await.unwrap();
        let short = refused(order(&mut one, "ana", &[("caqui", 5), ("fig", 1), ("kiwi", 101)]).await);
        assert_eq!(short.class(), SHORT);
        let items = [("caqui", "left=3 wanted=5"), ("kiwi", "left=100 wanted=101")];
        assert_eq!(short.items, items.map(|(pid, left)| (pid.to_owned(), left.to_owned())));
        assert!(short.message.contains("caqui (5 wanted, 3 left)"), "{short:?}");
        let made = order(&mut two, "ana", &[("caqui", 2)]).await.unwrap();
        let short = refused(modify(&mut one, &made, &[("caqui", 4), ("fig", 1)]).await);
        assert_eq!((short.class(), short.items[0].1.as_str()), (SHORT, "left=1 wanted=2 holds=2"));
        assert!(short.message.contains("caqui (2 more wanted than the 2 it holds, 1 left)"), "{short:?}");
        assert_eq!(get(&mut two, "ana", &made.oid).await.unwrap(), made);
        let all = modify(&mut one, &made, &[("caqui", 3)]).await.unwrap();
        assert_eq!(all.lines[0].quantity, 3, "all that is there");
        close(&cluster, &[("caqui", 0, 3), ("fig", 100, 0), ("kiwi", 100, 0)]).await;
    })
    .await;
}

#[tokio::test]
async fn only_registered_clients_get_past_any_operation() {
    over_each(1, async |cluster: Shops| {
        let mut shop = cluster.shop(1);
        let made = order(&mut shop, "ana", &[("fig", 1)]).await.unwrap();
        let nobody = |refusal: &Refusal| is_of(refusal, UNKNOWN, "cid", "nobody");
        nobody(&refusal(shop.create_order(patient(creating("nobody", &[("fig", 1)]))).await));
        for oid in [made.oid.as_str(), "nope"] {
            nobody(&refusal(shop.modify_order(patient(modifying("nobody", oid, &[("fig", 1)]))).await));
            nobody(&refusal(shop.confirm_order(patient(of("nobody", oid))).await));
            nobody(&refusal(shop.cancel_order(patient(of("nobody", oid))).await));
            nobody(&refused(get(&mut shop, "nobody", oid).await));
        }
        let request = ListOrdersRequest { cid: "nobody".into(), ..ListOrdersRequest::default() };
        nobody(&refusal(shop.list_orders(patient(request)).await));
        let request = BrowseProductsRequest { cid: "nobody".into(), ..BrowseProductsRequest::default() };
        nobody(&refusal(shop.browse_products(patient(request)).await));
        let request = ShopGetProductRequest { cid: "nobody".into(), pid: "fig".into() };
        nobody(&refusal(shop.get_product(patient(request)).await));
        close(&cluster, &[("fig", 99, 1)]).await;
    })
    .await;
}

#[tokio::test]
async fn another_clients_order_and_one_that_is_not_there_are_told_apart() {
    over_each(1, async |cluster: Shops| {
        let [mut one, mut two] = [cluster.shop(1), cluster.shop(2)];
        let made = order(&mut one, "ana", &[("fig", 1)]).await.unwrap();
        for (cid, oid, class, name, value) in [
            ("bia", made.oid.as_str(), NOT_YOURS, "oid", made.oid.as_str()),
            ("ana", "nope", NOT_FOUND, "id", "nope"),
        ] {
            is_of(&refused(get(&mut two, cid, oid).await), class, name, value);
            let changed = two.modify_order(patient(modifying(cid, oid, &[("fig", 2)]))).await;
            is_of(&refusal(changed), class, name, value);
            is_of(&refusal(two.confirm_order(patient(of(cid, oid))).await), class, name, value);
            is_of(&refusal(two.cancel_order(patient(of(cid, oid))).await), class, name, value);
        }
        for (cid, oid, field) in [("", "x", "cid"), ("ana", "", "oid")] {
            names_field(&refused(get(&mut one, cid, oid).await), field);
            names_field(&refusal(one.cancel_order(patient(of(cid, oid))).await), field);
            names_field(&refusal(one.confirm_order(patient(of(cid, oid))).await), field);
            names_field(&refusal(one.modify_order(patient(modifying(cid, oid, &[("fig", 1)]))).await), field);
        }
        close(&cluster, &[("fig", 99, 1)]).await;
    })
    .await;
}

#[tokio::test]
async fn orders_that_are_not_open_stay_as_they_are() {
    over_each(1, async |cluster: Shops| {
        let [mut one, mut two] = [cluster.shop(1), cluster.shop(2)];
        let sold = order(&mut one, "ana", &[("fig", 1)]).await.unwrap();
        one.confirm_order(patient(of("ana", &sold.oid))).await.unwrap();
        let gone = order(&mut one, "ana", &[("fig", 1)]).await.unwrap();
        one.cancel_order(patient(of("ana", &gone.oid))).await.unwrap();
        for (made, state) in [(&sold, "confirmed"), (&gone, "cancelled")] {
            let refused = refused(modify(&mut two, made, &[("fig", 2)]).await);
            is_of(&refused, NOT_OPEN, "state", state);
            assert_eq!(refused.says("oid"), made.oid);
        }
        is_of(
            &refusal(two.cancel_order(patient(of("ana", &sold.oid))).await),
            NOT_OPEN,
            "state",
            "confirmed",
        );
        is_of(
            &refusal(two.confirm_order(patient(of("ana", &gone.oid))).await),
            NOT_OPEN,
            "state",
            "cancelled",
        );
        let other = order(&mut one, "ana", &[("fig", 5)]).await.unwrap();
        let changed = modify(&mut two, &other, &[("fig", 6)]).await.unwrap();
        let late = ModifyOrderRequest { if_match: other.etag, ..modifying("ana", &other.oid, &[("fig", 7)]) };
        let late = refusal(one.modify_order(patient(late)).await);
        is_of(&late, (Code::Aborted, "CHANGED"), "etag", &changed.etag.to_string());
        close(&cluster, &[("fig", 93, 7)]).await;
    })
    .await;
}

#[tokio::test]
async fn what_was_shown_is_what_is_bought_or_both_are_told() {
    over_each(1, async |cluster: Shops| {
        let mut shop = cluster.shop(1);
        let priced = |quantity, price: &str| {
            let expect_price = price.to_owned();
            vec![LineChange { quantity, expect_price, ..lines(&[("kiwi", 0)]).remove(0) }]
        };
        let create = |lines| CreateOrderRequest { lines, ..creating("ana", &[]) };
        let is_repriced = |refused: &Refusal, prices: &str| {
            assert_eq!(refused.class(), (Code::FailedPrecondition, "PRICE_CHANGED"), "{refused:?}");
            assert_eq!(refused.items, [("kiwi".to_owned(), prices.to_owned())]);
        };
        let other = refusal(shop.create_order(patient(create(priced(3, "1")))).await);
        is_repriced(&other, "expected=1.00 price=0.999");
        let made = shop.create_order(patient(create(priced(3, "0.9990")))).await.unwrap().into_inner();
        let change = |lines| ModifyOrderRequest { lines, ..modifying("ana", &made.oid, &[]) };
        let other = refusal(shop.modify_order(patient(change(priced(4, "0.99")))).await);
        is_repriced(&other, "expected=0.99 price=0.999");
        let confirm = |total: &str| OrderRequest { expect_total: total.into(), ..of("ana", &made.oid) };
        let other = refusal(shop.confirm_order(patient(confirm("2.99"))).await);
        assert_eq!(other.class(), (Code::FailedPrecondition, "TOTAL_CHANGED"), "{other:?}");
        assert_eq!((other.says("expected"), other.says("total")), ("2.99", "2.997"));
        let confirmed = shop.confirm_order(patient(confirm("3.00"))).await.unwrap().into_inner();
        assert_eq!(confirmed.state(), OrderState::Confirmed);
        close(&cluster, &[("fig", 100, 0), ("kiwi", 97, 3)]).await;
    })
    .await;
}

#[tokio::test]
async fn wrong_fields_are_named_and_products_that_are_not_there_too() {
    over_each(1, async |cluster: Shops| {
        let mut shop = cluster.shop(1);
        let made = order(&mut shop, "ana", &[("fig", 1)]).await.unwrap();
        let long = "x".repeat(129);
        let lots: Vec<(String, i64)> = (0..1_001).map(|at| (format!("p{at}"), 1)).collect();
        let lots: Vec<(&str, i64)> = lots.iter().map(|(pid, quantity)| (pid.as_str(), *quantity)).collect();
        for (cid, wanted, field) in [
            ("", &[][..], "cid"),
            (long.as_str(), &[], "cid"),
            ("ana", &[("fig", -1)], "lines[0].quantity"),
            ("ana", &[("fig", 1), ("fig", 1_000_000)], "lines[1].quantity"),
            ("ana", &[("kiwi", 1), ("", 1)], "lines[1].pid"),
            ("ana", &lots, "lines"),
        ] {
            names_field(&refusal(shop.create_order(patient(creating(cid, wanted))).await), field);
        }
        names_field(&refused(modify(&mut shop, &made, &[]).await), "lines");
        names_field(&refused(modify(&mut shop, &made, &[("fig", -1)]).await), "lines[0].quantity");
        let request = RequestId { id: "r".repeat(65), created_ms: 0 };
        let request = CreateOrderRequest { request: Some(request), ..creating("ana", &[]) };
        names_field(&refusal(shop.create_order(patient(request)).await), "request.id");
        for (limit, after, field) in [(1_001, "", "limit"), (1, "nope", "after")] {
            let request = ListOrdersRequest { cid: "ana".into(), limit, after: after.to_owned() };
            names_field(&refusal(shop.list_orders(patient(request)).await), field);
        }
        let request = BrowseProductsRequest { cid: "ana".into(), limit: 1_001, ..Default::default() };
        names_field(&refusal(shop.browse_products(patient(request)).await), "limit");
        let product = |pid: &str| ShopGetProductRequest { cid: "ana".into(), pid: pid.to_owned() };
        names_field(&refusal(shop.get_product(patient(product(""))).await), "pid");
        is_of(&refusal(shop.get_product(patient(product("x"))).await), NOT_FOUND, "id", "x");
        is_of(&refused(order(&mut shop, "ana", &[("fig", 1), ("x", 1)]).await), NOT_FOUND, "id", "x");
        is_of(&refused(modify(&mut shop, &made, &[("x", 1)]).await), NOT_FOUND, "kind", "product");
        close(&cluster, &[("fig", 99, 1), ("kiwi", 100, 0)]).await;
    })
    .await;
}

#[tokio::test]
async fn orders_and_products_are_listed_page_by_page() {
    over_each(1, async |cluster: Shops| {
        let [mut one, mut two] = [cluster.shop(1), cluster.shop(2)];
        let mut expected = Vec::new();
        for quantity in 0..7 {
            // The first is empty: it is listed too.
            let lines = &[("fig", quantity)][usize::from(quantity == 0)..];
            let made = order(&mut one, "ana", lines).await.unwrap();
            expected.push((made.oid, made.total));
        }
        order(&mut one, "bia", &[("kiwi", 1)]).await.unwrap();
        expected.sort();
        let (mut listed, mut after) = (Vec::new(), String::new());
        loop {
            let request = ListOrdersRequest { cid: "ana".into(), limit: 3, after };
            let page = two.list_orders(patient(request)).await.unwrap().into_inner();
            assert!(page.orders.len() <= 3);
            listed.extend(page.orders.into_iter().map(|one| (one.oid, one.total)));
            after = page.next;
            if after.is_empty() {
                break;
            }
        }
        assert_eq!(listed, expected);
        let browse = |prefix: &str, limit, after: &str| {
            let (prefix, after) = (prefix.to_owned(), after.to_owned());
            BrowseProductsRequest { cid: "bia".into(), prefix, limit, after, ..Default::default() }
        };
        let first = two.browse_products(patient(browse("", 1, ""))).await.unwrap().into_inner();
        let rest = two.browse_products(patient(browse("", 1, &first.next))).await.unwrap().into_inner();
        let pids = [first.products, rest.products].concat();
        let pids: Vec<_> = pids.iter().map(|p| (p.pid.as_str(), p.stock.unwrap().available)).collect();
        assert_eq!(pids, [("fig", 79), ("kiwi", 99)]);
        let none = two.browse_products(patient(browse("zz", 0, ""))).await.unwrap().into_inner();
        assert!(none.products.is_empty() && none.next.is_empty());
        close(&cluster, &[("fig", 79, 21), ("kiwi", 99, 1)]).await;
    })
    .await;
}

#[tokio::test]
async fn a_request_repeated_through_another_portal_changes_nothing_twice() {
    over_each(1, async |cluster: Shops| {
        let [mut one, mut two, mut three] = [cluster.shop(1), cluster.shop(2), cluster.shop(3)];
        let create = creating("ana", &[("fig", 4)]);
        let made = one.create_order(patient(create.clone())).await.unwrap().into_inner();
        for shop in [&mut two, &mut three, &mut one] {
            assert_eq!(shop.create_order(patient(create.clone())).await.unwrap().into_inner(), made);
        }
        assert_eq!(stock(&cluster, "fig").await, (96, 4));
        let change = ModifyOrderRequest { if_match: made.etag, ..modifying("ana", &made.oid, &[("fig", 9)]) };
        let changed = two.modify_order(patient(change.clone())).await.unwrap().into_inner();
        let back = modify(&mut one, &made, &[("fig", 1)]).await.unwrap();
        assert_eq!(
            three.modify_order(patient(change)).await.unwrap().into_inner(),
            changed,
            "the answer of then"
        );
        assert_eq!(get(&mut one, "ana", &made.oid).await.unwrap(), back, "and nothing is moved again");
        let cancel = of("ana", &made.oid);
        let cancelled = one.cancel_order(patient(cancel.clone())).await.unwrap().into_inner();
        assert_eq!(two.cancel_order(patient(cancel)).await.unwrap().into_inner(), cancelled);
        assert_eq!(three.create_order(patient(create.clone())).await.unwrap().into_inner(), made);

        // The same id for something else, in each way that this can happen.
        let other = CreateOrderRequest { lines: lines(&[("fig", 5)]), ..create.clone() };
        is_of(
            &refusal(two.create_order(patient(other)).await),
            REUSED,
            "request",
            &create.request.clone().unwrap().id,
        );
        let cancel = OrderRequest { request: create.request.clone(), ..of("ana", &made.oid) };
        assert_eq!(refusal(three.cancel_order(patient(cancel)).await).class(), REUSED);
        // Ids are a client's own: another may use the same.
        let of_bia = CreateOrderRequest { cid: "bia".into(), ..create.clone() };
        assert_ne!(two.create_order(patient(of_bia)).await.unwrap().into_inner().oid, made.oid);
        // A refusal is remembered too, and an id made long ago is not executed any more.
        let much = creating("ana", &[("kiwi", 101)]);
        let short = refusal(one.create_order(patient(much.clone())).await);
        let more = proto::portal::AdjustStockRequest {
            pid: "kiwi".into(),
            amount: 50,
            request: request_id(),
            if_match_stock: 0,
        };
        cluster.admin(1).adjust_stock(patient(more)).await.unwrap();
        assert_eq!(refusal(two.create_order(patient(much)).await), short);
        let old = Some(RequestId { created_ms: 1, ..request_id().unwrap() });
        let old = CreateOrderRequest { request: old, ..creating("ana", &[("fig", 1)]) };
        let expired = refusal(three.create_order(patient(old)).await);
        assert_eq!(expired.class(), (Code::FailedPrecondition, "REQUEST_ID_EXPIRED"));
        close(&cluster, &[("fig", 96, 4), ("kiwi", 150, 0)]).await;
    })
    .await;
}

#[tokio::test]
async fn the_price_of_an_order_is_the_price_of_then_never_an_old_one_of_a_cache() {
    over_each(1, async |cluster: Shops| {
        let [mut one, mut two] = [cluster.shop(1), cluster.shop(2)];
        let mut admin = cluster.admin(1);
        let made = order(&mut one, "ana", &[("fig", 1)]).await.unwrap();
        for (at, price) in ["2.00", "3.00", "4.00", "5.00"].into_iter().enumerate() {
            // Both portals have it cached now; the commit must not rest on that.
            for shop in [&mut one, &mut two] {
                let request = ShopGetProductRequest { cid: "ana".into(), pid: "fig".into() };
                shop.get_product(patient(request)).await.unwrap();
            }
            let data = format!("{{\"description\":\"fig\",\"price\":\"{price}\"}}");
            let request = UpdateProductRequest { pid: "fig".into(), data, ..Default::default() };
            admin.update_product(patient(request)).await.unwrap();
            let shop = if at % 2 == 0 { &mut one } else { &mut two };
            assert_eq!(order(shop, "bia", &[("fig", 1)]).await.unwrap().total, price);
            let kept = modify(shop, &made, &[("fig", 2 + i64::try_from(at).unwrap())]).await.unwrap();
            assert_eq!(kept.lines[0].price, "1.50", "a line keeps the price of when it was added");
        }
        let again = modify(&mut one, &made, &[("fig", 0), ("kiwi", 1)]).await.unwrap();
        assert_eq!(again.total, "0.999");
        let again = modify(&mut two, &made, &[("fig", 1)]).await.unwrap();
        assert_eq!(again.lines[1].price, "5.00", "a line that came back is a new one");
        close(&cluster, &[("fig", 95, 5), ("kiwi", 99, 1)]).await;
    })
    .await;
}

/// Buys, changes and cancels at random (seeded), and tells what its orders hold in the end.
async fn wander(mut shops: Vec<Shop>, cid: String, seed: u64) -> (i64, i64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut open: Vec<Order> = Vec::new();
    for _ in 0..40 {
        let at = usize::try_from(random(3)).unwrap();
        let wanted =
            [("fig", i64::try_from(random(6)).unwrap()), ("kiwi", i64::try_from(random(6)).unwrap())];
        let shop = &mut shops[at];
        let answer = match (random(4), open.pop()) {
            (0 | 1, last) => {
                open.extend(last);
                // A new order has no line that a 0 could take out.
                let some: Vec<(&str, i64)> =
                    wanted.into_iter().filter(|(_, quantity)| *quantity > 0).collect();
                order(shop, &cid, &some).await
            }
            (_, None) => continue,
            (2, Some(last)) => match modify(shop, &last, &wanted).await {
                Err(status) => {
                    open.push(last);
                    Err(status)
                }
                done => done,
            },
            (_, Some(last)) => {
                shop.cancel_order(patient(of(&cid, &last.oid))).await.unwrap();
                continue;
            }
        };
        match answer {
            Ok(made) => open.push(made),
            Err(status) => assert_eq!(refused::<Order>(Err(status)).class(), SHORT),
        }
    }
    let held = |pid: &str| {
        open.iter()
            .flat_map(|order| &order.lines)
            .filter(|line| line.pid == pid)
            .map(|line| line.quantity)
            .sum()
    };
    (held("fig"), held("kiwi"))
}

#[tokio::test]
async fn shoppers_at_three_portals_at_once_leave_books_that_balance() {
    over_each(3, async |mut cluster: Shops| {
        let mut shoppers = Vec::new();
        for seed in 0..12 {
            let cid = format!("c{seed}");
            insert_client(&mut cluster.admin(1), &cid).await.unwrap();
            let shops = (1..=3).map(|at| cluster.shop(at)).collect();
            shoppers.push(tokio::spawn(wander(shops, cid, seed + 1)));
        }
        let (mut figs, mut kiwis) = (0, 0);
        for shopper in shoppers {
            let (fig, kiwi) = shopper.await.unwrap();
            (figs, kiwis) = (figs + fig, kiwis + kiwi);
        }
        close(&cluster, &[("fig", 100 - figs, figs), ("kiwi", 100 - kiwis, kiwis)]).await;
        // And again after a portal and the leader died.
        cluster.kill("client-2");
        let leader = cluster.leader().await;
        cluster.kill(&leader);
        cluster.run(&leader);
        cluster.run("client-2");
        cluster.wait_until_live().await;
        wait::until("an order after all that", PATIENCE, || async {
            let answer = order(&mut cluster.shop(2), "ana", &[]).await;
            answer.map_err(|status| status.to_string())
        })
        .await;
        close(&cluster, &[("fig", 100 - figs, figs), ("kiwi", 100 - kiwis, kiwis)]).await;
    })
    .await;
}
