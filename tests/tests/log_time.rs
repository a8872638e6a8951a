//! The log's time over real processes whose clocks are wrong: a minority moves nothing, and a majority is followed at once.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::preload::clock_ahead;
use feira_tests::wait;
use proto::store::StatusResponse;

const DAY: Duration = Duration::from_secs(86_400);
const NIGHT: Duration = Duration::from_secs(9 * 3_600);
/// Between two looks at two clocks, on a busy machine.
const ABOUT_MS: i64 = 60_000;

/// Starts nodes anew with their clocks ahead.
fn run_ahead(cluster: &mut Cluster, nodes: &[String], by: Duration) {
    let ahead = clock_ahead(cluster.path(), by);
    let environment: Vec<(&str, &str)> = ahead.iter().map(|(name, value)| (*name, value.as_str())).collect();
    nodes.iter().for_each(|node| cluster.run_with(node, &environment));
}

/// Creates a product, which is one entry of the log.
fn write(cluster: &Cluster, pid: &str) {
    let create = format!("insert-product {pid} description=Fig quantity=9 price=2");
    let output = cluster.tool(&["admin", "-c", &create]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The leader's status when it says so.
async fn leaders_status(
    cluster: &Cluster,
    what: &str,
    says: impl Fn(&StatusResponse) -> bool,
) -> StatusResponse {
    wait::until(what, PATIENCE, || async {
        let leader = cluster.leader().await;
        let status = cluster.status(&leader).await.map_err(|status| status.to_string())?;
        if says(&status) {
            Ok(status)
        } else {
            Err(format!("{leader}: lag {} ms, problem {:?}", status.log_time_lag_ms, status.problem))
        }
    })
    .await
}

#[tokio::test]
async fn a_leader_whose_clock_is_a_day_ahead_moves_no_time_and_is_named() {
    let options = Options { embedded_broker: true, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    write(&cluster, "before");
    cluster.kill("node-3");
    run_ahead(&mut cluster, &["node-3".to_owned()], DAY);
    wait::until("node 3 to lead", PATIENCE, || async {
        let output = cluster.tool(&["node", "transfer-leadership", "3"]);
        let leader = cluster.leader().await;
        if leader == "node-3" { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    })
    .await;
    for number in 0..20 {
        write(&cluster, &format!("fig-{number}"));
    }
    let status = leaders_status(&cluster, "the leader to name itself", |status| {
        status.node == 3 && status.problem.contains("the clock of node 3 is 86")
    })
    .await;
    let day_ms = i64::try_from(DAY.as_millis()).unwrap();
    assert!((status.log_time_lag_ms - day_ms).abs() < ABOUT_MS, "{status:?}");

    cluster.kill("node-3");
    write(&cluster, "after");
    let status = leaders_status(&cluster, "another leader", |status| status.node != 3).await;
    assert!(status.log_time_lag_ms.abs() < ABOUT_MS, "{status:?}");
}

#[tokio::test]
async fn after_a_night_off_the_first_entry_has_the_time_of_the_day() {
    let options = Options { embedded_broker: true, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    write(&cluster, "before");
    let nodes = cluster.nodes();
    nodes.iter().for_each(|node| cluster.kill(node));
    run_ahead(&mut cluster, &nodes, NIGHT);
    let status = leaders_status(&cluster, "a leader that has its first entry", |status| {
        status.log_time_lag_ms.abs() < ABOUT_MS && status.applied == status.last
    })
    .await;
    assert_eq!(status.problem, "", "{status:?}");
}
