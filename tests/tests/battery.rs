//! The graders' batteries of the specification, over real processes: all CRUD with good and bad outcomes is in
//! `kv.rs`; here: create five, kill, restart, read the five, again without clearing; the order test; ten clients.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use feira_tests::cluster::{Cluster, Options};
use proto::store::{Freshness, Status, Txn};
use store_client::{Session, Store, StoreExt, request_identity};

fn only_store() -> Options {
    Options { admin_portals: 0, client_portals: 0, ..Options::default() }
}

fn key(name: &str, at: u64) -> Bytes {
    Bytes::from(format!("{name}/{at}"))
}

#[tokio::test]
async fn five_items_survive_a_kill_again_and_again() {
    let mut cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    for round in 0..3 {
        let store = cluster.store();
        for at in 0..5 {
            let id = Some(request_identity([5; 16]));
            let answer = store.set(key("item", round * 5 + at), 0, Bytes::from(at.to_string()), id).await;
            assert_eq!(answer.unwrap().status(), Status::Success);
        }
        for node in cluster.nodes() {
            cluster.kill(&node);
        }
        for id in 1..=3 {
            cluster.run(&format!("node-{id}"));
        }
        let store = cluster.store();
        for at in 0..(round + 1) * 5 {
            let found = store.get(key("item", at), Freshness::linearizable()).await.unwrap();
            assert_eq!(found.record.unwrap().data, Bytes::from((at % 5).to_string()));
        }
    }
}

/// a0 = 1, a(i) = a(i−1) + 1 for i up to 1,000, submitted without waiting: each step guards that the one before it was
/// executed, so that one out of order would fail.
async fn order_test(store: Arc<dyn Store>, name: String) {
    let session = Session::new(store);
    let first = Txn::new().guard_absent(key(&name, 0)).put(key(&name, 0), 0, "1");
    let mut answers = vec![session.submit(first).unwrap()];
    for i in 1..=1_000u64 {
        let before = Bytes::from(i.to_string());
        let step =
            Txn::new().guard_json(key(&name, i - 1), "", before).put(key(&name, i), 0, (i + 1).to_string());
        answers.push(session.submit(step).unwrap());
    }
    let last = session.submit(Txn::new().get(key(&name, 1_000)).returning_after()).unwrap();
    for answer in answers {
        let sequence = answer.sequence;
        assert!(answer.await.unwrap().success, "operation {sequence} was executed out of order");
    }
    let last = last.await.unwrap();
    assert_eq!(last.results[0].record.as_ref().unwrap().data, Bytes::from_static(b"1001"));
}

#[tokio::test]
async fn a_thousand_steps_sent_without_waiting_keep_their_order() {
    let cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    order_test(cluster.store(), "a".to_owned()).await;
}

#[tokio::test]
async fn ten_clients_at_once_each_keep_their_order() {
    let cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    let clients: Vec<_> =
        (0..10).map(|at| tokio::spawn(order_test(cluster.store(), format!("client-{at}")))).collect();
    for client in clients {
        client.await.unwrap();
    }
    cluster.wait_until_equal().await;
}

#[tokio::test]
async fn the_order_is_kept_over_the_leaders_death() {
    let mut cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    let steps = tokio::spawn(order_test(cluster.store(), "b".to_owned()));
    let leader = cluster.leader().await;
    cluster.kill(&leader);
    cluster.run(&leader);
    steps.await.unwrap();
    cluster.wait_until_equal().await;
}
