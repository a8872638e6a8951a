//! Disks that fill up under real nodes, each on a small file system of its own: one full disk stops nobody, the
//! leader's neither; on a majority writes are refused with the documented error, reads go on, and when there is room
//! again everything goes on by itself. Needs to mount a tmpfs: root only; without that it says so and shows nothing.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use feira_tests::chaos::disk::SmallDisk;
use feira_tests::chaos::load::store_of;
use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::wait;
use proto::store::Status;
use store_client::{Cause, Error, Sharded, StoreExt, request_identity};

const DISK_BYTES: u64 = 192 << 20;
/// Eight MiB are the reserve: a leader refuses writes; below four a replica takes no entries.
const STORE: &str = "disk_reserve_bytes = 8388608\nmap_bytes = 268435456";
const UNDER_THE_RESERVE: u64 = 6 << 20;
const SCARCE: u64 = 2 << 20;
/// Two seconds are promised; tests share the machine with others.
const NO_WRITE_MAX: Duration = Duration::from_secs(4);

/// A cluster of three on small disks; `None`: there are none to be had here.
async fn on_small_disks() -> Option<(Cluster, BTreeMap<String, SmallDisk>)> {
    let options = Options {
        admin_portals: 0,
        client_portals: 0,
        embedded_broker: true,
        store: STORE,
        ..Options::default()
    };
    let mut cluster = Cluster::prepare(feira_tests::feira!(), options);
    let mut disks = BTreeMap::new();
    for node in ["node-1", "node-2", "node-3"] {
        match SmallDisk::mount(&cluster.data_of(node), DISK_BYTES) {
            Ok(disk) => disks.insert(node.to_owned(), disk),
            Err(why) => {
                eprintln!("LEFT OUT, full disks: {why}");
                return None;
            }
        };
    }
    cluster.begin().await;
    Some((cluster, disks))
}

async fn write(store: &Sharded, key: &str) -> Result<(), Error> {
    let id = request_identity([7; 16]);
    let answer = store.set(Bytes::from(key.to_owned()), 0, Bytes::from(vec![b'x'; 1_024]), Some(id)).await?;
    assert_eq!(answer.status(), Status::Success, "{key} is written once");
    Ok(())
}

/// Writes for some time; the longest time without a success.
async fn write_for(store: &Sharded, name: &str, time: Duration) -> Duration {
    let (begun, mut last, mut worst) = (Instant::now(), Instant::now(), Duration::ZERO);
    for at in 0.. {
        if write(store, &format!("{name}/{at}")).await.is_ok() {
            worst = worst.max(last.elapsed());
            last = Instant::now();
        }
        if begun.elapsed() >= time {
            break;
        }
    }
    worst.max(last.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_one_node_stops_nobody_not_even_the_leaders() {
    let Some((mut cluster, disks)) = on_small_disks().await else { return };
    let store = store_of(&cluster, PATIENCE);
    let leader = cluster.leader().await;
    disks[&leader].fill(UNDER_THE_RESERVE);
    let worst = write_for(&store, "leader", Duration::from_secs(3)).await;
    assert!(worst < NO_WRITE_MAX, "{worst:?} without a write");
    let next = cluster.leader().await;
    assert_ne!(next, leader, "who lacks room gives its place away");
    disks[&leader].empty();

    let follower = cluster.nodes().into_iter().find(|node| *node != next).unwrap();
    disks[&follower].fill(SCARCE);
    let worst = write_for(&store, "follower", Duration::from_secs(2)).await;
    assert!(worst < NO_WRITE_MAX, "{worst:?} without a write");
    cluster.all_run();
    disks[&follower].empty();
    cluster.wait_until_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disks_of_a_majority_refuse_writes_and_serve_reads_until_there_is_space() {
    let Some((mut cluster, disks)) = on_small_disks().await else { return };
    let store = store_of(&cluster, PATIENCE);
    write(&store, "before").await.unwrap();
    let leader = cluster.leader().await;
    let others = cluster.nodes().into_iter().filter(|node| *node != leader);
    let full: Vec<String> = others.take(1).chain([leader.clone()]).collect();
    full.iter().for_each(|node| disks[node].fill(SCARCE));

    // Which of those that are tried meanwhile were appended nobody promises.
    let impatient = store_of(&cluster, Duration::from_millis(500));
    let tries = AtomicU64::new(0);
    wait::until("writes to be refused for lack of space", PATIENCE, || async {
        let key = format!("during/{}", tries.fetch_add(1, Ordering::Relaxed));
        match write(&impatient, &key).await {
            Err(Error::Retry { cause: Cause::OutOfSpace, message })
                if message.contains("full up to its reserve") =>
            {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    for _ in 0..20 {
        let found = store.read(Bytes::from_static(b"before")).await.unwrap();
        assert_eq!(found.status(), Status::Success, "reads go on");
    }
    // Also where the leader has room and the majority has none.
    wait::until("the leader's status to say so", PATIENCE, || async {
        let told = cluster.status(&cluster.leader().await).await.map_err(|status| status.to_string())?;
        if told.writes_refused.contains("full up to its reserve") { Ok(()) } else { Err(told.writes_refused) }
    })
    .await;
    cluster.all_run();

    disks.values().for_each(SmallDisk::empty);
    wait::until("writes to go on", PATIENCE, || async {
        write(&impatient, &format!("after/{}", tries.fetch_add(1, Ordering::Relaxed))).await
    })
    .await;
    cluster.wait_until_equal().await;
    cluster.all_run();
}

/// SIGXFSZ killed it in the middle of a write; then LMDB's half a commit ended it again at each start.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_the_size_of_files_is_told_as_out_of_space_until_it_is_raised() {
    let options = Options {
        nodes: 1,
        admin_portals: 0,
        client_portals: 0,
        embedded_broker: true,
        ..Options::default()
    };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    let store = store_of(&cluster, Duration::from_secs(2));
    write(&store, "before").await.unwrap();
    let data = cluster.data_of("node-1").join("groups/1/db/data.mdb");
    let limit = std::fs::metadata(data).unwrap().len() + (1 << 20);
    let pid = cluster.pid("node-1").to_string();
    let limited = |limit: &str| {
        let mut prlimit = std::process::Command::new("prlimit");
        let status = prlimit.args(["--pid", &pid, &format!("--fsize={limit}")]).status();
        assert!(status.unwrap().success(), "prlimit (util-linux) is there");
    };
    limited(&format!("{limit}:"));
    let tries = AtomicU64::new(0);
    wait::until("a refusal", PATIENCE, || async {
        match write(&store, &format!("during/{}", tries.fetch_add(1, Ordering::Relaxed))).await {
            Err(Error::Retry { message, .. }) if message.contains("ulimit -f") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let found = store.read(Bytes::from_static(b"before")).await.unwrap();
    assert_eq!(found.status(), Status::Success, "reads go on");
    cluster.all_run();
    limited("unlimited:");
    wait::until("writes to go on", PATIENCE, || async {
        write(&store, &format!("after/{}", tries.fetch_add(1, Ordering::Relaxed))).await
    })
    .await;
    cluster.all_run();
}
