//! Disks that hang under real nodes: a library that is preloaded keeps what a node writes and syncs from coming back. The
//! leader gives leadership away and lives on; where it cannot, it stays and says why writes wait; a vote that cannot be
//! made durable keeps no node from its other work.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use feira_tests::chaos::load::store_of;
use feira_tests::cluster::{Cluster, Options, PATIENCE, with_timeout};
use feira_tests::wait;
use feira_tests::writers::{Load, verify};
use proto::store::{
    Freshness, GetRequest, Role, Route, SetRequest, StatusResponse, TransferLeadershipRequest,
};
use store_client::{StoreExt, request_identity};
use tonic::Code;

const ROUTE: Option<Route> = Some(Route::to(1, 1));
/// Two seconds are promised, and measured by `cargo xtask chaos --faults hang-leader`; tests share the machine with others.
const NO_WRITE_MAX: Duration = Duration::from_secs(10);
/// A disk that hangs is one for a while: longer than the leader needs to be sure.
const WRITES_MEANWHILE: u64 = 200;
const ROUNDS: u64 = 2;

async fn cluster() -> Cluster {
    cluster_of(3).await
}

async fn cluster_of(nodes: u64) -> Cluster {
    let options = Options {
        nodes,
        admin_portals: 0,
        client_portals: 0,
        embedded_broker: true,
        disks_hang: true,
        ..Options::default()
    };
    Cluster::start(feira_tests::feira!(), options).await
}

/// Waits until a node says so of itself.
async fn until(cluster: &Cluster, node: &str, what: &str, says: impl Fn(&StatusResponse) -> bool) {
    wait::until(&format!("{node}: {what}"), PATIENCE, || async {
        let status = cluster.status(node).await.map_err(|error| error.to_string())?;
        if says(&status) {
            Ok(())
        } else {
            Err(format!("{:?} {}: {:?}", status.role(), status.epoch, status.problem))
        }
    })
    .await;
}

