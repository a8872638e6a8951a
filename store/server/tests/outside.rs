//! A node that is no member serves nobody and says so: an empty folder that waits to be let in, a node that was
//! removed, and one that was removed while nobody could tell it. And where members that came by a change are reached.
#![allow(clippy::unwrap_used, missing_docs)]

mod fixture;

use bytes::Bytes;
use fixture::{Nodes, ROUTE, eventually};
use proto::store::change_members_request::Change;
use proto::store::{
    ChangeMembersRequest, Freshness, GetRequest, Member, MemberName, Role, SetRequest, freshness,
};
use store_client::{Replicated, StoreExt};
use store_server::Peer;
use tonic::Code;

async fn change(nodes: &Nodes, wanted: Change) -> u64 {
    eventually("the change is made", || async {
        let request = ChangeMembersRequest { route: Some(ROUTE), change: Some(wanted.clone()) };
        let leader = nodes.leading().await;
        nodes.cluster(leader).change_members(request).await.ok().map(|done| done.into_inner().offset)
    })
    .await
}

fn remove(i: usize) -> Change {
    Change::Remove(MemberName { node: i as u64 + 1, incarnation: 0 })
}

fn learner(nodes: &Nodes, i: usize, incarnation: u64) -> Change {
    let address = nodes.address(i);
    Change::AddLearner(Member { node: i as u64 + 1, incarnation, address, joined: false })
}

async fn set(store: &Replicated, key: &'static str) {
    store.set(Bytes::from_static(key.as_bytes()), 1, Bytes::from_static(b"v"), None).await.unwrap();
}

fn get(stale: bool) -> GetRequest {
    let freshness = if stale {
        Freshness { kind: Some(freshness::Kind::Stale(true)), min_offset: 0 }
    } else {
        Freshness::linearizable()
    };
    GetRequest { route: Some(ROUTE), key: Bytes::from_static(b"k"), freshness: Some(freshness) }
}

/// Reads of either kind and writes are refused, and say why; the status says it too.
async fn serves_nobody(nodes: &Nodes, i: usize, problem: &str) {
    eventually("the node says that it is outside", || async {
        let status = nodes.status(i).await?;
        (status.role() == Role::NonMember && status.problem.contains(problem)).then_some(())
    })
    .await;
    for stale in [true, false] {
        let refused = nodes.kv(i).get(get(stale)).await.expect_err("it serves nobody");
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        assert!(refused.message().contains("not a member of its group"), "{refused}");
    }
    let write = SetRequest {
        route: Some(ROUTE),
        key: Bytes::from_static(b"k"),
        data: Bytes::from_static(b"v"),
        ..SetRequest::default()
    };
    let refused = nodes.kv(i).set(write).await.expect_err("it serves nobody");
    assert!(refused.message().contains("not a member of its group"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_and_removed_nodes_answer_no_stale_reads() {
    let mut nodes = Nodes::start(3).await;
    let store = nodes.store(0);
    set(&store, "k").await;
    let (fourth, incarnation) = nodes.join().await;
    serves_nobody(&nodes, fourth, "feira member add 4").await;
    let added = change(&nodes, learner(&nodes, fourth, incarnation)).await;
    nodes.applied(fourth, added).await;
    let status = nodes.status(fourth).await.unwrap();
    assert_eq!((status.role(), status.problem.as_str()), (Role::Learner, ""));
    let got = nodes.kv(fourth).get(get(true)).await.unwrap().into_inner();
    assert!(got.record.is_some(), "a learner answers stale reads");

    change(&nodes, remove(fourth)).await;
    serves_nobody(&nodes, fourth, "node 4 (incarnation").await;
    // Nor after a restart; and a handle that knows only this node finds the others.
    nodes.stop(fourth).await;
    nodes.restart(fourth).await;
    serves_nobody(&nodes, fourth, "is not a member").await;
    set(&nodes.store(fourth), "l").await;

    // A leader that removes itself serves until that is committed, and then no more.
    let leader = nodes.leading().await;
    change(&nodes, remove(leader)).await;
    serves_nobody(&nodes, leader, "is not a member").await;
    set(&store, "m").await;
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_removed_while_it_was_away_learns_of_it_and_asks_for_no_votes() {
    let mut nodes = Nodes::start(3).await;
    let away = nodes.follower().await;
    set(&nodes.store(0), "k").await;
    nodes.stop(away).await;
    change(&nodes, remove(away)).await;
    nodes.restart(away).await;
    serves_nobody(&nodes, away, "was removed from the group").await;
    assert_eq!(nodes.status(away).await.unwrap().members.len(), 3, "its own log does not say so");
    // Let in again, with the log and the promises that it has, it is what it was.
    let incarnation = nodes.status(away).await.unwrap().incarnation;
    let added = change(&nodes, learner(&nodes, away, incarnation)).await;
    nodes.applied(away, added).await;
    let status = nodes.status(away).await.unwrap();
    assert_eq!((status.role(), status.problem.as_str()), (Role::Learner, ""));
    nodes.stop_all().await;
}

/// Every configuration says that node 4 is where nobody is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_address_in_the_configuration_won_over_the_change_after_a_restart() {
    let stale = |config: &mut store_server::Config| {
        if config.node != 4 {
            config.peers.push(Peer { node: 4, address: "127.0.0.1:1".to_owned() });
        }
    };
    let mut nodes = Nodes::start_with(3, stale).await;
    nodes.leader().await;
    let (fourth, incarnation) = nodes.join().await;
    change(&nodes, learner(&nodes, fourth, incarnation)).await;
    for i in 0..3 {
        nodes.stop(i).await;
        nodes.restart(i).await;
    }
    let store = nodes.store(0);
    set(&store, "k").await;
    let leader = nodes.leading().await;
    let last = nodes.status(leader).await.unwrap().committed;
    nodes.applied(fourth, last).await;
    nodes.stop_all().await;
}
