//! The embedded store: the conformance suite, and that what was acknowledged is there after it is opened again.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use bytes::Bytes;
use proto::store::{Status, Txn};
use store_client::{Store, StoreExt};
use store_server::{Embedded, Error};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).await.unwrap();
    store_client::suite::run(Arc::new(store.clone())).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).await.unwrap();
    for i in 0..50 {
        let made = store.set(Bytes::from(format!("k{i}")), i, Bytes::from_static(b"x"), None).await.unwrap();
        assert_eq!(made.status(), Status::Success);
    }
    store.close().await.unwrap();
    let refused = store.txn(Txn::new().put("late", 1, "x"), None).await;
    assert!(refused.expect_err("it is closed").is_retry(), "nothing was executed");
    drop(store);
    let again = Embedded::open(folder.path()).await.unwrap();
    for i in 0..50 {
        let got = again.read(Bytes::from(format!("k{i}"))).await.unwrap();
        assert_eq!(got.record.unwrap().timestamp_ms, i);
    }
    again.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_opened_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).await.unwrap();
    let second = Embedded::open(folder.path()).await;
    assert!(matches!(second.err(), Some(Error::Open { .. })));
    store.close().await.unwrap();
}
