//! Pages of `data.mdb` that are lost under a running node, over real processes and real files: LMDB reports it to whatever reads
//! there. A replica is taken out for it and takes the leader's state; one that meets it while it applies ends, and makes its
//! database anew at its next start. A group of one makes it anew from its own snapshot and log.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use feira_tests::cluster::{Cluster, Options};
use feira_tests::wait;
use proto::store::{Freshness, GetRequest, Route, Status, Txn};
use store_client::{Replicated, Store as _, StoreExt as _, request_identity};

const ROUTE: Option<Route> = Some(Route { group: 1, ring_version: 1, cluster_id: 0, log_id: 0 });
/// Tests share the machine with others.
const HEALED_WITHIN: Duration = Duration::from_secs(90);
const RECORDS: u32 = 1_500;
const PAGE: [u8; 4_096] = [0; 4_096];

async fn filled(nodes: u64) -> Cluster {
    filled_with(nodes, "").await
}

/// The same, with more lines for `[store]`.
async fn filled_with(nodes: u64, store: &'static str) -> Cluster {
    let options = Options {
        nodes,
        admin_portals: 0,
        client_portals: 0,
        embedded_broker: true,
        store,
        ..Options::default()
    };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    let store = cluster.store();
    for at in 0..RECORDS {
        set(&store, at).await;
    }
    // An audit asks each replica for a position: all rows are in LMDB then, and none in memory alone.
    cluster.assert_audited().await;
    cluster
}

async fn set(store: &Replicated, at: u32) {
    store.set(key(at), 1, Bytes::from(vec![b'x'; 300]), None).await.unwrap();
}

fn key(at: u32) -> Bytes {
    Bytes::from(format!("k/{at:06}"))
}

/// Every page but the first two becomes zeros under the node.
fn lose_pages(cluster: &Cluster, node: &str) {
    lose_pages_if(cluster, node, |_| true);
}

/// The same, of those pages alone.
fn lose_pages_if(cluster: &Cluster, node: &str, is_lost: impl Fn(&[u8]) -> bool) {
    let file = cluster.data_of(node).join("groups/1/db/data.mdb");
    let data = File::options().read(true).write(true).open(file).unwrap();
    let bytes = PAGE.len() as u64;
    let mut found = PAGE;
    for page in 2..data.metadata().unwrap().len() / bytes {
        data.read_exact_at(&mut found, page * bytes).unwrap();
        if is_lost(&found) {
            data.write_all_at(&PAGE, page * bytes).unwrap();
        }
    }
}

/// Whether a page is a leaf among whose nodes is one of our records. (In the free space of any page there may be old bytes.)
fn holds_records(page: &[u8]) -> bool {
    let number = |at: usize| u16::from_le_bytes([page[at], page[at + 1]]);
    let (flags, upper) = (number(10), usize::from(number(14)));
    flags == 2 && page.get(upper..).is_some_and(|nodes| nodes.windows(5).any(|at| at == b"k/000"))
}

/// What the replica itself has.
async fn held(cluster: &Cluster, node: &str, at: u32) -> Result<(), tonic::Status> {
    let request = GetRequest { route: ROUTE, key: key(at), freshness: Some(Freshness::stale()) };
    let answer = cluster.kv(node).get(request).await?.into_inner();
    assert_eq!(answer.status(), Status::Success);
    Ok(())
}

async fn is_healed(cluster: &Cluster, node: &str) -> bool {
    let right = held(cluster, node, 7).await.is_ok();
    right && cluster.status(node).await.is_ok_and(|status| status.quarantined.is_empty())
}

