//! The operations of the versioned API with every outcome, scans, and arguments at admission.

use std::sync::Arc;

use bytes::Bytes;
use proto::store::{Freshness, Record, Status, Txn, WriteResponse};

use super::key::key;
use crate::{Error, Range, Refusal, Store, StoreExt};

type S = Arc<dyn Store>;

fn data(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn outcome(answer: &WriteResponse) -> (Status, Option<&[u8]>, u64) {
    (answer.status(), answer.record.as_ref().map(|record| record.data.as_ref()), answer.version)
}

async fn create(store: &S, key: &Bytes, text: &'static str) -> WriteResponse {
    let made = store.set(key.clone(), 7, data(text), None).await.expect("set");
    assert_eq!(made.status(), Status::Success);
    made
}

async fn read(store: &S, key: &Bytes) -> Option<Record> {
    store.read(key.clone()).await.expect("get").record
}

pub(super) async fn set_creates_only(store: S) {
    let key = key("k");
    let made = create(&store, &key, "first").await;
    assert_eq!(outcome(&made), (Status::Success, None, 1));
    let again = store.set(key.clone(), 8, data("second"), None).await.expect("set");
    let (status, there, _) = outcome(&again);
    assert_eq!((status, there), (Status::Error, Some(&b"first"[..])));
    let there = again.record.expect("the record that is there");
    assert_eq!((there.version, there.timestamp_ms, there.position), (1, 7, made.position));
    assert_eq!(read(&store, &key).await, Some(there));
}

pub(super) async fn get_answers(store: S) {
    let key = key("k");
    let absent = store.read(key.clone()).await.expect("get");
    assert_eq!((absent.status(), &absent.record), (Status::Error, &None));
    let made = create(&store, &key, "x").await;
    let there = store.read(key.clone()).await.expect("get");
    assert_eq!(there.status(), Status::Success);
    let record = there.record.expect("the record");
    assert_eq!((record.data.as_ref(), record.version, record.timestamp_ms), (&b"x"[..], 1, 7));
    assert_eq!(record.position, made.position);
    assert!(there.applied.offset >= record.offset(), "what is read is at or before what the read has seen");
}

pub(super) async fn delete_answers(store: S) {
    let key = key("k");
    let absent = store.delete(key.clone(), None).await.expect("delete");
    assert_eq!(outcome(&absent).0, Status::Error);
    create(&store, &key, "x").await;
    let gone = store.delete(key.clone(), None).await.expect("delete");
    let (status, old, _) = outcome(&gone);
    assert_eq!((status, old), (Status::Success, Some(&b"x"[..])));
    assert_eq!(read(&store, &key).await, None);
}

pub(super) async fn delete_version(store: S) {
    let key = key("k");
    let absent = store.delete_version(key.clone(), 1, None).await.expect("delete version");
    assert_eq!(outcome(&absent).0, Status::ErrorNe);
    create(&store, &key, "x").await;
    let other = store.delete_version(key.clone(), 2, None).await.expect("delete version");
    let (status, current, _) = outcome(&other);
    assert_eq!((status, current), (Status::ErrorWv, Some(&b"x"[..])));
    let gone = store.delete_version(key.clone(), 1, None).await.expect("delete version");
    let (status, old, _) = outcome(&gone);
    assert_eq!((status, old), (Status::Success, Some(&b"x"[..])));
    assert_eq!(read(&store, &key).await, None);
}

pub(super) async fn test_and_set(store: S) {
    let key = key("k");
    let absent = store.test_and_set(key.clone(), data("y"), 8, 1, None).await.expect("test and set");
    assert_eq!(outcome(&absent).0, Status::ErrorNe);
    assert_eq!(read(&store, &key).await, None, "it never creates");
    create(&store, &key, "x").await;
    let other = store.test_and_set(key.clone(), data("y"), 8, 9, None).await.expect("test and set");
    let (status, current, _) = outcome(&other);
    assert_eq!((status, current), (Status::ErrorWv, Some(&b"x"[..])));
    let done = store.test_and_set(key.clone(), data("y"), 8, 1, None).await.expect("test and set");
    assert_eq!(outcome(&done), (Status::Success, Some(&b"x"[..]), 2));
    let now = read(&store, &key).await.expect("the record");
    assert_eq!((now.data.as_ref(), now.version, now.timestamp_ms), (&b"y"[..], 2, 8));
    assert_eq!(now.position, done.position);
}

pub(super) async fn made_again(store: S) {
    let key = key("k");
    let first = create(&store, &key, "x").await;
    store.delete(key.clone(), None).await.expect("delete");
    let second = create(&store, &key, "x").await;
    assert_eq!(second.version, 1, "a record made again begins at version 1");
    assert!(second.position.expect("a position").offset > first.position.expect("a position").offset);
    let old = first.position.expect("a position").offset;
    let fooled = store.txn(Txn::new().guard_offset(key, old), None).await.expect("txn");
    assert!(!fooled.success, "an offset is a record's for ever");
}

pub(super) async fn scan_pages(store: S) {
    let stem = key("scan/");
    let name = |i: usize| Bytes::from([stem.as_ref(), format!("{i:02}").as_bytes()].concat());
    let names: Vec<Bytes> = (0..7).map(name).collect();
    for name in names.iter().rev() {
        create(&store, name, "x").await;
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let range = Range::Prefix(stem.clone());
        let page = store.scan(range, 3, after, Freshness::linearizable()).await.expect("scan");
        assert!(page.records.len() <= 3);
        seen.extend(page.records.into_iter().map(|record| record.key));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, names, "every key once, in order, none beside the prefix");
    let range = Range::Between(names[2].clone(), names[5].clone());
    let page = store.scan(range, 0, None, Freshness::linearizable()).await.expect("scan");
    let between: Vec<Bytes> = page.records.into_iter().map(|record| record.key).collect();
    assert_eq!((between, page.next), (names[2..5].to_vec(), None), "from is in, to is out");
    let nobody = store.scan(Range::Prefix(key("nothing")), 10, None, Freshness::linearizable()).await;
    assert!(nobody.expect("scan").records.is_empty());
}

pub(super) async fn bad_arguments(store: S) {
    let invalid = |error: Error, field: &str| {
        assert!(matches!(error, Error::Refused { reason: Refusal::Invalid, .. }), "{error}");
        assert!(error.to_string().contains(field), "{error} does not name {field}");
    };
    let long = Bytes::from(vec![b'x'; proto::check::KEY_BYTES_MAX + 1]);
    invalid(store.read(Bytes::new()).await.expect_err("an empty key"), "key");
    invalid(store.read(long.clone()).await.expect_err("a long key"), "key");
    invalid(store.set(long, 0, data("x"), None).await.expect_err("a long key"), "key");
    let big = Bytes::from(vec![0; proto::check::DATA_BYTES_MAX + 1]);
    invalid(store.set(key("k"), 0, big, None).await.expect_err("too much data"), "data");
    invalid(store.txn(Txn::new(), None).await.expect_err("nothing asked"), "txn");
    let huge = (0..4)
        .fold(Txn::new(), |txn, i| txn.put(key(&format!("{i}")), 0, vec![0; proto::check::DATA_BYTES_MAX]));
    invalid(store.txn(huge, None).await.expect_err("more than a transaction may be"), "txn");
    let limit = proto::check::SCAN_LIMIT_MAX + 1;
    let scan = store.scan(Range::Prefix(key("")), limit, None, Freshness::linearizable()).await;
    invalid(scan.expect_err("too long a page"), "limit");
}

pub(super) async fn reads_say_their_position(store: S) {
    let key = key("k");
    let made = create(&store, &key, "x").await.position.expect("a position");
    let fresh = Freshness::linearizable().with_min_offset(made.offset);
    let got = store.get(key.clone(), fresh).await.expect("get");
    assert!(got.applied.offset >= made.offset);
    let stale = Freshness::stale().with_min_offset(made.offset);
    let got = store.get(key.clone(), stale).await.expect("stale get");
    assert!(got.applied.offset >= made.offset && got.record.is_some(), "min_offset binds stale reads too");
    let page = store.scan(Range::Prefix(key), 1, None, stale).await.expect("stale scan");
    assert!(page.position().offset >= made.offset && page.records.len() == 1);
}

pub(super) async fn reads_say_of_which_log_they_are(store: S) {
    let one = store.read(key("a")).await.expect("get");
    create(&store, &key("k"), "x").await;
    let other = store.read(key("k")).await.expect("get");
    assert_ne!(one.log_id, 0, "it is known as soon as reads are answered");
    assert_eq!(one.log_id, other.log_id);
}

pub(super) async fn a_read_of_what_was_never_written_is_refused(store: S) {
    let beyond = Freshness::linearizable().with_min_offset(1 << 40);
    let error = store.get(key("k"), beyond).await.expect_err("nothing so late was acknowledged");
    assert!(matches!(error, Error::Refused { reason: Refusal::Invalid, .. }), "{error}");
}
