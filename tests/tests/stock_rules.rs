//! The rules of a product's stock over real processes: safety stock, backorder limit, smallest and largest quantity, not tracked, low
//! stock; set by staff over gRPC, HTTP and the tool, met by clients at their portal, at once and repeated; on one group and on a
//! ring of three shards. Each test ends with the audit of the books.
#![allow(clippy::unwrap_used)]

use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::http1::ask;
use feira_tests::shop::{insert_client, order, order_request, patient, refused, request_id};
use feira_tests::wait;
use proto::portal::admin_client::AdminClient;
use proto::portal::shop_client::ShopClient;
use proto::portal::{
    AdjustStockRequest, InsertProductRequest, Order, OrderRequest, Product, ShopGetProductRequest,
    StaffMoveRequest, StaffOrderRequest, Stock, StockRules, UpdateProductRequest,
};
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};

type Admin = AdminClient<Channel>;
type Shop = ShopClient<Channel>;

const CLIENTS: [&str; 6] = ["ana", "bia", "caio", "davi", "eva", "fabio"];
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const SHORT: (Code, &str) = (Code::FailedPrecondition, "STOCK_SHORT");
const OUTSIDE: (Code, &str) = (Code::FailedPrecondition, "QUANTITY_OUTSIDE");
const BROKEN: (Code, &str) = (Code::FailedPrecondition, "STOCK_RULE_BROKEN");

