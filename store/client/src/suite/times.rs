//! Log time in transactions: guards and stamps.

use std::sync::Arc;

use bytes::Bytes;
use proto::store::failed_guard::Reason;
use proto::store::{Txn, TxnResponse};

use super::key::key;
use crate::{Error, Refusal, Store, StoreExt};

type S = Arc<dyn Store>;

/// The year 2200.
const FAR_MS: i64 = 7_258_118_400_000;
/// The year 2020: log time is later, on any machine that builds this.
const LONG_AGO_MS: i64 = 1_577_836_800_000;

/// A store that has just begun sees no times until its leader has heard what all members can run; it says so, and a handle tries
/// again.
async fn txn(store: &S, txn: Txn) -> TxnResponse {
    store.txn(txn, None).await.expect("txn")
}

async fn document(store: &S, key: &Bytes) -> String {
    let record = store.read(key.clone()).await.expect("get").record.expect("there is a record");
    text(&record.data)
}

fn text(data: &[u8]) -> String {
    String::from_utf8(data.to_vec()).expect("text")
}

/// The integer of a member.
fn at(document: &str, member: &str) -> i64 {
    let name = format!("\"{member}\":");
    let (_, rest) = document.split_once(&name).expect("it has the member");
    let digits = rest.split([',', '}']).next().unwrap_or_default();
    digits.parse().expect("an integer")
}

pub(super) async fn guards(store: S) {
    let key = key("deadline");
    let early = txn(&store, Txn::new().guard_not_before(key.clone(), FAR_MS).put(key.clone(), 1, "{}")).await;
    let reasons: Vec<_> = early.failed.iter().map(|failed| (failed.index, failed.reason())).collect();
    assert_eq!((early.success, reasons), (false, vec![(0, Reason::TooEarly)]));
    let told_ms = early.failed[0].log_time_ms;
    assert!((LONG_AGO_MS..FAR_MS).contains(&told_ms), "it says what the log time is: {told_ms}");
    assert!(store.read(key.clone()).await.expect("get").record.is_none(), "nothing was done");
    let due = Txn::new().guard_not_before(key.clone(), LONG_AGO_MS).guard_absent(key.clone());
    assert!(txn(&store, due.put(key.clone(), 1, "{}")).await.success);
    let no_time = store.txn(Txn::new().guard_not_before(key, 0), None).await;
    assert!(matches!(no_time, Err(Error::Refused { reason: Refusal::Invalid, .. })), "{no_time:?}");
}

pub(super) async fn stamps(store: S) {
    let key = key("stamped");
    let created = Txn::new().put(key.clone(), 1, r#"{"created_ms":1,"changed_ms":1,"n":0}"#);
    let due = |txn: Txn| txn.guard_not_before(key.clone(), LONG_AGO_MS);
    assert!(txn(&store, due(created.stamped(&["/created_ms", "/changed_ms"]))).await.success);
    let first = document(&store, &key).await;
    assert!(at(&first, "created_ms") > LONG_AGO_MS, "{first}");
    assert_eq!(
        (at(&first, "changed_ms"), at(&first, "n")),
        (at(&first, "created_ms"), 0),
        "one entry, one time"
    );

    let changed = due(Txn::new().set_json(key.clone(), 1, "/n", "7").stamped(&["/changed_ms"]));
    let told = txn(&store, changed.get(key.clone())).await;
    let second = text(&told.results[1].record.as_ref().expect("it is there").data);
    assert_eq!((at(&second, "created_ms"), at(&second, "n")), (at(&first, "created_ms"), 7));
    assert!(at(&second, "changed_ms") >= at(&first, "changed_ms"), "log time never falls");
    assert_eq!(document(&store, &key).await, second, "what is told is what is stored");

    let nowhere = txn(&store, due(Txn::new().put(key.clone(), 1, "{}").stamped(&["/a/b"]))).await;
    assert_eq!(nowhere.failed[0].reason(), Reason::NoValue);
    assert_eq!(document(&store, &key).await, second, "nothing was done");
    for wrong in [
        Txn::new().get(key.clone()).stamped(&["/created_ms"]),
        Txn::new().put(key.clone(), 1, "{}").stamped(&["created_ms"]),
        Txn::new().put(key.clone(), 1, "{}").stamped(&["/x"; 9]),
    ] {
        let refused = store.txn(wrong, None).await;
        assert!(matches!(refused, Err(Error::Refused { reason: Refusal::Invalid, .. })), "{refused:?}");
    }
}
