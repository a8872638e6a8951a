//! kill -9 under load over real processes and real files: of the leader, of all nodes at once. Whatever was
//! acknowledged is there afterwards, and nothing is there that nobody wrote.

use std::collections::BTreeMap;

use feira_tests::cluster::{Cluster, Options};
use feira_tests::writers::{Load, verify};

fn store_of(nodes: u64) -> Options {
    Options { nodes, admin_portals: 0, client_portals: 0, ..Options::default() }
}

async fn leader_killed_under_load(nodes: u64) {
    let mut cluster = Cluster::start(feira_tests::feira!(), store_of(nodes)).await;
    let load = Load::start(&cluster, 0);
    for _ in 0..3 {
        load.more(200).await;
        let leader = cluster.leader().await;
        cluster.kill(&leader);
        load.more(200).await;
        cluster.run(&leader);
    }
    let acknowledged = load.end().await;
    verify(&cluster, &acknowledged).await;
    cluster.wait_until_equal().await;
}

#[tokio::test]
async fn three_nodes_lose_nothing_with_their_leader() {
    leader_killed_under_load(3).await;
}

#[tokio::test]
async fn four_nodes_lose_nothing_with_their_leader() {
    leader_killed_under_load(4).await;
}

#[tokio::test]
async fn ten_times_all_nodes_killed_at_once_lose_nothing() {
    let mut cluster = Cluster::start(feira_tests::feira!(), store_of(3)).await;
    let mut acknowledged = BTreeMap::new();
    for round in 0..10 {
        let load = Load::start(&cluster, round);
        load.more(300).await;
        for node in cluster.nodes() {
            cluster.kill(&node);
        }
        for id in 1..=3 {
            cluster.run(&format!("node-{id}"));
        }
        load.more(50).await;
        acknowledged.append(&mut load.end().await);
        verify(&cluster, &acknowledged).await;
    }
    cluster.wait_until_equal().await;
}
