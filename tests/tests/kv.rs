//! The versioned key-value API over real processes: every RPC with every outcome, a stress whose end state
//! is verified, with many clients in parallel, and with the communication cut in the middle.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use feira_tests::cluster::{Cluster, Options};
use nix::sys::signal::Signal;
use proto::store::kv_client::KvClient;
use proto::store::{
    DeleteRequest, DeleteVersionRequest, Freshness, GetRequest, GetResponse, Identity, Record, Route,
    ScanRequest, SetRequest, Status, TestAndSetRequest, WriteResponse, scan_request,
};
use store_client::{Replicated, Store, StoreExt, request_identity};
use tonic::transport::Channel;

const ROUTE: Option<Route> = Some(Route::to(1, 1));

fn only_store() -> Options {
    Options { admin_portals: 0, client_portals: 0, ..Options::default() }
}

/// The five operations of the versioned API over one leader's unary RPCs.
struct Kv(KvClient<Channel>);

impl Kv {
    async fn set(&mut self, key: &str, data: &str) -> WriteResponse {
        let (key, data) = (Bytes::from(key.to_owned()), Bytes::from(data.to_owned()));
        let request = SetRequest { route: ROUTE, key, timestamp_ms: 7, data, identity: None };
        self.0.set(request).await.unwrap().into_inner()
    }

    async fn get(&mut self, key: &str) -> GetResponse {
        let key = Bytes::from(key.to_owned());
        self.0.get(GetRequest { route: ROUTE, key, freshness: None }).await.unwrap().into_inner()
    }

    async fn delete(&mut self, key: &str) -> WriteResponse {
        let key = Bytes::from(key.to_owned());
        self.0.delete(DeleteRequest { route: ROUTE, key, identity: None }).await.unwrap().into_inner()
    }

    async fn delete_version(&mut self, key: &str, version: u64) -> WriteResponse {
        let key = Bytes::from(key.to_owned());
        let request = DeleteVersionRequest { route: ROUTE, key, version, identity: None };
        self.0.delete_version(request).await.unwrap().into_inner()
    }

    async fn test_and_set(&mut self, key: &str, data: &str, version: u64) -> WriteResponse {
        let (key, data) = (Bytes::from(key.to_owned()), Bytes::from(data.to_owned()));
        let request = TestAndSetRequest { route: ROUTE, key, data, timestamp_ms: 8, version, identity: None };
        self.0.test_and_set(request).await.unwrap().into_inner()
    }
}

fn shown(record: Option<&Record>) -> Option<(u64, i64, String)> {
    record.map(|r| (r.version, r.timestamp_ms, String::from_utf8(r.data.to_vec()).unwrap()))
}

fn old(version: u64, timestamp_ms: i64, data: &str) -> Option<(u64, i64, String)> {
    Some((version, timestamp_ms, data.to_owned()))
}

#[tokio::test]
async fn every_operation_has_every_outcome() {
    let cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    let mut kv = Kv(cluster.kv(&cluster.leader().await));

    let answer = kv.get("17").await;
    assert_eq!((answer.status(), answer.record), (Status::Error, None));
    let answer = kv.set("17", "a").await;
    assert_eq!((answer.status(), answer.version), (Status::Success, 1));
    assert!(answer.position.is_some_and(|p| p.epoch > 0 && p.offset > 0), "{answer:?}");
    let answer = kv.set("17", "b").await;
    assert_eq!((answer.status(), shown(answer.record.as_ref())), (Status::Error, old(1, 7, "a")));
    let answer = kv.get("17").await;
    assert_eq!((answer.status(), shown(answer.record.as_ref())), (Status::Success, old(1, 7, "a")));

    let answer = kv.test_and_set("18", "x", 1).await;
    assert_eq!((answer.status(), answer.record), (Status::ErrorNe, None));
    let answer = kv.test_and_set("17", "x", 2).await;
    assert_eq!((answer.status(), shown(answer.record.as_ref())), (Status::ErrorWv, old(1, 7, "a")));
    let answer = kv.test_and_set("17", "c", 1).await;
    assert_eq!((answer.status(), answer.version), (Status::Success, 2));
    assert_eq!(shown(answer.record.as_ref()), old(1, 7, "a"));
    assert_eq!(shown(kv.get("17").await.record.as_ref()), old(2, 8, "c"));

    let answer = kv.delete_version("18", 1).await;
    assert_eq!((answer.status(), answer.record), (Status::ErrorNe, None));
    let answer = kv.delete_version("17", 1).await;
    assert_eq!((answer.status(), shown(answer.record.as_ref())), (Status::ErrorWv, old(2, 8, "c")));
    let answer = kv.delete_version("17", 2).await;
    assert_eq!((answer.status(), shown(answer.record.as_ref())), (Status::Success, old(2, 8, "c")));

    let answer = kv.delete("17").await;
    assert_eq!((answer.status(), answer.record), (Status::Error, None));
    kv.set("17", "again").await;
    let answer = kv.delete("17").await;
    assert_eq!((answer.status(), shown(answer.record.as_ref())), (Status::Success, old(1, 7, "again")));
    assert_eq!(kv.get("17").await.status(), Status::Error);
}

