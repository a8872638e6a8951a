//! The cost of a hop of the ring: one client reads, linearizably and one record after another, records of all shards at the leader of one
//! shard, and tells the latencies by the hops that each answer says it took.
//!
//! ```text
//!   feira up --shards 6 --nodes 1 --apart --set store.routing=neighbours
//!   cargo run --release -p feira-tests --no-default-features --example hops -- 127.0.0.1:7501 20000
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use proto::store::cluster_client::ClusterClient;
use proto::store::kv_client::KvClient;
use proto::store::{Freshness, GetRequest, Role, Route, SetRequest, StatusRequest};

/// Records that are read.
const RECORDS: u64 = 200;
/// Reads before those that count.
const WARM_UP: u64 = 1_000;

fn get(key: Bytes) -> GetRequest {
    GetRequest { route: Some(Route::to(0, 0)), key, freshness: Some(Freshness::linearizable()) }
}

#[tokio::main]
async fn main() {
    let mut given = std::env::args().skip(1);
    let (Some(address), Some(Ok(reads))) = (given.next(), given.next().map(|text| text.parse::<u64>()))
    else {
        panic!("give the address of a shard's leader, and how many reads");
    };
    let channel = tonic::transport::Channel::from_shared(format!("http://{address}")).unwrap();
    let channel = channel.tcp_nodelay(true).connect().await.unwrap();
    let told = ClusterClient::new(channel.clone()).status(StatusRequest { route: None }).await.unwrap();
    assert_eq!(
        told.get_ref().role(),
        Role::Leader,
        "{address} does not lead: its answers would take a way of their own"
    );
    let mut kv = KvClient::new(channel);
    let key = |number: u64| Bytes::from(format!("hop/{{{number}}}"));
    for number in 0..RECORDS {
        let (route, data) = (Some(Route::to(0, 0)), Bytes::from_static(b"{}"));
        let request = SetRequest { route, key: key(number), timestamp_ms: 1, data, identity: None };
        kv.set(request).await.unwrap();
    }
    let mut by_hops: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for number in 0..reads + WARM_UP {
        let began = Instant::now();
        // In an order that has nothing to do with the ring, so that near and far ones share each moment of the machine.
        let answer = kv.get(get(key(number * 7919 % RECORDS))).await.unwrap();
        let took_us = began.elapsed().as_secs_f64() * 1e6;
        let hops =
            answer.metadata().get("feira-hops").map_or(0, |hops| hops.to_str().unwrap().parse().unwrap());
        if number >= WARM_UP {
            by_hops.entry(hops).or_default().push(took_us);
        }
    }
    println!("hops    reads   median µs   p99 µs   median beside no hop");
    let mut at_none = None;
    for (hops, mut all) in by_hops {
        all.sort_by(f64::total_cmp);
        let (median, p99) = (all[all.len() / 2], all[all.len() * 99 / 100]);
        let beside = median / *at_none.get_or_insert(median);
        println!("{hops:4} {:8} {median:11.0} {p99:8.0} {beside:8.2}", all.len());
    }
}
