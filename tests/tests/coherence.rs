//! Caches over real processes: what is written through one portal is read through another within the cache lease,
//! with the broker alive, dead, started again and stopped (SIGSTOP). Each read's staleness is judged against when
//! the write it misses was acknowledged.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use feira_tests::cluster::{Cluster, Options};
use feira_tests::shop::{insert_client, insert_product, order, patient, product};
use nix::sys::signal::Signal;
use proto::portal::{BrowseProductsRequest, GetClientRequest, UpdateClientRequest, UpdateProductRequest};
use tonic::Code;

/// The bound on staleness, as configured by default.
const LEASE: Duration = Duration::from_secs(1);

fn two_of_each() -> Options {
    Options { admin_portals: 2, client_portals: 2, ..Options::default() }
}

/// Updates one client through the first portal again and again and reads it through the second after each: no read may
/// miss a write that was acknowledged longer ago than the lease.
async fn written_here_read_there(cluster: &Cluster, writes: u64, tag: &str) {
    let (mut here, mut there) = (cluster.admin(1), cluster.admin(2));
    let cid = format!("client-{tag}");
    insert_client(&mut here, &cid).await.unwrap();
    let mut acknowledged = vec![Instant::now()];
    for at in 1..=writes {
        let data = format!("{{\"name\":\"{cid}\",\"n\":{at}}}");
        let request = UpdateClientRequest { cid: cid.clone(), data, if_match: 0, request: None };
        here.update_client(patient(request)).await.unwrap();
        acknowledged.push(Instant::now());
        let asked = Instant::now();
        let found = there.get_client(patient(GetClientRequest { cid: cid.clone() })).await;
        let found = match found {
            Ok(found) => found.into_inner(),
            Err(status) => panic!("write {at}: {status}"),
        };
        let data: serde_json::Value = serde_json::from_str(&found.data).unwrap();
        let seen = usize::try_from(data["n"].as_u64().unwrap_or(0)).unwrap();
        if let Some(missed) = acknowledged.get(seen + 1) {
            let stale = asked.saturating_duration_since(*missed);
            assert!(stale <= LEASE, "write {} was missed {stale:?} after it was acknowledged", seen + 1);
        }
    }
}

#[tokio::test]
async fn two_of_each_portal_see_each_others_writes_within_the_lease() {
    let cluster = Cluster::start(feira_tests::feira!(), two_of_each()).await;
    written_here_read_there(&cluster, 300, "a").await;
    // What the portals found themselves. Some hits were compared, since there were thousands.
    let mut there = cluster.admin(2);
    for _ in 0..2_000 {
        there.get_client(patient(GetClientRequest { cid: "client-a".into() })).await.unwrap();
    }
    feira_tests::wait::until("hits to be compared", LEASE * 5, || async {
        let audit = cluster.tool(&["--json", "audit", "--caches"]);
        let told: serde_json::Value = serde_json::from_slice(&audit.stdout).unwrap();
        assert!(audit.status.success() && told["stale"] == 0, "{told}");
        if told["sampled"].as_u64() > Some(0) { Ok(()) } else { Err(told.to_string()) }
    })
    .await;

    let (mut admin, mut shop) = (cluster.admin(1), cluster.shop(2));
    insert_product(&mut admin, "banana", 10, "5.99").await.unwrap();
    let made = order(&mut shop, "client-a", &[("banana", 4)]).await.unwrap();
    assert_eq!((made.total.as_str(), made.lines.len()), ("23.96", 1));
    feira_tests::wait::until("the stock to be seen everywhere", LEASE * 2, || async {
        let mut other = cluster.admin(2);
        let stock = product(&mut other, "banana").await.unwrap().stock.unwrap();
        if (stock.available, stock.held) == (6, 4) { Ok(()) } else { Err(format!("{stock:?}")) }
    })
    .await;
}

#[tokio::test]
async fn an_absence_that_was_cached_is_no_reason_to_refuse() {
    let cluster = Cluster::start(feira_tests::feira!(), two_of_each()).await;
    let mut shop = cluster.shop(1);
    let browse =
        |cid: &str| BrowseProductsRequest { cid: cid.to_owned(), ..BrowseProductsRequest::default() };
    let refused = shop.browse_products(patient(browse("new"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    insert_client(&mut cluster.admin(2), "new").await.unwrap();
    shop.browse_products(patient(browse("new"))).await.unwrap();
}

#[tokio::test]
async fn an_order_never_gets_an_old_price_from_a_cache() {
    let cluster = Cluster::start(feira_tests::feira!(), two_of_each()).await;
    let (mut admin, mut shop) = (cluster.admin(1), cluster.shop(1));
    insert_client(&mut admin, "ana").await.unwrap();
    insert_product(&mut admin, "fig", 1_000, "1").await.unwrap();
    for price in 2..50 {
        let data = format!("{{\"description\":\"fig\",\"price\":\"{price}\"}}");
        let request = UpdateProductRequest { pid: "fig".into(), data, ..UpdateProductRequest::default() };
        admin.update_product(patient(request)).await.unwrap();
        let made = order(&mut shop, "ana", &[("fig", 1)]).await.unwrap();
        assert_eq!(made.total, format!("{price}.00"), "the price was changed before the order was asked for");
    }
}

#[tokio::test]
async fn a_dead_broker_costs_freshness_nothing_and_comes_back() {
    let mut cluster = Cluster::start(feira_tests::feira!(), two_of_each()).await;
    cluster.mosquitto.as_mut().unwrap().kill();
    written_here_read_there(&cluster, 1_000, "dead").await;
    cluster.mosquitto.as_mut().unwrap().start_again();
    cluster.wait_until_live().await;
    written_here_read_there(&cluster, 200, "again").await;
}

#[tokio::test]
async fn a_stopped_broker_costs_freshness_nothing_and_comes_back() {
    let cluster = Cluster::start(feira_tests::feira!(), two_of_each()).await;
    let signal = |signal| cluster.mosquitto.as_ref().unwrap().process.as_ref().unwrap().signal(signal);
    written_here_read_there(&cluster, 50, "before").await;
    signal(Signal::SIGSTOP);
    written_here_read_there(&cluster, 1_000, "stopped").await;
    signal(Signal::SIGCONT);
    cluster.wait_until_live().await;
    written_here_read_there(&cluster, 200, "after").await;
}

#[tokio::test]
async fn the_embedded_broker_keeps_caches_coherent_too() {
    let mut cluster =
        Cluster::start(feira_tests::feira!(), Options { embedded_broker: true, ..two_of_each() }).await;
    written_here_read_there(&cluster, 200, "first").await;
    cluster.kill("broker");
    written_here_read_there(&cluster, 200, "without").await;
    cluster.run("broker");
    cluster.wait_until_live().await;
    written_here_read_there(&cluster, 200, "with").await;
}

#[tokio::test]
async fn caches_stay_right_while_leaders_die() {
    let mut cluster = Cluster::start(feira_tests::feira!(), two_of_each()).await;
    for round in 0..3 {
        written_here_read_there(&cluster, 100, &format!("r{round}")).await;
        let leader = cluster.leader().await;
        cluster.kill(&leader);
        written_here_read_there(&cluster, 100, &format!("killed{round}")).await;
        cluster.run(&leader);
    }
    cluster.wait_until_live().await;
}