async fn healed(cluster: &Cluster, node: &str) {
    wait::until("it has a right database", HEALED_WITHIN, || async {
        let status = cluster.status(node).await.map_err(|status| status.to_string())?;
        held(cluster, node, 7).await.map_err(|status| format!("{status}; {}", status.message()))?;
        if status.quarantined.is_empty() { Ok(()) } else { Err(status.problem) }
    })
    .await;
    cluster.wait_until_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_database_is_damaged_is_taken_out_and_heals_while_it_runs() {
    let mut cluster = filled(3).await;
    let leader = cluster.leader().await;
    let victim = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    lose_pages(&cluster, &victim);
    let refused = wait::until("a read meets it", HEALED_WITHIN, || async {
        held(&cluster, &victim, 3).await.err().ok_or("not yet")
    })
    .await;
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");
    healed(&cluster, &victim).await;
    assert!(cluster.log_of(&victim).contains("LMDB reports"), "{}", cluster.log_of(&victim));
    cluster.all_run();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_database_is_damaged_gives_leadership_away_and_heals() {
    let mut cluster = filled(3).await;
    let leader = cluster.leader().await;
    lose_pages(&cluster, &leader);
    wait::until("a read meets it", HEALED_WITHIN, || async {
        held(&cluster, &leader, 3).await.err().ok_or("not yet").map(drop)
    })
    .await;
    wait::until("another leads", HEALED_WITHIN, || async {
        let now = cluster.leader().await;
        if now == leader { Err("not yet") } else { Ok(()) }
    })
    .await;
    // What it applies as a follower may meet it too, before a read was told: then it ends, and makes its database anew.
    let deadline = Instant::now() + HEALED_WITHIN;
    while !is_healed(&cluster, &leader).await {
        assert!(Instant::now() < deadline, "{}", cluster.log_of(&leader));
        cluster.run_those_that_ended();
        tokio::task::yield_now().await;
    }
    healed(&cluster, &leader).await;
    set(&cluster.store(), RECORDS).await;
    cluster.all_run();
}

/// Of two voters one is down: whoever is left leads no one else, and nobody could serve in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_replica_that_nobody_can_stand_in_for_stays_and_says_so() {
    let mut cluster = filled(3).await;
    let leader = cluster.leader().await;
    let others: Vec<String> = cluster.nodes().into_iter().filter(|node| *node != leader).collect();
    let removed = cluster.tool(&["member", "remove", others[1].trim_start_matches("node-")]);
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    cluster.stop(&others[1]);
    cluster.kill(&others[0]);
    // Nothing that the node looks at by itself: it shall go on.
    lose_pages_if(&cluster, &leader, holds_records);
    let refused = wait::until("a read meets it", HEALED_WITHIN, || async {
        held(&cluster, &leader, 3).await.err().ok_or("not yet")
    })
    .await;
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");
    assert!(refused.message().contains("this node cannot read its database"), "{refused}");
    let status = wait::until("it says so", HEALED_WITHIN, || async {
        let status = cluster.status(&leader).await.map_err(|status| status.to_string())?;
        if status.problem.contains("LMDB reports that the database here is damaged") {
            Ok(status)
        } else {
            Err(status.problem)
        }
    })
    .await;
    assert!(status.problem.contains("No other voter can lead and serve now"), "{}", status.problem);
    assert!(status.problem.contains("start the others"), "{}", status.problem);
    assert_eq!(status.quarantined, "", "it stays");
    let told = cluster.tool(&["status"]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("No other voter can lead"), "{told:?}");
    cluster.all_run();
    // As soon as somebody can, it takes that one's state.
    cluster.run(&others[0]);
    healed(&cluster, &leader).await;
    let found = cluster.store().get(key(RECORDS - 1), Freshness::linearizable()).await.unwrap();
    assert!(found.record.is_some(), "nothing acknowledged is lost");
    cluster.all_run();
}

/// It ended, and died again at each start, since its marks still vouched for the database.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_meets_damage_while_it_applies_ends_and_makes_its_database_anew() {
    let mut cluster = filled(3).await;
    let leader = cluster.leader().await;
    let victim = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    // Where records are, and nothing that the node looks at by itself.
    lose_pages_if(&cluster, &victim, holds_records);
    let put = Txn::new().put(key(7), 2, "changed");
    assert!(cluster.store().txn(put, Some(request_identity([3; 16]))).await.unwrap().success);
    let ended = cluster.ended(&victim).await;
    assert!(!ended.success());
    let folder = cluster.data_of(&victim).join("groups/1/db");
    assert!(!folder.join("opened").exists() && !folder.join("clean").exists(), "no mark vouches for it");
    cluster.run(&victim);
    healed(&cluster, &victim).await;
    cluster.all_run();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_one_makes_its_database_anew_from_its_own_log() {
    let mut cluster = filled(1).await;
    lose_pages(&cluster, "node-1");
    // Its own work may meet it first.
    let _ = held(&cluster, "node-1", 3).await;
    let ended = cluster.ended("node-1").await;
    assert!(!ended.success());
    cluster.run("node-1");
    healed(&cluster, "node-1").await;
    let found = cluster.store().get(key(RECORDS - 1), Freshness::linearizable()).await.unwrap();
    assert!(found.record.is_some(), "nothing acknowledged is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_one_makes_its_database_anew_from_its_own_snapshot_where_the_log_has_no_beginning() {
    let mut cluster = filled_with(1, "snapshot_bytes = 1048576").await;
    let (store, log) = (cluster.store(), cluster.data_of("node-1").join("groups/1/log.0"));
    wait::until("the log's beginning to be gone", HEALED_WITHIN, || async {
        for at in 0..40 {
            let data = Bytes::from(vec![b'y'; 16_384]);
            store.set(Bytes::from(format!("large/{at}")), 1, data, None).await.unwrap();
        }
        if log.exists() { Err("it is there") } else { Ok(()) }
    })
    .await;
    set(&store, RECORDS).await;
    lose_pages(&cluster, "node-1");
    // Its own work may meet it first.
    let _ = held(&cluster, "node-1", 3).await;
    let ended = cluster.ended("node-1").await;
    assert!(!ended.success());
    let before = cluster.log_of("node-1").len();
    cluster.run("node-1");
    healed(&cluster, "node-1").await;
    let said = cluster.log_of("node-1")[before..].to_owned();
    assert!(said.contains("imported: Some("), "from a snapshot: {said}");
    for at in [0, RECORDS / 2, RECORDS] {
        let found = cluster.store().get(key(at), Freshness::linearizable()).await.unwrap();
        assert!(found.record.is_some(), "nothing acknowledged is lost");
    }
}

/// A page that LMDB does not survive ends the process before it can say so: what shows it is that each start ends so.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_abruptly_time_and_again_makes_its_database_anew() {
    let mut cluster = filled(1).await;
    let is_made_anew = |cluster: &Cluster| cluster.log_of("node-1").contains("Discarded(Deadly)");
    // On a slow machine a start may live until it syncs, and does not count.
    for _ in 0..8 {
        if is_made_anew(&cluster) {
            break;
        }
        cluster.kill("node-1");
        cluster.run("node-1");
        cluster.leader().await;
    }
    assert!(is_made_anew(&cluster), "{}", cluster.log_of("node-1"));
    for at in [0, RECORDS / 2, RECORDS - 1] {
        let found = cluster.store().get(key(at), Freshness::linearizable()).await.unwrap();
        assert!(found.record.is_some(), "nothing acknowledged is lost");
    }
}
