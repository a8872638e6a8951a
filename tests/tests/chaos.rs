//! Chaos over real processes, in short: each fault once or twice. `cargo xtask chaos` does the same for as long as one
//! likes.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use feira_tests::chaos::fault::Fault;
use feira_tests::chaos::load::Volume;
use feira_tests::chaos::report::Report;
use feira_tests::chaos::{Settings, run};

/// Does each of these faults so many times, in an order chosen by the seed.
async fn chaos(nodes: u64, seed: u64, faults: &[Fault], times: u64) -> Report {
    chaos_on((1, false), nodes, seed, faults, times).await
}

/// The same on a ring of so many shards, on the same nodes or each on its own.
async fn chaos_on(
    (shards, shared): (u64, bool),
    nodes: u64,
    seed: u64,
    faults: &[Fault],
    times: u64,
) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        feira: PathBuf::from(feira_tests::feira!()),
        time: Duration::MAX,
        rounds: faults.len() as u64 * times,
        history: folder.path().join("history.jsonl"),
        seed,
        faults: faults.to_vec(),
        shards,
        nodes,
        shared,
        volume: Volume::default(),
    };
    let report = run(&settings).await;
    for fault in faults {
        assert_eq!(report.faults[fault].len() as u64, times, "{report}");
    }
    assert!(report.transactions >= 50, "few transactions prove little: {report}");
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn each_replica_in_turn_is_restarted_again_and_again_under_reads_and_writes() {
    chaos(3, 8, &[Fault::InTurn], 3).await;
}

/// With orders that cross the shards.
#[tokio::test(flavor = "multi_thread")]
async fn one_replica_of_every_range_at_a_time_is_restarted_under_reads_writes_and_orders() {
    chaos_on((3, false), 3, 9, &[Fault::InTurn], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_loses_leaders_and_then_all_its_nodes_and_loses_nothing() {
    let faults = [Fault::KillLeader, Fault::PauseLeader, Fault::KillAll];
    chaos_on((3, false), 3, 10, &faults, 1).await;
}

/// Each process holds a replica of every range: whoever is killed takes three replicas along.
#[tokio::test(flavor = "multi_thread")]
async fn a_ring_on_three_nodes_loses_them_in_turn_and_all_at_once_and_loses_nothing() {
    let faults = [Fault::KillLeader, Fault::PauseLeader, Fault::KillAll, Fault::InTurn];
    chaos_on((3, true), 3, 11, &faults, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_and_pauses_lose_nothing_and_leave_a_linearizable_history() {
    let faults = [Fault::KillOne, Fault::KillLeader, Fault::KillMajority, Fault::KillAll, Fault::PauseLeader];
    let report = chaos(3, 1, &faults, 1).await;
    assert!(report.leaders >= 3, "three of these faults take the leader: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_delay_and_loss_leave_one_leader_an_epoch_and_a_linearizable_history() {
    let faults = [Fault::IsolateLeader, Fault::DeafLeader, Fault::MuteLeader, Fault::Partial, Fault::Delay];
    chaos(4, 2, &faults, 1).await;
    chaos(3, 3, &[Fault::IsolateOne, Fault::Loss], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_hands_leadership_over_each_time() {
    let report = chaos(3, 4, &[Fault::RollingRestart, Fault::TransferLeadership], 1).await;
    assert!(report.leaders >= 2, "{report}");
}
