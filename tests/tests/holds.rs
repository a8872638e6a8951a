//! The ends of reservations over real processes: leaders and portals are killed while orders expire, and a portal's clock is an hour
//! ahead. Each order expires once, and none early by the log's time.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::preload::clock_ahead;
use feira_tests::shop::{
    insert_client, insert_product, order_persistently, order_request, patient, product, request_id,
};
use feira_tests::wait;
use portal::document::shop::ShopRecord;
use portal::key;
use portal::shop::guarding;
use proto::portal::shop_client::ShopClient;
use proto::portal::{Order, OrderRequest, OrderState, StaffGetOrderRequest};
use proto::store::Freshness;
use store_client::Store as _;
use tonic::Code;
use tonic::transport::Channel;

const HOUR: Duration = Duration::from_secs(3_600);
/// For how long an order may be open: staff set minutes, which are too long for a test.
const HOLD_MS: i64 = 4_000;
/// Between two orders.
const BETWEEN: Duration = Duration::from_millis(150);
const STOCK: i64 = 1_000;
const EACH: i64 = 2;

/// Sets the hold, once the portals have listed all orders.
async fn set_hold(cluster: &Cluster) {
    let store = cluster.store();
    wait::until("the hold to be set", PATIENCE, || async {
        let got =
            store.get(key::shop(), Freshness::linearizable()).await.map_err(|error| error.to_string())?;
        let shop = ShopRecord::read(got.record.as_ref()).map_err(|error| error.to_string())?;
        if !shop.orders_listed {
            return Err(format!("{shop:?}"));
        }
        let offset = got.record.as_ref().map_or(0, proto::store::Record::offset);
        let rules = ShopRecord { hold_ms: HOLD_MS, ..shop };
        let txn = guarding(offset).put(key::shop(), 1, rules.to_bytes());
        let answer = store.txn(txn, None).await.map_err(|error| error.to_string())?;
        if answer.success { Ok(()) } else { Err("somebody else wrote it".to_owned()) }
    })
    .await;
}

async fn get(cluster: &Cluster, order: &Order) -> Result<Order, String> {
    let request = StaffGetOrderRequest { cid: order.cid.clone(), oid: order.oid.clone() };
    let answer = cluster.admin(1).get_order(patient(request)).await;
    answer.map(tonic::Response::into_inner).map_err(|status| status.to_string())
}

/// Confirms an order, whoever dies meanwhile; false: it had expired.
async fn confirmed(shop: &ShopClient<Channel>, order: &Order) -> bool {
    let (cid, oid, request) = (order.cid.clone(), order.oid.clone(), request_id());
    let asked = OrderRequest { cid, oid, request, ..OrderRequest::default() };
    wait::until("the confirmation", PATIENCE, || async {
        match shop.clone().confirm_order(patient(asked.clone())).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::FailedPrecondition => Ok(false),
            Err(status) => Err(status.to_string()),
        }
    })
    .await
}

/// Orders, and whether they were confirmed at once.
type Made = Arc<Mutex<Vec<(Order, bool)>>>;

/// Opens orders through both portals until told to stop; every third is confirmed at once.
async fn open_orders(mut shops: [ShopClient<Channel>; 2], made: Made, stop: Arc<AtomicBool>) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let shop = &mut shops[number % 2];
        let order = order_persistently(shop, &order_request("ana", &[("fig", EACH)])).await;
        let is_confirmed = number % 3 == 0 && confirmed(shop, &order).await;
        made.lock().unwrap().push((order, is_confirmed));
        wait::pass(BETWEEN).await;
    }
}