async fn open(shards: u64) -> Cluster {
    let options = Options { shards, admin_portals: 2, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    for cid in CLIENTS {
        insert_client(&mut cluster.admin(1), cid).await.unwrap();
    }
    cluster
}

async fn insert(admin: &mut Admin, pid: &str, quantity: i64, rules: StockRules) -> Result<Product, Status> {
    let data = json!({ "description": pid, "price": "1.50", "quantity": quantity }).to_string();
    let request =
        InsertProductRequest { pid: pid.to_owned(), data, request: request_id(), rules: Some(rules) };
    Ok(admin.insert_product(patient(request)).await?.into_inner())
}

async fn rule(admin: &mut Admin, pid: &str, rules: StockRules) -> Result<Product, Status> {
    let data = json!({ "description": pid, "price": "1.50" }).to_string();
    let request = UpdateProductRequest {
        pid: pid.to_owned(),
        data,
        rules: Some(rules),
        request: request_id(),
        ..UpdateProductRequest::default()
    };
    Ok(admin.update_product(patient(request)).await?.into_inner())
}

async fn adjust(admin: &mut Admin, pid: &str, amount: i64) -> Result<Product, Status> {
    let request =
        AdjustStockRequest { pid: pid.to_owned(), amount, request: request_id(), if_match_stock: 0 };
    Ok(admin.adjust_stock(patient(request)).await?.into_inner())
}

async fn cancel(shop: &mut Shop, order: &Order) -> Order {
    let request = OrderRequest {
        cid: order.cid.clone(),
        oid: order.oid.clone(),
        request: request_id(),
        ..OrderRequest::default()
    };
    shop.cancel_order(patient(request)).await.unwrap().into_inner()
}

/// The stock as lists show it: past the caches.
async fn stock(cluster: &Cluster, pid: &str) -> Stock {
    let request = proto::portal::ListRequest { prefix: pid.into(), limit: 1, ..Default::default() };
    let page = cluster.admin(1).list_products(patient(request)).await.unwrap().into_inner();
    let stock = page.products[0].stock.unwrap();
    let has = stock.available + stock.held + stock.sold;
    assert_eq!(stock.initial + stock.adjusted, has, "{pid}: {stock:?}");
    assert!(stock.available >= stock.least, "{pid}: {stock:?}");
    stock
}

/// Every rule's success and failure.
async fn each_rule(shards: u64) {
    let cluster = open(shards).await;
    let (mut admin, mut shop) = (cluster.admin(1), cluster.shop(1));
    let kept = StockRules { safety_stock: 4, low_stock: 5, ..StockRules::default() };
    assert!(!insert(&mut admin, "kept", 10, kept).await.unwrap().low);
    let ahead = StockRules { backorder_limit: 5, ..StockRules::default() };
    insert(&mut admin, "ahead", 3, ahead).await.unwrap();
    let packs = StockRules { quantity_min: 6, quantity_max: 24, ..StockRules::default() };
    insert(&mut admin, "packs", 100, packs).await.unwrap();
    let service = StockRules { untracked: true, ..StockRules::default() };
    insert(&mut admin, "service", 0, service).await.unwrap();

    let short = refused(order(&mut shop, "ana", &[("kept", 7), ("packs", 6)]).await);
    assert_eq!(short.class(), SHORT);
    assert_eq!(short.items, [("kept".to_owned(), "left=6 wanted=7".to_owned())]);
    for (quantity, cid) in [(5, "bia"), (25, "caio")] {
        let outside = refused(order(&mut shop, cid, &[("packs", quantity)]).await);
        assert_eq!(outside.class(), OUTSIDE);
        assert_eq!((outside.says("least"), outside.says("most")), ("6", "24"));
        assert!(outside.message.contains("6 to 24"), "{}", outside.message);
    }
    let all = [("kept", 6), ("ahead", 8), ("packs", 24), ("service", 1_000)];
    let made = order(&mut shop, "ana", &all).await.unwrap();
    assert_eq!(made.lines.iter().map(|line| line.untracked).collect::<Vec<_>>(), [false, false, false, true]);
    let least = ["kept", "ahead", "packs", "service"].map(|pid| {
        let cluster = &cluster;
        async move { stock(cluster, pid).await }
    });
    let numbers: Vec<(i64, i64, i64)> = futures::future::join_all(least)
        .await
        .into_iter()
        .map(|stock| (stock.available, stock.held, stock.least))
        .collect();
    assert_eq!(numbers, [(4, 6, 4), (-5, 8, -5), (76, 24, 0), (0, 0, 0)]);
    assert_eq!(refused(order(&mut shop, "bia", &[("ahead", 1)]).await).class(), SHORT);

    // What the present stock breaks is refused, and so is an adjustment that would.
    let broken = refused(rule(&mut admin, "kept", StockRules { safety_stock: 5, ..kept }).await);
    assert_eq!((broken.class(), broken.says("least"), broken.says("available")), (BROKEN, "5", "4"));
    assert_eq!(refused(rule(&mut admin, "ahead", StockRules::default()).await).class(), BROKEN);
    assert_eq!(refused(adjust(&mut admin, "kept", -1).await).class(), BROKEN);
    assert!(adjust(&mut admin, "kept", 1).await.unwrap().low);

    // What was taken comes back, whatever the rules are meanwhile.
    rule(&mut admin, "service", StockRules::default()).await.unwrap();
    rule(&mut admin, "packs", service).await.unwrap();
    cancel(&mut shop, &made).await;
    for (pid, available) in [("kept", 11), ("ahead", 3), ("packs", 100), ("service", 0)] {
        let stock = stock(&cluster, pid).await;
        assert_eq!((stock.available, stock.held), (available, 0), "{pid}");
    }
    cluster.assert_audited().await;
}

#[tokio::test]
async fn each_rule_lets_through_what_it_allows_and_refuses_the_rest() {
    each_rule(1).await;
}

#[tokio::test]
async fn on_a_ring_of_three_shards_each_rule_lets_through_what_it_allows() {
    each_rule(3).await;
}

/// Clients at once, each request sent twice under its id, while staff tighten the limit: it is never passed.
async fn rush(shards: u64) {
    let cluster = open(shards).await;
    let (mut admin, shop) = (cluster.admin(1), cluster.shop(1));
    let limit = |units| StockRules { backorder_limit: units, ..StockRules::default() };
    insert(&mut admin, "fig", 10, limit(30)).await.unwrap();
    let requests: Vec<_> =
        (0..60).map(|number| order_request(CLIENTS[number % CLIENTS.len()], &[("fig", 1)])).collect();
    let twice = requests.iter().flat_map(|request| [request.clone(), request.clone()]);
    let sent = twice.map(|request| {
        let mut shop = shop.clone();
        async move { shop.create_order(patient(request)).await.map(tonic::Response::into_inner) }
    });
    let tighten = async {
        // A limit that is passed already is refused; one that is not holds from then on.
        for units in [5, 10, 15, 20] {
            if let Err(status) = rule(&mut admin.clone(), "fig", limit(units)).await {
                assert_eq!(refused::<Product>(Err(status)).class(), BROKEN);
            }
        }
    };
    let (answers, ()) = tokio::join!(futures::future::join_all(sent), tighten);
    let mut made = 0;
    for both in answers.chunks(2) {
        match both {
            [Ok(one), Ok(other)] => {
                assert_eq!(one.oid, other.oid, "one effect, one answer");
                made += 1;
            }
            [Err(one), Err(other)] => {
                for status in [one, other] {
                    assert_eq!(refused::<Order>(Err(status.clone())).class(), SHORT, "{status}");
                }
            }
            both => panic!("the same request has the same answer: {both:?}"),
        }
    }
    let stock = stock(&cluster, "fig").await;
    assert_eq!((stock.available, stock.held), (10 - made, made));
    assert!(stock.available >= stock.least && made > 10, "{stock:?}");
    cluster.assert_audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_at_once_and_repeated_never_pass_the_backorder_limit() {
    rush(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_ring_of_three_shards_orders_at_once_never_pass_the_backorder_limit() {
    rush(3).await;
}

#[tokio::test]
async fn what_is_owed_is_sent_when_it_has_come_and_clients_see_only_what_they_can_order() {
    let cluster = open(1).await;
    let (mut admin, mut shop) = (cluster.admin(1), cluster.shop(1));
    let ahead = StockRules { backorder_limit: 5, ..StockRules::default() };
    insert(&mut admin, "fig", 1, ahead).await.unwrap();
    let made = order(&mut shop, "ana", &[("fig", 4)]).await.unwrap();
    let seen = ShopGetProductRequest { cid: "ana".into(), pid: "fig".into() };
    let shown = wait::until("the client's portal to show what is left", PATIENCE, || async {
        let product = shop.clone().get_product(patient(seen.clone())).await.unwrap().into_inner();
        let stock = product.stock.unwrap();
        if stock.available == 2 { Ok((product.rules, stock)) } else { Err(format!("{stock:?}")) }
    });
    let (rules, stock_shown) = shown.await;
    assert_eq!((rules, stock_shown.initial, stock_shown.held, stock_shown.least), (None, 0, 0, 0));
    let of = StaffOrderRequest {
        cid: made.cid.clone(),
        oid: made.oid.clone(),
        reason: "by telephone".into(),
        request: request_id(),
        ..StaffOrderRequest::default()
    };
    admin.confirm_order(patient(of)).await.unwrap();
    let moving = || StaffMoveRequest {
        cid: made.cid.clone(),
        oid: made.oid.clone(),
        request: request_id(),
        ..StaffMoveRequest::default()
    };
    admin.pay_order(patient(moving())).await.unwrap();
    adjust(&mut admin, "fig", 3).await.unwrap();
    admin.pack_order(patient(moving())).await.unwrap();
    admin.send_order(patient(moving())).await.unwrap();
    let stock = stock(&cluster, "fig").await;
    assert_eq!((stock.available, stock.held, stock.sold), (0, 0, 4));
    cluster.assert_audited().await;
}

/// What a command says, all of it; it must end with this exit code.
fn told(cluster: &Cluster, args: &[&str], exit: i32) -> String {
    let output = cluster.command(args).output().unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8(said).unwrap();
    assert_eq!(output.status.code(), Some(exit), "{args:?}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_set_over_http_and_by_the_tool() {
    let cluster = open(1).await;
    let insertion = ["admin", "inserirProduto", "fig", "description=Fig", "price=1.50", "quantity=9"];
    let flags = ["--safety-stock", "4", "--quantity-max", "5", "--low-stock", "9"];
    let made = told(&cluster, &[&insertion[..], &flags].concat(), 0);
    for part in ["safety stock", "most in an order", "9 (it is)", "low in stock: fig"] {
        assert!(made.contains(part), "{part}: {made}");
    }
    // A flag changes its own rule.
    told(&cluster, &["admin", "modificarProduto", "fig", "--quantity-max", "0"], 0);
    let shown: Value =
        serde_json::from_str(&told(&cluster, &["--json", "admin", "get-product", "fig"], 0)).unwrap();
    assert_eq!((&shown["rules"]["safety_stock"], &shown["rules"]["quantity_max"]), (&json!(4), &json!(0)));
    assert_eq!(
        (&shown["price"], &shown["low"], &shown["stock"]["least"]),
        (&json!("1.50"), &json!(true), &json!(4))
    );
    let broken = told(&cluster, &["admin", "update-product", "fig", "--safety-stock", "10"], 1);
    assert!(broken.contains("no less than 10") && broken.contains("adjust-stock"), "{broken}");
    let both = told(&cluster, &["admin", "update-product", "fig", "--backorder-limit", "3"], 1);
    assert!(both.contains("rules.backorder_limit"), "{both}");

    let body = json!({ "data": { "description": "Fig", "price": "1.50" }, "rules": { "quantity_min": 2 } });
    let put =
        |body: &Value| ask(cluster.address("admin-1"), "PUT /v1/products/fig", &JSON, &body.to_string());
    let updated = put(&body);
    assert_eq!((updated.status, &updated.json()["rules"]["quantity_min"]), (200, &json!(2)), "{updated:?}");
    assert_eq!(updated.json()["stock"]["least"], json!(0));
    let wrong = put(&json!({ "data": { "description": "Fig", "price": "1" }, "rules": { "quantity": 2 } }));
    assert_eq!(wrong.status, 400, "{wrong:?}");

    let order = json!({ "lines": [{ "pid": "fig", "quantity": 1 }] }).to_string();
    let outside = ask(cluster.address("client-1"), "POST /v1/clients/ana/orders", &JSON, &order);
    assert_eq!((outside.status, &outside.json()["reason"]), (409, &json!("QUANTITY_OUTSIDE")), "{outside:?}");
    assert_eq!((&outside.json()["quantity"], &outside.json()["least"]), (&json!(1), &json!(2)));
    let page = told(&cluster, &["shop", "--cid", "ana", "product", "fig"], 0);
    assert!(page.contains("least in an order") && !page.contains("safety"), "{page}");
    cluster.assert_audited().await;
}
