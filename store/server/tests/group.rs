//! A group of three: election, conformance through the handle, order and exactly once over a change of leader.
#![allow(clippy::unwrap_used, missing_docs)]

mod fixture;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use fixture::{Nodes, eventually};
use proto::store::{Role, TransferLeadershipRequest, Txn};
use store_client::{Session, Store, StoreExt, request_identity};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_elect_one_leader() {
    let nodes = Nodes::start(3).await;
    let leader = nodes.leader().await;
    for i in 0..3 {
        let expected = if i == leader { Role::Leader } else { Role::Follower };
        eventually("its role is told", || async { (nodes.role(i).await == expected).then_some(()) }).await;
    }
    let voters = eventually("the leader has heard of everybody", || async {
        let voters = nodes.status(leader).await?.voters;
        (voters.len() == 3 && voters.iter().all(|voter| voter.durable.is_some_and(|d| d.offset > 0)))
            .then_some(voters)
    });
    let voters = voters.await;
    assert!((1..).zip(&voters).all(|(node, voter)| voter.node == node && !voter.address.is_empty()));
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_handle_conforms_whichever_node_it_knows() {
    let nodes = Nodes::start(3).await;
    let follower = nodes.follower().await;
    store_client::suite::run(Arc::new(nodes.store(follower))).await;
    nodes.stop_all().await;
}

/// A folder that is made in the place of a disk that was unmounted would stand in a restore's way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_went_while_its_node_ran_is_not_made_anew_at_its_end() {
    let mut nodes = Nodes::start(1).await;
    nodes.store(0).set(Bytes::from_static(b"k"), 1, Bytes::new(), None).await.unwrap();
    let (was, is) = nodes.stop_unmounted(0).await;
    assert!(!was.exists());
    std::fs::rename(is, was).unwrap();
    nodes.restart(0).await;
    let read = nodes.store(0).read(Bytes::from_static(b"k")).await.unwrap();
    assert_eq!(read.record.unwrap().timestamp_ms, 1, "what was acknowledged is there");
    nodes.stop_all().await;
}

/// Connections that stand at a node, as the system counts them.
fn connections_at(nodes: &Nodes, i: usize) -> usize {
    let port: u16 = nodes.address(i).rsplit(':').next().unwrap().parse().unwrap();
    let local = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is_here = |line: &&str| {
        let columns: Vec<&str> = line.split_whitespace().take(4).collect();
        columns.get(1).is_some_and(|at| at.ends_with(&local)) && columns.get(3) == Some(&"01")
    };
    table.lines().filter(is_here).count()
}

/// What it had handed to the connection held the handle's link, and that the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_handle_gives_its_connection_and_its_call_back() {
    let nodes = Nodes::start(1).await;
    nodes.leader().await;
    let before = connections_at(&nodes, 0);
    for count in 0..20u8 {
        let store = nodes.store(0);
        store.set(Bytes::from(vec![b'k', count]), 1, Bytes::new(), None).await.unwrap();
        assert!(connections_at(&nodes, 0) > 0, "the handle is connected");
    }
    eventually("the connections of the handles are gone", || async {
        (connections_at(&nodes, 0) <= before).then_some(())
    })
    .await;
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_conform_and_go_on_without_one() {
    let mut nodes = Nodes::start(4).await;
    let leader = nodes.leader().await;
    nodes.stop(leader).await;
    let known = nodes.leader().await;
    store_client::suite::run(Arc::new(nodes.store(known))).await;
    nodes.stop_all().await;
}

/// Operations of a session on their way.
const IN_FLIGHT: usize = 200;

/// Adds one, only if it is the `i`th: fails unless all before it were executed, once and in order.
fn step(i: usize) -> Txn {
    let before = format!("{}", i - 1);
    Txn::new().guard_json("counter", "/n", before).add("counter", 1, "/n", 1, None)
}

/// Submits steps until it is enough, so many at a time; all must succeed. How many there were.
async fn feed(session: Session, enough: Arc<AtomicBool>, answered: Arc<AtomicUsize>) -> usize {
    let mut waiting = VecDeque::new();
    let mut count = 0;
    while !enough.load(Ordering::Relaxed) || !waiting.is_empty() {
        if waiting.len() < IN_FLIGHT && !enough.load(Ordering::Relaxed) {
            count += 1;
            waiting.push_back((count, session.submit(step(count)).unwrap()));
            continue;
        }
        let Some((number, answer)) = waiting.pop_front() else { break };
        let told = answer.await;
        assert!(told.as_ref().is_ok_and(|answer| answer.success), "operation {number}: {told:?}");
        answered.store(number, Ordering::Relaxed);
    }
    count
}

