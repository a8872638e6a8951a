//! Everybody wants the same product at once (the last pumpkin of the market): exactly what there was is sold, each order
//! is one transaction, and nobody is starved.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use feira_tests::cluster::{Cluster, Options};
use feira_tests::shop::{insert_client, insert_product, lines, order, patient, product, refused};
use feira_tests::shopper::{Shop, Via};
use proto::portal::shop_client::ShopClient;
use proto::portal::{CreateOrderRequest, RequestId};
use tonic::Code;
use tonic::transport::Channel;

const CLIENTS: usize = 64;
const STOCK: i64 = 10_000;

/// Orders one unit after another until there is none; how many it got.
async fn buy_until_gone(mut shop: ShopClient<Channel>, cid: String) -> (i64, Instant) {
    let mut bought = 0;
    loop {
        match order(&mut shop, &cid, &[("pumpkin", 1)]).await {
            Ok(_) => bought += 1,
            Err(status) if status.code() == Code::FailedPrecondition => return (bought, Instant::now()),
            Err(status) => panic!("{cid} after {bought}: {status}"),
        }
    }
}

#[tokio::test]
async fn sixty_four_clients_buy_one_product_until_it_is_gone() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let mut admin = cluster.admin(1);
    insert_product(&mut admin, "pumpkin", STOCK, "12.50").await.unwrap();
    for at in 0..CLIENTS {
        insert_client(&mut admin, &format!("c{at}")).await.unwrap();
    }
    let before = cluster.portal_status("client-1").await.unwrap().transactions;
    let begun = Instant::now();
    let channel = cluster.shop(1);
    let clients: Vec<_> =
        (0..CLIENTS).map(|at| tokio::spawn(buy_until_gone(channel.clone(), format!("c{at}")))).collect();
    let mut bought = Vec::new();
    let mut ended = begun;
    for client in clients {
        let (count, at) = client.await.unwrap();
        bought.push(count);
        ended = ended.max(at);
    }
    let seconds = (ended - begun).as_secs_f64();
    println!("{STOCK} orders in {seconds:.2} s: {:.0} orders/s", 10_000.0 / seconds);

    assert_eq!(bought.iter().sum::<i64>(), STOCK, "{bought:?}");
    let mean = STOCK / 64;
    assert!(bought.iter().all(|count| *count >= mean / 2), "somebody was starved: {bought:?}");
    let stock = product(&mut admin, "pumpkin").await.unwrap().stock.unwrap();
    assert_eq!((stock.initial, stock.adjusted, stock.available, stock.held), (STOCK, 0, 0, STOCK));

    // Each client's last, refused order was one transaction too.
    let after = cluster.portal_status("client-1").await.unwrap().transactions;
    let orders = u64::try_from(STOCK).unwrap() + CLIENTS as u64;
    assert_eq!(after - before, orders, "an order is one transaction");
    cluster.assert_audited().await;
}

/// The last one: a hundred requests want it, each sent twice at once, over three transports of two portals.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_one_is_sold_once_and_whoever_asks_again_is_answered_the_same() {
    const REQUESTS: usize = 100;
    let options = Options { client_portals: 2, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    insert_product(&mut cluster.admin(1), "pumpkin", 1, "12.50").await.unwrap();
    let ways = [Via::Grpc, Via::Http, Via::Mosquitto];
    let shops: Vec<Shop> = (0..6)
        .map(|at| Shop::new(ways[at % 3], &cluster, if at < 3 { "client-1" } else { "client-2" }))
        .collect();
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let ask = |request: usize, shop: &Shop| {
        let (mut shop, under_way, most) = (shop.clone(), Arc::clone(&under_way), Arc::clone(&most));
        let message = CreateOrderRequest {
            cid: "ana".to_owned(),
            lines: lines(&[("pumpkin", 1)]),
            request: Some(RequestId { id: format!("want-{request}"), created_ms: 0 }),
            ..CreateOrderRequest::default()
        };
        tokio::spawn(async move {
            most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let answer = shop.create_order(patient(message)).await;
            under_way.fetch_sub(1, Ordering::SeqCst);
            let refusal = |status| refused(Err::<(), _>(status)).reason;
            (request, answer.map(|order| order.into_inner().oid).map_err(refusal))
        })
    };
    // The same id goes to two portals, by two transports.
    let twice = (0..REQUESTS).flat_map(|request| [(request, request % 6), (request, (request + 4) % 6)]);
    let asked: Vec<_> = twice.map(|(request, shop)| ask(request, &shops[shop])).collect();
    let mut answers: BTreeMap<usize, Vec<Result<String, String>>> = BTreeMap::new();
    for one in asked {
        let (request, answer) = one.await.unwrap();
        answers.entry(request).or_default().push(answer);
    }
    assert!(most.load(Ordering::SeqCst) >= 2, "some were under way at once");
    let (sold, others): (Vec<_>, Vec<_>) = answers.values().partition(|both| both[0].is_ok());
    assert_eq!((sold.len(), others.len()), (1, REQUESTS - 1), "{answers:?}");
    assert_eq!(sold[0][0], sold[0][1], "both are answered with the one order");
    let is_short = |answer: &Result<String, String>| *answer == Err("STOCK_SHORT".to_owned());
    assert!(others.iter().all(|both| both.iter().all(is_short)), "{others:?}");
    let stock = product(&mut cluster.admin(1), "pumpkin").await.unwrap().stock.unwrap();
    assert_eq!((stock.available, stock.held), (0, 1));
    cluster.assert_audited().await;
}
