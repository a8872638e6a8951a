//! The push protocol as a person sees it, over real processes: normal writes; a replica that was off
//! and comes back with an old log; conflicting entries planted in a replica and corrected; nothing applied before
//! the commit order.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use feira_tests::cluster::{Cluster, Options};
use feira_tests::wait;
use proto::store::{
    Freshness, GetRequest, HoldCommitRequest, LogLine, Route, ShowLogRequest, Status,
    TransferLeadershipRequest,
};
use store_client::{StoreExt, request_identity};

const ROUTE: Option<Route> = Some(Route::to(1, 1));

fn store_of(nodes: u64) -> Options {
    Options { nodes, admin_portals: 0, client_portals: 0, ..Options::default() }
}

async fn write(cluster: &Cluster, key: &str) -> u64 {
    let key = Bytes::from(key.to_owned());
    let store = cluster.store();
    let answer = store.set(key, 0, Bytes::from_static(b"v"), Some(request_identity([1; 16]))).await.unwrap();
    assert_eq!(answer.status(), Status::Success);
    answer.position.unwrap().offset
}

/// The log of a node up to an entry that was acknowledged: what follows it (the publisher's marks) may still be on its
/// way.
async fn log_up_to(cluster: &Cluster, node: &str, last: u64) -> Vec<LogLine> {
    let mut log = log_of(cluster, node).await;
    log.retain(|line| line.position.unwrap().offset <= last);
    log
}

async fn log_of(cluster: &Cluster, node: &str) -> Vec<LogLine> {
    let mut client = cluster.operator(node);
    let request = ShowLogRequest { route: ROUTE, from_offset: 1, limit: 1_000 };
    client.show_log(request).await.unwrap().into_inner().lines
}

fn positions(lines: &[LogLine]) -> Vec<(u64, u64)> {
    lines.iter().map(|line| line.position.unwrap()).map(|at| (at.epoch, at.offset)).collect()
}

/// What a replica itself has made readable.
async fn reads_stale(cluster: &Cluster, node: &str, key: &str) -> Status {
    let key = Bytes::from(key.to_owned());
    let request = GetRequest { route: ROUTE, key, freshness: Some(Freshness::stale()) };
    cluster.kv(node).get(request).await.unwrap().into_inner().status()
}

async fn normal_writes(nodes: u64) {
    let cluster = Cluster::start(feira_tests::feira!(), store_of(nodes)).await;
    let mut last = 0;
    for at in 0..20 {
        last = write(&cluster, &format!("k{at}")).await;
    }
    cluster.wait_until_equal().await;
    let leader = cluster.leader().await;
    let log = log_up_to(&cluster, &leader, last).await;
    assert!(log.iter().all(|line| line.committed && line.applied), "{log:?}");
    let offsets: Vec<u64> = positions(&log).iter().map(|(_, offset)| *offset).collect();
    assert_eq!(offsets, (1..=last).collect::<Vec<_>>(), "no gaps from entry 1 on");
    for node in cluster.nodes() {
        assert_eq!(positions(&log_up_to(&cluster, &node, last).await), positions(&log), "{node}");
        assert_eq!(reads_stale(&cluster, &node, "k19").await, Status::Success, "{node}");
    }
}

#[tokio::test]
async fn a_write_reaches_every_one_of_three_replicas() {
    normal_writes(3).await;
}

#[tokio::test]
async fn a_write_reaches_every_one_of_four_replicas() {
    normal_writes(4).await;
}

#[tokio::test]
async fn a_replica_that_was_off_catches_up_from_its_old_log() {
    let mut cluster = Cluster::start(feira_tests::feira!(), store_of(3)).await;
    write(&cluster, "before").await;
    let leader = cluster.leader().await;
    let off = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    cluster.kill(&off);
    let mut last = 0;
    for at in 0..50 {
        last = write(&cluster, &format!("while it was off {at}")).await;
    }
    cluster.run(&off);
    cluster.wait_until_equal().await;
    assert!(cluster.status(&off).await.unwrap().applied.unwrap().offset >= last);
    assert_eq!(reads_stale(&cluster, &off, "while it was off 49").await, Status::Success);
}