#[tokio::test]
async fn a_scan_goes_through_a_range_page_by_page() {
    let cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    let mut kv = Kv(cluster.kv(&cluster.leader().await));
    for at in 0..25 {
        assert_eq!(kv.set(&format!("k/{at:02}"), "v").await.status(), Status::Success);
    }
    kv.set("l", "outside").await;
    let (mut after, mut pages, mut keys) = (Bytes::new(), 0, Vec::new());
    loop {
        let range = Some(scan_request::Range::Prefix(Bytes::from_static(b"k/")));
        let request = ScanRequest { route: ROUTE, range, limit: 10, after, freshness: None };
        let page = kv.0.scan(request).await.unwrap().into_inner();
        keys.extend(page.records.iter().map(|record| String::from_utf8(record.key.to_vec()).unwrap()));
        (after, pages) = (page.next, pages + 1);
        if after.is_empty() {
            break;
        }
    }
    assert_eq!(pages, 3);
    assert_eq!(keys, (0..25).map(|at| format!("k/{at:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn bad_arguments_are_refused_by_field_and_change_nothing() {
    let cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    let mut kv = cluster.kv(&cluster.leader().await);
    let set = |key: Vec<u8>, data: Vec<u8>| SetRequest {
        route: ROUTE,
        key: key.into(),
        timestamp_ms: 0,
        data: data.into(),
        identity: None,
    };
    for (request, field) in [
        (set(Vec::new(), Vec::new()), "key"),
        (set(vec![b'k'; 481], Vec::new()), "key"),
        (set(vec![b'k'], vec![0; (512 << 10) + 1]), "data"),
    ] {
        let status = kv.set(request).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
        let details = tonic_types::StatusExt::get_error_details(&status);
        let fields: Vec<_> = details.bad_request().unwrap().field_violations.iter().collect();
        assert!(fields.iter().any(|violation| violation.field.contains(field)), "{fields:?}");
    }
    let mut other = set(vec![b'k'], Vec::new());
    other.route = Some(Route::to(9, 1));
    let status = kv.set(other).await.unwrap_err();
    assert_eq!(reason_of(&status), "WRONG_ROUTE", "{status}");
    let found =
        kv.get(GetRequest { route: ROUTE, key: Bytes::from_static(b"k"), freshness: None }).await.unwrap();
    assert_eq!(found.into_inner().status(), Status::Error);
}

/// The machine-readable reason in a status's details.
fn reason_of(status: &tonic::Status) -> String {
    let details = tonic_types::StatusExt::get_error_details(status);
    details.error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// A new identity: each call is one operation of a user.
fn id() -> Option<Identity> {
    Some(request_identity([7; 16]))
}

/// One client's share of the stress: increments through test-and-set on keys of its own, with everything else mixed in.
async fn stress(store: Arc<Replicated>, client: usize, operations: usize) -> BTreeMap<Bytes, (u64, u64)> {
    let mut expected: BTreeMap<Bytes, (u64, u64)> = BTreeMap::new();
    for at in 0..operations {
        let key = Bytes::from(format!("stress/{client}/{}", (at * 7) % 13));
        let data = Bytes::from(format!("{at}"));
        match expected.get(&key).copied() {
            None => {
                let answer = store.set(key.clone(), 0, data, id()).await.unwrap();
                assert_eq!(answer.status(), Status::Success);
                expected.insert(key, (1, at as u64));
            }
            Some((version, _)) if at % 11 == 0 => {
                let answer = store.delete_version(key.clone(), version, id()).await.unwrap();
                assert_eq!(answer.status(), Status::Success);
                expected.remove(&key);
            }
            Some((version, _)) if at % 5 == 0 => {
                let answer = store.test_and_set(key, data, 0, version + 1, id()).await.unwrap();
                assert_eq!(answer.status(), Status::ErrorWv);
            }
            Some((version, _)) => {
                let answer = store.test_and_set(key.clone(), data, 0, version, id()).await.unwrap();
                assert_eq!(answer.status(), Status::Success);
                expected.insert(key, (version + 1, at as u64));
            }
        }
    }
    expected
}

async fn verify(store: &Replicated, expected: &BTreeMap<Bytes, (u64, u64)>, client: usize) {
    let range = store_client::Range::Prefix(Bytes::from(format!("stress/{client}/")));
    let page = store.scan(range, 1_000, None, Freshness::linearizable()).await.unwrap();
    let found: BTreeMap<Bytes, (u64, u64)> = page
        .records
        .iter()
        .map(|found| {
            let record = found.record.as_ref().unwrap();
            let data = std::str::from_utf8(&record.data).unwrap().parse().unwrap();
            (found.key.clone(), (record.version, data))
        })
        .collect();
    assert_eq!(&found, expected);
}

#[tokio::test]
async fn a_thousand_operations_leave_exactly_what_they_should() {
    let cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    let store = cluster.store();
    let expected = stress(Arc::clone(&store), 0, 1_000).await;
    verify(&store, &expected, 0).await;
    cluster.wait_until_equal().await;
}

#[tokio::test]
async fn ten_clients_in_parallel_do_not_disturb_each_other() {
    let cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    let clients: Vec<_> = (0..10).map(|at| tokio::spawn(stress(cluster.store(), at, 300))).collect();
    let store = cluster.store();
    for (at, client) in clients.into_iter().enumerate() {
        verify(&store, &client.await.unwrap(), at).await;
    }
}

#[tokio::test]
async fn a_cut_in_the_middle_loses_and_repeats_nothing() {
    let mut cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    let clients: Vec<_> = (0..4).map(|at| tokio::spawn(stress(cluster.store(), at, 400))).collect();
    for _ in 0..2 {
        let leader = cluster.leader().await;
        cluster.kill(&leader);
        cluster.leader().await;
        cluster.run(&leader);
        let leader = cluster.leader().await;
        cluster.signal(&leader, Signal::SIGSTOP);
        feira_tests::wait::pass(Duration::from_secs(2)).await;
        cluster.signal(&leader, Signal::SIGCONT);
    }
    let store = cluster.store();
    for (at, client) in clients.into_iter().enumerate() {
        verify(&store, &client.await.unwrap(), at).await;
    }
    cluster.wait_until_equal().await;
}
