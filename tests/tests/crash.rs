//! kill -9 under load over real processes and real files: of the leader, of all nodes at once. Whatever was
//! acknowledged is there afterwards, and nothing is there that nobody wrote.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use feira_tests::cluster::{Cluster, Options};
use feira_tests::wait;
use proto::store::{Freshness, Status};
use store_client::{Range, Replicated, Store, StoreExt, request_identity};
use tokio::task::JoinHandle;

const WRITERS: u64 = 16;

fn store_of(nodes: u64) -> Options {
    Options { nodes, admin_portals: 0, client_portals: 0, ..Options::default() }
}

/// Writers that write new keys until told to stop, and remember what was acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<JoinHandle<BTreeMap<Bytes, Bytes>>>,
}

impl Load {
    fn start(cluster: &Cluster, round: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let writers = (0..WRITERS)
            .map(|writer| {
                let load = (cluster.store(), Arc::clone(&stop), Arc::clone(&acknowledged));
                tokio::spawn(write_until(load, round, writer))
            })
            .collect();
        Load { stop, acknowledged, writers }
    }

    /// Waits until so many writes more are acknowledged.
    async fn more(&self, count: u64) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + count;
        wait::until("acknowledged writes", Duration::from_secs(60), || async {
            let now = self.acknowledged.load(Ordering::Relaxed);
            if now >= goal { Ok(()) } else { Err(format!("{now} of {goal}")) }
        })
        .await;
    }

    async fn end(self) -> BTreeMap<Bytes, Bytes> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = BTreeMap::new();
        for writer in self.writers {
            all.append(&mut writer.await.unwrap());
        }
        all
    }
}

async fn write_until(
    (store, stop, acknowledged): (Arc<Replicated>, Arc<AtomicBool>, Arc<AtomicU64>),
    round: u64,
    writer: u64,
) -> BTreeMap<Bytes, Bytes> {
    let mut done = BTreeMap::new();
    for at in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = Bytes::from(format!("crash/{round}/{writer}/{at}"));
        let data = Bytes::from(format!("{round}.{writer}.{at}"));
        let answer = store.set(key.clone(), 0, data.clone(), Some(request_identity([3; 16]))).await;
        if answer.is_ok_and(|answer| answer.status() == Status::Success) {
            acknowledged.fetch_add(1, Ordering::Relaxed);
            done.insert(key, data);
        }
    }
    done
}

/// Every acknowledged write is there, and whatever is there was written by us.
async fn verify(cluster: &Cluster, acknowledged: &BTreeMap<Bytes, Bytes>) {
    let store = cluster.store();
    let mut found = BTreeMap::new();
    let mut after = None;
    loop {
        let range = Range::Prefix(Bytes::from_static(b"crash/"));
        let page = store.scan(range, 1_000, after, Freshness::linearizable()).await.unwrap();
        found.extend(page.records.into_iter().map(|kr| (kr.key, kr.record.unwrap().data)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    for (key, data) in acknowledged {
        assert_eq!(found.get(key), Some(data), "acknowledged and lost: {key:?}");
    }
    for (key, data) in &found {
        let text = String::from_utf8(key.to_vec()).unwrap();
        assert_eq!(text["crash/".len()..].replace('/', "."), *data, "{key:?}");
    }
}

async fn leader_killed_under_load(nodes: u64) {
    let mut cluster = Cluster::start(feira_tests::feira!(), store_of(nodes)).await;
    let load = Load::start(&cluster, 0);
    for _ in 0..3 {
        load.more(200).await;
        let leader = cluster.leader().await;
        cluster.kill(&leader);
        load.more(200).await;
        cluster.run(&leader);
    }
    let acknowledged = load.end().await;
    verify(&cluster, &acknowledged).await;
    cluster.wait_until_equal().await;
}

#[tokio::test]
async fn three_nodes_lose_nothing_with_their_leader() {
    leader_killed_under_load(3).await;
}

#[tokio::test]
async fn four_nodes_lose_nothing_with_their_leader() {
    leader_killed_under_load(4).await;
}

#[tokio::test]
async fn ten_times_all_nodes_killed_at_once_lose_nothing() {
    let mut cluster = Cluster::start(feira_tests::feira!(), store_of(3)).await;
    let mut acknowledged = BTreeMap::new();
    for round in 0..10 {
        let load = Load::start(&cluster, round);
        load.more(300).await;
        for node in cluster.nodes() {
            cluster.kill(&node);
        }
        for id in 1..=3 {
            cluster.run(&format!("node-{id}"));
        }
        load.more(50).await;
        acknowledged.append(&mut load.end().await);
        verify(&cluster, &acknowledged).await;
    }
    cluster.wait_until_equal().await;
}