#[tokio::test]
async fn replicas_apply_only_on_the_commit_order() {
    let cluster = Cluster::start(feira_tests::feira!(), store_of(3)).await;
    write(&cluster, "before").await;
    cluster.wait_until_equal().await;
    let leader = cluster.leader().await;
    let replicas: Vec<String> = cluster.nodes().into_iter().filter(|node| *node != leader).collect();
    let mut control = cluster.operator(&leader);
    control.hold_commit(HoldCommitRequest { route: ROUTE, hold: true }).await.unwrap();
    let offset = write(&cluster, "held").await;
    for node in &replicas {
        wait::until("the entry to be in the replica's log", Duration::from_secs(5), || async {
            let status = cluster.status(node).await.map_err(|error| error.to_string())?;
            if status.last.unwrap().offset >= offset { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
        let log = log_of(&cluster, node).await;
        let line = log.iter().find(|line| line.position.unwrap().offset == offset).unwrap();
        assert!(!line.committed && !line.applied, "{node}: {line:?}");
        assert_eq!(
            reads_stale(&cluster, node, "held").await,
            Status::Error,
            "{node} reads what is intermediate"
        );
    }
    assert_eq!(reads_stale(&cluster, &leader, "held").await, Status::Success);
    control.hold_commit(HoldCommitRequest { route: ROUTE, hold: false }).await.unwrap();
    cluster.wait_until_equal().await;
    for node in &replicas {
        assert_eq!(reads_stale(&cluster, node, "held").await, Status::Success, "{node}");
    }
}

#[tokio::test]
async fn planted_conflicts_are_truncated_and_rebuilt() {
    let mut cluster = Cluster::start(feira_tests::feira!(), store_of(3)).await;
    write(&cluster, "before").await;
    cluster.wait_until_equal().await;
    let leader = cluster.leader().await;
    let replica = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    let id = replica.trim_start_matches("node-").to_owned();
    // Nothing more may be written in this epoch: its planted entries stand where no others of it do.
    wait::until("the change publisher to be done", Duration::from_secs(10), || async {
        let log = log_of(&cluster, &replica).await;
        let last = log.last().map(|line| line.kind.clone()).unwrap_or_default();
        if last == "publish-mark" { Ok(()) } else { Err(last) }
    })
    .await;
    cluster.wait_until_equal().await;
    cluster.stop(&replica);
    let mut control = cluster.operator(&leader);
    control.transfer_leadership(TransferLeadershipRequest { route: ROUTE, to: 0 }).await.unwrap();
    let leader = cluster.leader().await;
    let planted = cluster.tool(&["log", "plant", &id, "--entries", "3"]);
    assert!(planted.status.success(), "{}", String::from_utf8_lossy(&planted.stderr));
    let shown = cluster.tool(&["log", "show", &id]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("planted"), "{shown:?}");
    let mut last = 0;
    for at in 0..5 {
        last = write(&cluster, &format!("meanwhile {at}")).await;
    }
    cluster.run(&replica);
    cluster.wait_until_equal().await;
    let (rebuilt, leaders) =
        (log_up_to(&cluster, &replica, last).await, log_up_to(&cluster, &leader, last).await);
    assert_eq!(positions(&rebuilt), positions(&leaders));
    let status = cluster.log_of(&replica);
    assert!(status.contains("truncat"), "the replica does not say that it truncated: {status}");
}

#[tokio::test]
async fn a_conflict_below_the_commit_offset_is_fatal() {
    let mut cluster = Cluster::start(feira_tests::feira!(), store_of(3)).await;
    for at in 0..5 {
        write(&cluster, &format!("k{at}")).await;
    }
    cluster.wait_until_equal().await;
    let leader = cluster.leader().await;
    let replica = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    let id = replica.trim_start_matches("node-").to_owned();
    cluster.stop(&replica);
    let refused = cluster.tool(&["log", "plant", &id, "--at", "3"]);
    assert_eq!(refused.status.code(), Some(1), "planting below the commit mark needs --force");
    let planted = cluster.tool(&["log", "plant", &id, "--at", "3", "--force"]);
    assert!(planted.status.success(), "{}", String::from_utf8_lossy(&planted.stderr));
    cluster.run(&replica);
    wait::until("the replica to refuse", Duration::from_secs(20), || async {
        let log = cluster.log_of(&replica);
        if log.contains("committed") && log.contains("conflict") { Ok(()) } else { Err("not yet") }
    })
    .await;
    write(&cluster, "the others go on").await;
}
