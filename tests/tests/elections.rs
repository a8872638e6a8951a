//! Elections over real processes: all start as followers, one leads; heartbeats keep its authority;
//! when it fails another is elected; clients find the leader through any node; groups of three and of four.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use feira_tests::cluster::{Cluster, Options};
use feira_tests::wait;
use nix::sys::signal::Signal;
use proto::store::{Role, Status};
use store_client::{StoreExt, request_identity};

fn store_of(nodes: u64) -> Options {
    Options { nodes, admin_portals: 0, client_portals: 0, ..Options::default() }
}

/// What each running node says: (epoch, whether it leads, whom it names).
async fn views(cluster: &Cluster) -> Vec<(u64, bool, u64)> {
    let mut views = Vec::new();
    for node in cluster.nodes() {
        let status = cluster.status(&node).await.unwrap();
        let leader = status.leader.as_ref().map_or(0, |leader| leader.node);
        views.push((status.epoch, status.role() == Role::Leader, leader));
    }
    views
}

async fn write(cluster: &Cluster, key: &str) {
    let key = Bytes::from(key.to_owned());
    let answer = cluster.store().set(key, 0, Bytes::from_static(b"v"), Some(request_identity([1; 16]))).await;
    assert_eq!(answer.unwrap().status(), Status::Success);
}

#[tokio::test]
async fn one_of_three_leads_and_every_node_names_it() {
    let cluster = Cluster::start(feira_tests::feira!(), store_of(3)).await;
    let leader = cluster.leader().await;
    wait::until("everybody to name the leader", Duration::from_secs(5), || async {
        let views = views(&cluster).await;
        let named = views.iter().all(|(_, _, named)| format!("node-{named}") == leader);
        if named { Ok(()) } else { Err(format!("{views:?}")) }
    })
    .await;
    for node in cluster.nodes() {
        let log = cluster.log_of(&node);
        let first = log.lines().find(|line| line.contains("role=")).unwrap();
        assert!(
            first.contains("role=Follower") || first.contains("role=Candidate"),
            "{node} began so: {first}"
        );
    }
}

#[tokio::test]
async fn heartbeats_keep_the_leader_in_its_epoch() {
    let cluster = Cluster::start(feira_tests::feira!(), store_of(3)).await;
    let leader = cluster.leader().await;
    let epoch = cluster.status(&leader).await.unwrap().epoch;
    wait::pass(Duration::from_secs(5)).await;
    assert_eq!(cluster.leader().await, leader);
    assert_eq!(cluster.status(&leader).await.unwrap().epoch, epoch, "an idle cluster holds no elections");
}

async fn survives_its_leader(nodes: u64) {
    let mut cluster = Cluster::start(feira_tests::feira!(), store_of(nodes)).await;
    write(&cluster, "before").await;
    let old = cluster.leader().await;
    let epoch = cluster.status(&old).await.unwrap().epoch;
    cluster.kill(&old);
    let new = cluster.leader().await;
    assert_ne!(new, old);
    assert!(cluster.status(&new).await.unwrap().epoch > epoch);
    write(&cluster, "after").await;
    cluster.run(&old);
    cluster.wait_until_equal().await;
    for key in ["before", "after"] {
        let found = cluster.store().read(Bytes::from_static(key.as_bytes())).await.unwrap();
        assert_eq!(found.status(), Status::Success, "{key}");
    }
}

#[tokio::test]
async fn three_nodes_survive_their_leader() {
    survives_its_leader(3).await;
}

#[tokio::test]
async fn four_nodes_survive_their_leader() {
    survives_its_leader(4).await;
}

#[tokio::test]
async fn four_nodes_commit_only_with_three() {
    let mut cluster = Cluster::start(feira_tests::feira!(), store_of(4)).await;
    write(&cluster, "with four").await;
    let leader = cluster.leader().await;
    let others: Vec<String> = cluster.nodes().into_iter().filter(|node| *node != leader).collect();
    cluster.kill(&others[0]);
    write(&cluster, "with three").await;
    let committed = cluster.status(&leader).await.unwrap().committed;
    cluster.signal(&others[1], Signal::SIGSTOP);
    let store = cluster.store();
    let set = store.set(Bytes::from_static(b"with two"), 0, Bytes::new(), Some(request_identity([2; 16])));
    let refused = tokio::time::timeout(Duration::from_secs(3), set).await;
    assert!(!matches!(refused, Ok(Ok(_))), "two of four are no majority: {refused:?}");
    assert!(cluster.status(&leader).await.unwrap().committed <= committed + 1, "nothing is committed by two");
    cluster.signal(&others[1], Signal::SIGCONT);
    cluster.leader().await;
    write(&cluster, "with three again").await;
}

#[tokio::test]
async fn a_graceful_stop_transfers_leadership_first() {
    let mut cluster = Cluster::start(feira_tests::feira!(), store_of(3)).await;
    write(&cluster, "before").await;
    let old = cluster.leader().await;
    cluster.stop(&old);
    let new = cluster.leader().await;
    assert_ne!(new, old);
    write(&cluster, "after").await;
    assert!(cluster.log_of(&old).contains("leadership was transferred"), "{}", cluster.log_of(&old));
}
