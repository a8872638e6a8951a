//! A deletion with cascade over real processes: the portal that works on it is killed in the middle, and another ends it, once, without anybody
//! asking.
#![allow(clippy::unwrap_used)]

use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::shop::{
    insert_client, insert_product, order_persistently, order_request, patient, product, request_id,
};
use feira_tests::wait;
use futures::future::join_all;
use portal::deletion::Doomed;
use portal::id::Cid;
use proto::portal::{
    DeleteClientRequest, OrderState, StaffListOrdersRequest, StaffOrderSummary, StaffSettleRequest,
};
use proto::store::Freshness;
use store_client::Store as _;

/// So many that nobody is through with them before he is killed.
const ORDERS: usize = 800;
const SIDE_BY_SIDE: usize = 32;
const STOCK: i64 = 10_000;

async fn orders(cluster: &Cluster) -> Vec<StaffOrderSummary> {
    let asked =
        StaffListOrdersRequest { limit: 1_000, cid: "ana".into(), ..StaffListOrdersRequest::default() };
    let page = cluster.admin(2).list_orders(patient(asked)).await.unwrap().into_inner();
    assert_eq!(page.next, "");
    page.orders
}

async fn is_noted(cluster: &Cluster) -> bool {
    let note = Doomed::Client(Cid::parse("cid", "ana").unwrap()).note();
    cluster.store().get(note, Freshness::linearizable()).await.unwrap().record.is_some()
}

#[tokio::test]
async fn a_deletion_whose_portal_is_killed_in_the_middle_is_ended_by_another() {
    let options = Options { embedded_broker: true, admin_portals: 2, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    insert_product(&mut cluster.admin(1), "fig", STOCK, "1.50").await.unwrap();
    for _ in 0..ORDERS / SIDE_BY_SIDE {
        let each = (0..SIDE_BY_SIDE).map(|_| async {
            order_persistently(&mut cluster.shop(1), &order_request("ana", &[("fig", 2)])).await
        });
        join_all(each).await;
    }
    let request = request_id();
    let deletion = DeleteClientRequest {
        cid: "ana".into(),
        cascade: true,
        request: request.clone(),
        ..DeleteClientRequest::default()
    };
    let mut first = cluster.admin(1);
    let begun = tokio::spawn(async move { first.delete_client(patient(deletion)).await });
    wait::until("the deletion to be begun", PATIENCE, || async {
        if is_noted(&cluster).await { Ok(()) } else { Err("it is not noted") }
    })
    .await;
    cluster.kill("admin-1");
    begun.await.unwrap().unwrap_err();
    let left = orders(&cluster).await;
    assert!(left.iter().any(|order| order.state() == OrderState::Open), "it was killed in the middle");
    assert!(is_noted(&cluster).await);

    wait::until("another portal to end it", PATIENCE * 2, || async {
        if is_noted(&cluster).await { Err("it is noted still") } else { Ok(()) }
    })
    .await;
    let ended = orders(&cluster).await;
    assert_eq!(ended.len(), ORDERS);
    assert!(ended.iter().all(|order| order.state() == OrderState::Cancelled));
    let stock = product(&mut cluster.admin(2), "fig").await.unwrap().stock.unwrap();
    assert_eq!((stock.available, stock.held), (STOCK, 0));
    let asked = StaffSettleRequest { cid: "ana".into(), request, ..StaffSettleRequest::default() };
    let settled = cluster.admin(2).settle(patient(asked)).await.unwrap().into_inner();
    assert_eq!(settled.outcome, "done");
    cluster.run("admin-1");
    cluster.assert_audited().await;
}
