//! Snapshots and log files over real processes, to the letter: when they are taken, how they are called, which are kept,
//! what is in them, and what they are for: recovery, and a replica that is too far behind.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use feira_tests::cluster::{Cluster, Options};
use feira_tests::wait;
use feira_tests::writers::{Load, verify};
use proto::store::{StatusResponse, Txn};
use serde_json::Value;
use store_client::{Store, request_identity};

/// What a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Looks at a node that rests; nobody writes, only a publish mark may come late.
const LOOKS_MAX: usize = 20;

fn store_with(store: &'static str) -> Options {
    Options { admin_portals: 0, client_portals: 0, store, ..Options::default() }
}

fn folder(cluster: &Cluster, node: &str) -> PathBuf {
    cluster.data_of(node).join("groups/1")
}

/// X of every `log.X` or `snap.X` in a node's folder, rising; leaves out what is being written or received.
fn numbers(cluster: &Cluster, node: &str, kind: &str) -> Vec<u64> {
    let names = std::fs::read_dir(folder(cluster, node)).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut numbers: Vec<u64> = names.filter_map(|name| name.strip_prefix(kind)?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// Waits until every node has taken `snap.number`.
async fn taken(cluster: &Cluster, number: u64) {
    wait::until(&format!("snap.{number} everywhere"), PATIENCE, || async {
        let newest = |node: &String| numbers(cluster, node, "snap.").last().copied().unwrap_or(0);
        let newest: Vec<u64> = cluster.nodes().iter().map(newest).collect();
        if newest.iter().all(|newest| *newest >= number) { Ok(()) } else { Err(format!("{newest:?}")) }
    })
    .await;
}

/// Waits, with nobody writing, until the last snapshot is of the end of the log and exactly three of each are left.
async fn settled(cluster: &Cluster, node: &str) -> Vec<u64> {
    wait::until(&format!("{node} to rest"), PATIENCE, || async {
        let status = cluster.status(node).await.map_err(|error| error.to_string())?;
        let (logs, snapshots) = (numbers(cluster, node, "log."), numbers(cluster, node, "snap."));
        let is_last = status.last.is_some_and(|last| last.offset == status.snapshot);
        let newest = snapshots.last().copied().unwrap_or(0);
        let three: Vec<u64> = (newest.saturating_sub(2)..=newest).collect();
        let so = is_last && logs == three && snapshots == three;
        if so {
            Ok(three)
        } else {
            Err(format!("{logs:?} {snapshots:?} {} {:?}", status.snapshot, status.last))
        }
    })
    .await
}

/// What `feira … --json` says, which must be well.
fn said(cluster: &Cluster, arguments: &[&str]) -> Value {
    let output = cluster.tool(&[arguments, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text} {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap()
}

fn offset(position: &Value) -> u64 {
    position["offset"].as_u64().unwrap_or_else(|| panic!("{position}"))
}

/// What a node at rest says of its files and its state, all of it of one moment.
struct Rest {
    /// The numbers of its snapshots.
    kept: Vec<u64>,
    /// `feira log verify`.
    log: Value,
    /// `feira snapshot verify`.
    snapshots: Value,
    /// `feira snapshot show`: the newest.
    newest: Value,
    status: StatusResponse,
}

async fn at_rest(cluster: &Cluster, node: &str) -> Rest {
    let id = node.strip_prefix("node-").unwrap();
    for _ in 0..LOOKS_MAX {
        let kept = settled(cluster, node).await;
        let log = said(cluster, &["log", "verify", id]);
        let snapshots = said(cluster, &["snapshot", "verify", id]);
        let newest = said(cluster, &["snapshot", "show", id]);
        let status = cluster.status(node).await.unwrap();
        // A late publish mark begins another file: then what was read is of two moments.
        let rests = status.last.as_ref().is_some_and(|last| last.offset == status.snapshot);
        if rests && numbers(cluster, node, "snap.") == kept {
            return Rest { kept, log, snapshots, newest, status };
        }
    }
    panic!("{node} does not rest");
}

/// Every kept `snap.X` is of exactly the last offset of `log.(X-1)`, which is the one before the first of `log.X`.
async fn is_to_the_letter(cluster: &Cluster, node: &str) {
    let Rest { kept, log, snapshots, newest, status } = at_rest(cluster, node).await;
    assert!(log["whole"] == true && snapshots["whole"] == true, "{log} {snapshots}");
    let file =
        |name: String| log["files"].as_array().unwrap().iter().find(|file| file["file"] == name.as_str());
    for (snapshot, number) in snapshots["snapshots"].as_array().unwrap().iter().zip(kept) {
        assert_eq!(snapshot["file"], format!("snap.{number}").as_str());
        assert!(snapshot["state"]["rows"]["records"].as_u64().unwrap() > 0, "{snapshot}");
        let at = offset(&snapshot["of"]["position"]);
        assert_eq!(offset(&file(format!("log.{number}")).unwrap()["after"]), at, "{node}: snap.{number}");
        if let Some(before) = file(format!("log.{}", number - 1)) {
            assert_eq!(offset(&before["last"]), at, "{node}: snap.{number}");
        }
    }
    // The newest is of the end of the log, where this very node says what its state is.
    assert_eq!(offset(&newest["of"]["position"]), status.applied.unwrap().offset);
    assert_eq!(newest["state"]["state_hash"], format!("{:016x}", status.state_hash).as_str(), "{node}");
}

#[tokio::test]
async fn every_second_a_snapshot_of_exactly_the_logs_end_and_the_last_three_are_kept() {
    let mut cluster = Cluster::prepare(feira_tests::feira!(), store_with("snapshot_seconds = 1"));
    cluster.found();
    for id in 1..=3 {
        let node = format!("node-{id}");
        assert_eq!(numbers(&cluster, &node, "log."), [0], "the first log file");
        assert_eq!(numbers(&cluster, &node, "snap."), [0; 0], "no snapshot of nothing");
    }
    cluster.begin().await;
    let load = Load::start(&cluster, 0);
    taken(&cluster, 1).await;
    let before = load.acknowledged();
    for number in 2..=5 {
        taken(&cluster, number).await;
        load.more(1).await;
    }
    assert!(load.acknowledged() > before, "writes go on meanwhile");
    let acknowledged = load.end().await;
    verify(&cluster, &acknowledged).await;
    for node in cluster.nodes() {
        is_to_the_letter(&cluster, &node).await;
    }
    cluster.all_run();
}

#[tokio::test]
async fn every_so_many_bytes_of_log_a_snapshot_and_no_earlier() {
    const BYTES: u64 = 1 << 20;
    let options = store_with("snapshot_seconds = 86400\nsnapshot_bytes = 1048576\nfiles_kept = 2");
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    fill(&cluster, 0, 64).await;
    taken(&cluster, 1).await;
    for round in 1..=8 {
        fill(&cluster, round, 64).await;
    }
    taken(&cluster, 4).await;
    for id in ["1", "2", "3"] {
        let log = said(&cluster, &["log", "verify", id]);
        let files = log["files"].as_array().unwrap();
        assert!(files.len() >= 2, "{log}");
        for full in &files[..files.len() - 1] {
            assert!(full["whole_bytes"].as_u64().unwrap() >= BYTES, "{full}");
        }
    }
}

/// Sixty-four records of 16 KiB that cannot be packed, over those that were there; `count` of them.
async fn fill(cluster: &Cluster, round: u64, count: u64) {
    const BYTES: usize = 16 << 10;
    let store = cluster.store();
    let mut random = fastrand::Rng::with_seed(round);
    let puts = (0..count).map(|at| {
        let data: Bytes = std::iter::repeat_with(|| random.u8(..)).take(BYTES).collect();
        let (store, key) = (store.clone(), Bytes::from(format!("fill/{at}")));
        async move { store.txn(Txn::new().put(key, 0, data), Some(request_identity([4; 16]))).await.unwrap() }
    });
    for answer in futures::future::join_all(puts).await {
        assert!(answer.success);
    }
}

/// Changes one byte in the middle of a file.
fn damage(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_replica_recovers_from_its_newest_whole_snapshot_and_the_log() {
    let mut cluster = Cluster::start(feira_tests::feira!(), store_with("snapshot_seconds = 1")).await;
    let load = Load::start(&cluster, 0);
    taken(&cluster, 3).await;
    let mut acknowledged = load.end().await;
    // The next write after its last snapshot is in the log only.
    settled(&cluster, "node-3").await;
    for damaged in 0..=2 {
        cluster.kill("node-3");
        let snapshots = numbers(&cluster, "node-3", "snap.");
        let newest = snapshots.last().copied().unwrap();
        for number in newest + 1 - damaged..=newest {
            damage(&folder(&cluster, "node-3").join(format!("snap.{number}")));
        }
        std::fs::remove_dir_all(folder(&cluster, "node-3").join("db")).unwrap();
        let load = Load::start(&cluster, 1 + damaged);
        load.more(20).await;
        acknowledged.append(&mut load.end().await);
        let before = cluster.log_of("node-3").len();
        cluster.run("node-3");
        cluster.wait_until_equal().await;
        let log = cluster.log_of("node-3")[before..].to_owned();
        let imported = format!("imported: Some({})", newest - damaged);
        assert!(log.contains(&imported), "{damaged} damaged of {snapshots:?}: {log}");
        let whole = cluster.tool(&["snapshot", "verify", "3"]);
        assert_eq!(whole.status.success(), damaged == 0, "damage is told: {whole:?}");
        // The next round begins with whole ones only.
        let load = Load::start(&cluster, 10 + damaged);
        taken(&cluster, newest + 4).await;
        acknowledged.append(&mut load.end().await);
        settled(&cluster, "node-3").await;
    }
    verify(&cluster, &acknowledged).await;
}

/// Bytes of a snapshot that a node has received so far.
fn received(cluster: &Cluster, node: &str) -> u64 {
    let names = std::fs::read_dir(folder(cluster, node)).unwrap().map(|entry| entry.unwrap());
    let incoming = names.filter(|entry| entry.file_name().to_string_lossy().ends_with(".incoming"));
    incoming.map(|entry| entry.metadata().unwrap().len()).max().unwrap_or(0)
}

/// Waits until the third node has logged `what`.
async fn logged(cluster: &Cluster, what: &str) {
    wait::until(what, PATIENCE, || async {
        let log = cluster.log_of("node-3");
        if log.contains(what) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn a_replica_too_far_behind_fetches_a_snapshot_and_goes_on_where_the_fetch_was_cut_off() {
    let options = store_with(
        "snapshot_seconds = 86400\nsnapshot_bytes = 4194304\nfiles_kept = 1\nsnapshot_bytes_per_second = 1048576",
    );
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    cluster.stop("node-3");
    // Six megabytes that are replaced again and again: the log behind is gone everywhere.
    for round in 0..3 {
        fill(&cluster, round, 384).await;
    }
    wait::until("the log to be gone", PATIENCE, || async {
        let first = |node: &str| numbers(&cluster, node, "log.")[0];
        let firsts = [first("node-1"), first("node-2")];
        if firsts.iter().all(|first| *first > 0) { Ok(()) } else { Err(format!("{firsts:?}")) }
    })
    .await;
    cluster.run("node-3");
    wait::until("a part of the snapshot", PATIENCE, || async {
        let bytes = received(&cluster, "node-3");
        if bytes > 1 << 20 { Ok(()) } else { Err(bytes.to_string()) }
    })
    .await;
    cluster.kill("node-3");
    let before = received(&cluster, "node-3");
    assert!(before > 1 << 20, "it was cut off: {}", cluster.log_of("node-3"));
    // Few enough that no newer snapshot takes the place of the one that was begun: then there would be nothing to go on with.
    let load = Load::start(&cluster, 0);
    load.more(50).await;
    let mut acknowledged = load.end().await;
    cluster.run("node-3");
    logged(&cluster, "the fetch of a snapshot goes on where it ended").await;
    let load = Load::start(&cluster, 1);
    logged(&cluster, "a snapshot was fetched").await;
    load.more(50).await;
    acknowledged.append(&mut load.end().await);
    cluster.wait_until_equal().await;
    verify(&cluster, &acknowledged).await;
    let whole = said(&cluster, &["snapshot", "verify", "3"]);
    assert_eq!(whole["whole"], true, "{whole}");
}
