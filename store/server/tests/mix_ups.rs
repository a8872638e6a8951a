//! Nodes and callers of a wrong identity, and clocks that do not agree: refused, and never in silence.
#![allow(clippy::unwrap_used)]

mod fixture;

use bytes::Bytes;
use fixture::{Nodes, ROUTE, eventually};
use proto::store::cluster_client::ClusterClient;
use proto::store::{FailureReason, Identity, SetRequest, StatusRequest};
use store_client::failure::failure_from;
use store_client::now_ms;
use store_server::{Config, Shard, bootstrap, initial_members, serve_on, stop};
use tonic::Code;

/// A write whose id was made so far ahead of this machine's clock.
fn made_ahead(ms: i64) -> SetRequest {
    SetRequest {
        route: Some(ROUTE),
        key: Bytes::from_static(b"k"),
        identity: Some(Identity::user("one", now_ms() + ms, 1, [1; 16])),
        ..SetRequest::default()
    }
}

#[tokio::test]
async fn an_id_ahead_of_a_leaders_clock_is_refused_for_now_and_named_as_a_problem() {
    let nodes = Nodes::start(2).await;
    let (leader, follower) = (nodes.leader().await, nodes.follower().await);
    let refused = nodes.kv(leader).set(made_ahead(3_600_000)).await.expect_err("far ahead");
    let failure = failure_from(&refused);
    assert_eq!((failure.reason(), refused.code()), (FailureReason::ClocksApart, Code::Unavailable));
    assert_eq!(failure.field, "identity.user.created_ms");
    assert!(store_client::failure::error_from(&failure).is_retry(), "it did not happen, and may elsewhere");
    let problem = nodes.status(leader).await.unwrap().problem;
    assert!(problem.contains("ahead of this node's clock"), "{problem}");
    let redirected = nodes.kv(follower).set(made_ahead(3_600_000)).await.expect_err("does not lead");
    assert_eq!(
        failure_from(&redirected).reason(),
        FailureReason::NotLeader,
        "a follower's clock decides nothing"
    );
    nodes.kv(leader).set(made_ahead(1_000)).await.expect("within what clocks differ by");
    nodes.stop_all().await;
}

#[tokio::test]
async fn a_node_of_another_cluster_at_a_members_address_is_named_in_the_log() {
    let mut nodes = Nodes::start(3).await;
    let leader = nodes.leader().await;
    let moved = (leader + 1) % 3;
    nodes.stop(moved).await;

    let folder = tempfile::tempdir().unwrap();
    let node = moved as u64 + 1;
    let all = initial_members((1..).zip((0..3).map(|i| nodes.address(i))));
    bootstrap("other", Shard::ONLY, node, folder.path(), &all).unwrap();
    let address = nodes.address(moved);
    let listener =
        eventually("the port is free", || async { std::net::TcpListener::bind(&address).ok() }).await;
    let config = Config {
        cluster: "other".to_owned(),
        node,
        folder: folder.path().to_owned(),
        transfer_ms_max: 100,
        ..Config::default()
    };
    let (stopper, stop) = stop();
    let stranger = tokio::spawn(serve_on(
        listener,
        vec![config],
        tokio::sync::watch::channel(fixture::key()).1,
        stop,
        Box::new(|_| ()),
    ));

    let said = eventually("the leader says who is at its member's address", || async {
        let problem = nodes.status(leader).await?.problem;
        problem.contains(&format!("at {address} refuses this node: this is cluster other")).then_some(problem)
    })
    .await;
    assert!(said.contains("not test"), "{said}");
    eventually("the members say that somebody of another cluster calls", || async {
        let problem = nodes.status(leader).await?.problem;
        problem.contains("this is cluster test, not other").then_some(())
    })
    .await;
    eventually("the stranger says so too", || async {
        let mut cluster = ClusterClient::new(nodes.channel(moved));
        let status = cluster.status(StatusRequest { route: None }).await.ok()?.into_inner();
        (status.cluster == "other" && status.problem.contains("refuses this node: this is cluster test"))
            .then_some(())
    })
    .await;

    stopper.stop();
    stranger.await.unwrap().unwrap();
    nodes.restart(moved).await;
    eventually("the right node is there again", || async {
        let problem = nodes.status(leader).await?.problem;
        (!problem.contains("refuses this node")).then_some(())
    })
    .await;
    nodes.stop_all().await;
}
