//! Transactions: every guard, every operation, all or nothing.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use proto::store::failed_guard::Reason;
use proto::store::{Freshness, Quote, Txn, TxnResponse};

use super::key::key;
use crate::{Range, Store, StoreExt};

type S = Arc<dyn Store>;

async fn txn(store: &S, txn: Txn) -> TxnResponse {
    store.txn(txn, None).await.expect("txn")
}

async fn put(store: &S, key: &Bytes, data: &'static str) -> u64 {
    let done = txn(store, Txn::new().put(key.clone(), 1, data)).await;
    assert!(done.success);
    done.offset()
}

async fn text(store: &S, key: &Bytes) -> Option<String> {
    let got = store.read(key.clone()).await.expect("get");
    got.record.map(|record| String::from_utf8(record.data.to_vec()).expect("text"))
}

fn reasons(answer: &TxnResponse) -> Vec<(bool, u32, Reason)> {
    answer.failed.iter().map(|guard| (guard.operation, guard.index, guard.reason())).collect()
}

pub(super) async fn guards(store: S) {
    let (there, absent) = (key("there"), key("absent"));
    put(&store, &there, r#"{"state":"open","n":5}"#).await;
    let offset = put(&store, &there, r#"{"state":"open","n":5}"#).await;
    let held = Txn::new()
        .guard_exists(there.clone())
        .guard_absent(absent.clone())
        .guard_version(there.clone(), 2)
        .guard_offset(there.clone(), offset)
        .guard_json(there.clone(), "/state", r#""open""#)
        .guard_json(there.clone(), "/n", "5");
    assert!(txn(&store, held).await.success);
    let failed = Txn::new()
        .guard_exists(absent.clone())
        .guard_absent(there.clone())
        .guard_version(there.clone(), 1)
        .guard_offset(there.clone(), offset - 1)
        .guard_json(there.clone(), "/state", r#""closed""#)
        .guard_json(there.clone(), "/nowhere", "1")
        .guard_version(absent, 1);
    let answer = txn(&store, failed).await;
    assert!(!answer.success && answer.results.is_empty());
    let wanted = [
        (false, 0, Reason::Absent),
        (false, 1, Reason::Present),
        (false, 2, Reason::WrongVersion),
        (false, 3, Reason::WrongOffset),
        (false, 4, Reason::WrongValue),
        (false, 5, Reason::NoValue),
        (false, 6, Reason::Absent),
    ];
    assert_eq!(reasons(&answer), wanted);
    let current = answer.failed[2].record.as_ref().expect("the record as it is");
    assert_eq!((answer.failed[2].key.clone(), current.version), (there, 2));
}

pub(super) async fn all_or_nothing(store: S) {
    let (a, b) = (key("a"), key("b"));
    let refused = Txn::new().put(a.clone(), 1, "x").delete(b.clone()).guard_exists(b.clone());
    assert!(!txn(&store, refused).await.success);
    assert_eq!(text(&store, &a).await, None);
    put(&store, &b, r#"{"n":1}"#).await;
    let late = Txn::new().put(a.clone(), 1, "x").add(b.clone(), 1, "/n", -2, Some(0));
    let answer = txn(&store, late).await;
    assert_eq!(reasons(&answer), [(true, 1, Reason::BelowMinimum)]);
    assert_eq!(text(&store, &a).await, None, "a failure of the last operation undoes the first");
    assert_eq!(text(&store, &b).await.as_deref(), Some(r#"{"n":1}"#));
}

pub(super) async fn every_operation(store: S) {
    let (doc, gone, list) = (key("doc"), key("gone"), key("list/"));
    put(&store, &gone, "old").await;
    let all = Txn::new()
        .put(doc.clone(), 5, r#"{"price":"2.55","n":1}"#)
        .set_json(doc.clone(), 6, "/price", r#""3.10""#)
        .add(doc.clone(), 7, "/n", 41, None)
        .returning_after()
        .delete(gone.clone())
        .returning_before()
        .get(doc.clone())
        .append(list.clone(), 8, r#"{"price":null}"#, vec![Quote::of(2, "/price", "/price")]);
    let answer = txn(&store, all).await;
    assert!(answer.success, "{:?}", answer.failed);
    let after = r#"{"price":"3.10","n":42}"#;
    let data = |index: usize| {
        answer.result(index).and_then(|touched| touched.record.as_ref()).map(|r| r.data.as_ref())
    };
    assert_eq!(data(2), Some(after.as_bytes()));
    assert_eq!(data(3), Some(&b"old"[..]));
    assert_eq!(data(4), Some(after.as_bytes()), "a get sees the operations before it");
    let appended = answer.result(5).expect("the append's result").key.clone();
    let suffix = format!("{:016x}.0005", answer.offset());
    assert_eq!(appended, [list.as_ref(), suffix.as_bytes()].concat());
    assert_eq!(text(&store, &appended).await.as_deref(), Some(r#"{"price":"3.10"}"#));
    assert_eq!((text(&store, &doc).await.as_deref(), text(&store, &gone).await), (Some(after), None));
    let record = store.read(doc).await.expect("get").record.expect("the record");
    assert_eq!((record.version, record.offset(), record.timestamp_ms), (1, answer.offset(), 7));
}

pub(super) async fn placed_appends(store: S) {
    // A store that has just begun places them from when all members can; a guard on log time is taken from then on.
    let since = |txn: Txn| txn.guard_not_before(key("since"), 1);
    let before = key("placed/");
    for tag in ["b", "a", "c"] {
        let after = format!("/{{{tag}}}");
        let placed = Txn::new().append_within((&before, after.as_bytes()), 1, tag, Vec::new());
        let answer = store.txn(since(placed), None).await.expect("txn");
        assert!(answer.success, "{:?}", answer.failed);
        let made = format!("{:016x}.0000{after}", answer.offset());
        assert_eq!(answer.result(0).expect("a result").key, [&before[..], made.as_bytes()].concat());
    }
    let (range, group) = (Range::Prefix(before), store.groups()[0]);
    let page = store.scan_group(group, range, 0, None, Freshness::linearizable()).await.expect("scan");
    let tags = page.records.iter().filter_map(|one| one.record.as_ref()).map(|record| record.data.to_vec());
    assert_eq!(tags.collect::<Vec<_>>(), [b"b", b"a", b"c"], "in the order in which they were appended");
    for (before, after) in [("p/{t", "}"), ("p/{", "t}"), ("p/{t}", "")] {
        let wrong = Txn::new().append_within((before.as_bytes(), after.as_bytes()), 1, "", Vec::new());
        let is_taken = store.txn(since(wrong), None).await.is_ok();
        assert_eq!(is_taken, before.ends_with('}'), "{before}…{after}: the tag stays whole");
    }
}

pub(super) async fn adds_keep_bounds(store: S) {
    let stock = key("stock");
    put(&store, &stock, r#"{"available":3,"name":"x"}"#).await;
    let take = |n: i64| Txn::new().add(stock.clone(), 1, "/available", -n, Some(0));
    assert!(txn(&store, take(2)).await.success);
    let short = txn(&store, take(2)).await;
    assert_eq!(reasons(&short), [(true, 0, Reason::BelowMinimum)]);
    assert!(short.failed[0].record.is_some(), "the answer shows how many are left");
    assert!(txn(&store, take(1)).await.success, "down to the minimum itself");
    let sum = |pointer: &str, n: i64| txn_of(stock.clone(), pointer, n);
    assert!(txn(&store, sum("/available", i64::MAX)).await.success);
    assert_eq!(reasons(&txn(&store, sum("/available", 1)).await), [(true, 0, Reason::Overflow)]);
    assert_eq!(reasons(&txn(&store, sum("/name", 1)).await), [(true, 0, Reason::NoValue)]);
    assert_eq!(reasons(&txn(&store, sum("/nowhere", 1)).await), [(true, 0, Reason::NoValue)]);
    let nobody = txn(&store, txn_of(key("nobody"), "/n", 1)).await;
    assert_eq!(reasons(&nobody), [(true, 0, Reason::Absent)]);
    assert_eq!(text(&store, &stock).await, Some(format!(r#"{{"available":{},"name":"x"}}"#, i64::MAX)));
}

fn txn_of(key: Bytes, pointer: &str, amount: i64) -> Txn {
    Txn::new().add(key, 1, pointer, amount, None)
}

pub(super) async fn concurrent_adds(store: S) {
    const CALLERS: i64 = 64;
    let stock = key("stock");
    put(&store, &stock, r#"{"n":40}"#).await;
    let take = || store.txn(Txn::new().add(stock.clone(), 1, "/n", -1, Some(0)), None);
    let answers = join_all((0..CALLERS).map(|_| take())).await;
    let sold = answers.into_iter().filter(|answer| answer.as_ref().expect("txn").success).count();
    assert_eq!(sold, 40, "exactly what there was");
    assert_eq!(text(&store, &stock).await.as_deref(), Some(r#"{"n":0}"#));
}