/// Waits until more has been answered than now is.
async fn goes_on(answered: &AtomicUsize) {
    let before = answered.load(Ordering::Relaxed);
    let grew = || async { (answered.load(Ordering::Relaxed) > before).then_some(()) };
    eventually("the load goes on", grew).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_keeps_its_order_while_leaders_come_and_go() {
    let mut nodes = Nodes::start(3).await;
    let first = nodes.leader().await;
    let store = nodes.store((first + 1) % 3);
    store.txn(Txn::new().put("counter", 0, r#"{"n":0}"#), None).await.unwrap();
    let session = Session::new(Arc::new(store.clone()));
    let enough = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let feeding = tokio::spawn(feed(session.clone(), Arc::clone(&enough), Arc::clone(&answered)));
    goes_on(&answered).await;
    nodes.stop(first).await;
    goes_on(&answered).await;
    nodes.restart(first).await;
    eventually("leadership is transferred", || async {
        let request = TransferLeadershipRequest { route: Some(fixture::ROUTE), to: 0 };
        nodes.cluster(nodes.leader().await).transfer_leadership(request).await.ok()
    })
    .await;
    goes_on(&answered).await;
    enough.store(true, Ordering::Relaxed);
    let count = feeding.await.unwrap();
    let counter = store.read(Bytes::from_static(b"counter")).await.unwrap().record.unwrap();
    assert_eq!(counter.data, format!(r#"{{"n":{count}}}"#));
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_the_stop_of_every_node() {
    let mut nodes = Nodes::start(3).await;
    let store = nodes.store(0);
    nodes.leader().await;
    for i in 0..100u32 {
        let key = Bytes::from(format!("k{i}"));
        store.set(key, 1, Bytes::from_static(b"x"), Some(request_identity([0; 16]))).await.unwrap();
    }
    for i in 0..3 {
        nodes.stop(i).await;
    }
    for i in 0..3 {
        nodes.restart(i).await;
    }
    nodes.leader().await;
    let fresh = nodes.store(1);
    for i in 0..100u32 {
        assert!(fresh.read(Bytes::from(format!("k{i}"))).await.unwrap().record.is_some(), "k{i}");
    }
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_too_far_behind_comes_back_by_a_snapshot() {
    let mut nodes = Nodes::start_with(3, |config| config.snapshot_log_bytes = 1 << 20).await;
    let leader = nodes.leader().await;
    let behind = (leader + 1) % 3;
    nodes.stop(behind).await;
    let store = nodes.store(leader);
    let data = Bytes::from(vec![b'x'; 100_000]);
    let mut last = 0;
    for i in 0..120 {
        let put = Txn::new().put(format!("k{}", i % 20), i, data.clone());
        last = store.txn(put, Some(request_identity([0; 16]))).await.unwrap().offset();
    }
    eventually("the leader has let go of the log's beginning", || async {
        let request = proto::store::ShowLogRequest { route: Some(fixture::ROUTE), from_offset: 1, limit: 1 };
        let shown = nodes.cluster(leader).show_log(request).await.ok()?.into_inner();
        (shown.lines.first()?.position?.offset > 10).then_some(())
    })
    .await;
    nodes.restart(behind).await;
    nodes.applied(behind, last).await;
    let state_hash = |i| async move { state_hashes_of_nodes(i).await };
    let (here, there) = (state_hash((&nodes, leader)).await, state_hash((&nodes, behind)).await);
    assert_eq!(here, there, "both replicas hold the same");
    nodes.stop_all().await;
}

/// The running state hash, once a node has applied all that it knows committed.
async fn state_hashes_of_nodes((nodes, i): (&Nodes, usize)) -> u64 {
    eventually("everything committed is applied", || async {
        let status = nodes.status(i).await?;
        (status.applied?.offset >= status.last?.offset).then_some(status.state_hash)
    })
    .await
}