/// A node whose disk hangs answers: what it has applied, and that others take writes.
async fn lives_on(cluster: &Cluster, node: &str, key: &'static str) {
    let mut kv = cluster.kv(node);
    let key = Bytes::from_static(key.as_bytes());
    let freshness = Some(Freshness::stale());
    let found = kv.get(with_timeout(GetRequest { route: ROUTE, key: key.clone(), freshness })).await.unwrap();
    assert!(found.into_inner().record.is_some(), "{node} serves stale reads");
    let set = SetRequest { route: ROUTE, key, ..SetRequest::default() };
    let refused = kv.set(with_timeout(set)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{node} refuses writes at once: {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_hangs_gives_leadership_away_loses_nothing_and_lives_on() {
    let cluster = cluster().await;
    let key = Bytes::from_static(b"before");
    cluster.store().set(key, 0, Bytes::from_static(b"v"), Some(request_identity([1; 16]))).await.unwrap();
    cluster.wait_until_equal().await;
    for round in 0..ROUNDS {
        let load = Load::start(&cluster, round);
        load.more(100).await;
        let leader = cluster.leader().await;
        let (disks, harmed) = (cluster.hung_disks.as_ref().unwrap(), Instant::now());
        disks.hang(&leader);
        until(&cluster, &leader, "it leads no more", |status| status.role() != Role::Leader).await;
        load.more(WRITES_MEANWHILE).await;
        let gap = load.longest_gap(harmed);
        eprintln!("round {round}: {} ms without a write", gap.as_millis());
        assert!(gap < NO_WRITE_MAX, "round {round}: {gap:?} without a write");
        until(&cluster, &leader, "it says so", |status| status.problem.contains("disk does not answer"))
            .await;
        lives_on(&cluster, &leader, "before").await;
        disks.answer(&leader);
        until(&cluster, &leader, "it is not relied on at once", |status| {
            status.problem.contains("leadership is not transferred to this node")
        })
        .await;
        let acknowledged = load.end().await;
        cluster.wait_until_equal().await;
        verify(&cluster, &acknowledged).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_hangs_stays_where_the_others_are_no_majority_and_says_why_writes_wait() {
    let mut cluster = cluster().await;
    let leader = cluster.leader().await;
    let follower = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    cluster.kill(&follower);
    cluster.hung_disks.as_ref().unwrap().hang(&leader);
    let impatient = store_of(&cluster, Duration::from_secs(1));
    let set = impatient.set(Bytes::from_static(b"k"), 0, Bytes::new(), Some(request_identity([2; 16])));
    assert!(set.await.is_err(), "no majority's disks are well");
    until(&cluster, &leader, "it stays", |status| {
        status.role() == Role::Leader && status.problem.contains("no majority without it, so writes wait")
    })
    .await;
    cluster.hung_disks.as_ref().unwrap().answer(&leader);
    let store = store_of(&cluster, PATIENCE);
    store.set(Bytes::from_static(b"l"), 0, Bytes::new(), Some(request_identity([3; 16]))).await.unwrap();
    cluster.run(&follower);
    cluster.wait_until_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_one_whose_disk_hangs_stays_leader_and_says_why_writes_wait() {
    let mut cluster = cluster_of(1).await;
    let before = Bytes::from_static(b"before");
    cluster.store().set(before, 0, Bytes::from_static(b"v"), Some(request_identity([1; 16]))).await.unwrap();
    let epoch = cluster.status("node-1").await.unwrap().epoch;
    cluster.hung_disks.as_ref().unwrap().hang("node-1");
    let patient = store_of(&cluster, PATIENCE);
    let key = Bytes::from_static(b"k");
    let waits =
        tokio::spawn(async move { patient.set(key, 0, Bytes::new(), Some(request_identity([2; 16]))).await });
    until(&cluster, "node-1", "it stays", |status| {
        status.role() == Role::Leader && status.problem.contains("no majority without it, so writes wait")
    })
    .await;
    let mut kv = cluster.kv("node-1");
    let (key, freshness) = (Bytes::from_static(b"before"), Some(Freshness::linearizable()));
    let read = kv.get(with_timeout(GetRequest { route: ROUTE, key, freshness })).await.unwrap();
    assert!(read.into_inner().record.is_some(), "it is its own majority, whatever its disk does");
    assert!(!waits.is_finished(), "the write waits");
    cluster.hung_disks.as_ref().unwrap().answer("node-1");
    waits.await.unwrap().unwrap();
    until(&cluster, "node-1", "it leads on", |status| {
        status.role() == Role::Leader && status.epoch == epoch && !status.problem.contains("writes wait")
    })
    .await;
    cluster.all_run();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_that_cannot_be_made_durable_keeps_no_node_from_its_other_work() {
    let cluster = cluster().await;
    let key = Bytes::from_static(b"before");
    cluster.store().set(key, 0, Bytes::from_static(b"v"), Some(request_identity([1; 16]))).await.unwrap();
    cluster.wait_until_equal().await;
    let leader = cluster.leader().await;
    let mut others = cluster.nodes().into_iter().filter(|node| *node != leader);
    let (hung, next) = (others.next().unwrap(), others.next().unwrap());
    cluster.hung_disks.as_ref().unwrap().hang(&hung);
    let to: u64 = next.trim_start_matches("node-").parse().unwrap();
    wait::until("leadership to be transferred", PATIENCE, || async {
        let request = TransferLeadershipRequest { route: ROUTE, to };
        // The one that leads may not be this one any more: then it is done.
        let _ = cluster.operator(&leader).transfer_leadership(request).await;
        let status = cluster.status(&next).await.map_err(|error| error.to_string())?;
        if status.role() == Role::Leader { Ok(()) } else { Err(format!("{:?}", status.role())) }
    })
    .await;
    let epoch = cluster.status(&next).await.unwrap().epoch;
    until(&cluster, &hung, "it knows of the election", |status| status.epoch >= epoch).await;
    until(&cluster, &hung, "it says so", |status| status.problem.contains("disk does not answer")).await;
    lives_on(&cluster, &hung, "before").await;
    cluster.hung_disks.as_ref().unwrap().answer(&hung);
    until(&cluster, &hung, "it follows", |status| {
        status.leader.as_ref().is_some_and(|leader| leader.node == to)
    })
    .await;
    cluster.wait_until_equal().await;
}
