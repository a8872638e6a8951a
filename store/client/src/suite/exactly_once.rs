//! Identities: a write is executed at most once, and its outcome can be asked.

use std::sync::Arc;

use bytes::Bytes;
use proto::store::outcome_response::Verdict;
use proto::store::{Identity, Txn, TxnResponse};

use super::key::key;
use crate::{Error, Refusal, Store, StoreExt, request_identity};

type S = Arc<dyn Store>;

const DIGEST: [u8; 16] = [3; 16];

fn count(key: &Bytes) -> Txn {
    Txn::new().add(key.clone(), 1, "/n", 1, None).returning_after()
}

async fn counter(store: &S) -> Bytes {
    let key = key("counter");
    store.txn(Txn::new().put(key.clone(), 1, r#"{"n":0}"#), None).await.expect("put");
    key
}

async fn value(store: &S, key: &Bytes) -> Bytes {
    store.read(key.clone()).await.expect("get").record.expect("the counter").data
}

fn refusal(answer: Result<TxnResponse, Error>) -> Refusal {
    match answer {
        Err(Error::Refused { reason, .. }) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

pub(super) async fn success_is_remembered(store: S) {
    let key = counter(&store).await;
    let identity = request_identity(DIGEST);
    let first = store.txn(count(&key), Some(identity.clone())).await.expect("txn");
    assert!(first.success && !first.remembered);
    for attempt in [1, 2] {
        let again = Identity { attempt, ..identity.clone() };
        let second = store.txn(count(&key), Some(again)).await.expect("txn");
        assert!(second.remembered, "a success answers every attempt");
        assert_eq!((second.position, &second.results), (first.position, &first.results));
    }
    assert_eq!(value(&store, &key).await, r#"{"n":1}"#);
}

pub(super) async fn attempts(store: S) {
    let key = counter(&store).await;
    let identity = |attempt| Identity { attempt, ..request_identity(DIGEST) };
    let second = identity(2);
    let guarded = |version| count(&key).guard_version(key.clone(), version);
    let refused = store.txn(guarded(9), Some(second.clone())).await.expect("txn");
    assert!(!refused.success);
    for attempt in [2, 1] {
        let again = Identity { attempt, ..second.clone() };
        let answer = store.txn(guarded(1), Some(again)).await.expect("txn");
        assert!(!answer.success && answer.remembered, "attempt {attempt} has had its answer");
    }
    let higher = Identity { attempt: 3, ..second };
    assert!(store.txn(guarded(1), Some(higher)).await.expect("txn").success);
    assert_eq!(value(&store, &key).await, r#"{"n":1}"#);
}

pub(super) async fn another_digest(store: S) {
    let key = counter(&store).await;
    let identity = request_identity(DIGEST);
    store.txn(count(&key), Some(identity.clone())).await.expect("txn");
    let other = Identity { digest: Bytes::from_static(&[4; 16]), ..identity };
    assert_eq!(refusal(store.txn(count(&key), Some(other)).await), Refusal::IdReused);
    assert_eq!(value(&store, &key).await, r#"{"n":1}"#);
}

pub(super) async fn outcomes(store: S) {
    let key = counter(&store).await;
    let ask = |identity: &Identity| store.outcome(key.clone(), identity.clone());
    let (done, refused, never) =
        (request_identity(DIGEST), request_identity(DIGEST), request_identity(DIGEST));

    let answer = store.txn(count(&key), Some(done.clone())).await.expect("txn");
    let told = ask(&done).await.expect("outcome");
    assert_eq!(told.verdict(), Verdict::Done);
    assert_eq!(told.response.expect("the answer it got").position, answer.position);

    let guarded = count(&key).guard_version(key.clone(), 99);
    // The tag must be the counter's key for both: the guard names it too.
    assert!(!store.txn(guarded, Some(refused.clone())).await.expect("txn").success);
    assert_eq!(ask(&refused).await.expect("outcome").verdict(), Verdict::Refused);
    let higher = Identity { attempt: 2, ..refused };
    assert_eq!(refusal(store.txn(count(&key), Some(higher)).await), Refusal::Closed);

    assert_eq!(ask(&never).await.expect("outcome").verdict(), Verdict::NotDone);
    assert_eq!(
        refusal(store.txn(count(&key), Some(never.clone())).await),
        Refusal::Closed,
        "a late original"
    );
    assert_eq!(ask(&never).await.expect("outcome").verdict(), Verdict::NotDone, "and it stays so");
    assert_eq!(value(&store, &key).await, r#"{"n":1}"#);
}

pub(super) async fn too_old(store: S) {
    let key = counter(&store).await;
    // Made by a library in 1970: nobody can remember that far back.
    let old = Identity::user(Bytes::from_static(b"an id of long ago"), 1, 1, DIGEST);
    assert_eq!(refusal(store.txn(count(&key), Some(old.clone())).await), Refusal::Expired);
    let told = store.outcome(key.clone(), old).await.expect("outcome");
    assert_eq!(told.verdict(), Verdict::Expired);
    assert_eq!(value(&store, &key).await, r#"{"n":0}"#);
}