/// Waits until one more order has expired than `before`, and some are still open; how many have, and the latest log time of those.
async fn some_expired(cluster: &Cluster, made: &Made, before: usize) -> (usize, i64) {
    wait::until("some orders to expire", PATIENCE, || async {
        let (known, mut ended) = (made.lock().unwrap().clone(), Vec::new());
        for (order, _) in &known {
            ended.push(get(cluster, order).await?);
        }
        let expired = ended.iter().filter(|order| order.state() == OrderState::Cancelled);
        let latest_ms = expired.clone().map(|order| order.changed_ms).max();
        let count = expired.count();
        let is_more = count > before && ended.iter().any(|order| order.state() == OrderState::Open);
        latest_ms.filter(|_| is_more).map(|ms| (count, ms)).ok_or_else(|| format!("{count} have"))
    })
    .await
}

/// Kills leaders and sweepers while orders expire: some have, others are still to. When, by the log's time.
async fn killed_while_orders_expire(
    cluster: &mut Cluster,
    made: &Made,
    environment: &[(&str, &str)],
) -> Vec<i64> {
    let (mut count, mut kills_ms) = (0, Vec::new());
    for portal in ["client-1", "admin-2"] {
        let (expired, latest_ms) = some_expired(cluster, made, count).await;
        kills_ms.push(latest_ms);
        count = expired;
        let node = cluster.leader().await;
        cluster.kill(&node);
        cluster.kill(portal);
        wait::until("another leader", PATIENCE, || async {
            let next = cluster.leader().await;
            if next == node { Err(next) } else { Ok(()) }
        })
        .await;
        cluster.run(&node);
        cluster.run_with(portal, if portal == "admin-2" { environment } else { &[] });
    }
    kills_ms
}

#[tokio::test]
async fn holds_end_once_and_never_early_while_leaders_and_portals_are_killed() {
    let options =
        Options { embedded_broker: true, admin_portals: 2, client_portals: 2, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    let ahead = clock_ahead(cluster.path(), HOUR);
    let environment: Vec<(&str, &str)> = ahead.iter().map(|(name, value)| (*name, value.as_str())).collect();
    cluster.kill("admin-2");
    cluster.run_with("admin-2", &environment);
    let mut admin = cluster.admin(1);
    insert_client(&mut admin, "ana").await.unwrap();
    insert_product(&mut admin, "fig", STOCK, "1.50").await.unwrap();
    set_hold(&cluster).await;
    let (made, stop) = (Made::default(), Arc::new(AtomicBool::new(false)));
    let shops = [1, 2].map(|at| cluster.shop(at));
    let opening = tokio::spawn(open_orders(shops, Arc::clone(&made), Arc::clone(&stop)));
    let kills_ms = killed_while_orders_expire(&mut cluster, &made, &environment).await;

    stop.store(true, Ordering::Relaxed);
    opening.await.unwrap();
    let made = std::mem::take(&mut *made.lock().unwrap());
    let (mut confirmed, mut ends_ms) = (0, Vec::new());
    for (order, is_confirmed) in &made {
        let ended = wait::until("an order to expire", PATIENCE, || async {
            let now = get(&cluster, order).await?;
            if now.state() == OrderState::Open { Err("it is open".to_owned()) } else { Ok(now) }
        })
        .await;
        if *is_confirmed {
            assert_eq!((ended.state(), ended.staff.len()), (OrderState::Confirmed, 0), "{ended:?}");
            confirmed += 1;
            continue;
        }
        let did: Vec<&str> = ended.staff.iter().map(|note| note.did.as_str()).collect();
        assert_eq!((ended.state(), did), (OrderState::Cancelled, vec!["expired"]), "{ended:?}");
        assert!(ended.changed_ms - ended.created_ms >= HOLD_MS, "{ended:?}");
        assert_eq!(ended.version, 2, "it was changed once");
        ends_ms.push(ended.changed_ms);
    }
    for kill_ms in kills_ms {
        assert!(
            ends_ms.iter().any(|end_ms| *end_ms > kill_ms),
            "orders expired after each kill: {ends_ms:?}"
        );
    }
    let stock = product(&mut cluster.admin(1), "fig").await.unwrap().stock.unwrap();
    assert_eq!((stock.available, stock.held), (STOCK - EACH * confirmed, EACH * confirmed));
    assert!(confirmed > 0);
    cluster.assert_audited().await;
}
