//! Everybody wants the same product at once (the last pumpkin of the market): exactly what there was is sold, each order
//! is one transaction, and nobody is starved.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use feira_tests::cluster::{Cluster, Options};
use feira_tests::shop::{insert_client, insert_product, order, product};
use proto::portal::shop_client::ShopClient;
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
