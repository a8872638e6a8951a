//! The change feed: every change in order, each naming the one before it, none that is no change.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use proto::store::Txn;
use proto::store::changes_response::Kind;

use super::key::key;
use crate::Store;

/// The feed must bring a change that was acknowledged within this.
const WAIT_MS_MAX: u64 = 10_000;

pub(super) async fn in_order(store: Arc<dyn Store>) {
    let (a, b) = (key("a"), key("b"));
    let group = store.group_of(&a);
    assert!(store.groups().contains(&group));
    let put = |key: &Bytes| store.txn(Txn::new().put(key.clone(), 1, "x"), None);
    let before = put(&a).await.expect("put").offset();
    let mut feed = store.changes(group, before).await.expect("changes");
    let both = Txn::new().put(a.clone(), 2, "y").put(b.clone(), 2, "y");
    let first = store.txn(both, None).await.expect("put").offset();
    store.txn(Txn::new().get(a.clone()), None).await.expect("a read changes nothing");
    let second = put(&b).await.expect("put").offset();

    let mut seen = Vec::new();
    let all = async {
        while !seen.iter().any(|(offset, _)| *offset == second) {
            let answer = feed.next().await.expect("the feed goes on").expect("no error");
            let Some(Kind::Changes(batch)) = answer.kind else { panic!("compacted: {answer:?}") };
            for change in batch.changes {
                let last = seen.last().map_or(before, |(offset, _)| *offset);
                assert_eq!(change.previous, last, "each names the one before it");
                assert!(change.offset > last && change.epoch > 0);
                seen.push((change.offset, change.keys));
            }
            assert!(
                batch.up_to.is_some_and(|up_to| up_to.offset >= seen.last().map_or(0, |(offset, _)| *offset))
            );
        }
    };
    tokio::time::timeout(Duration::from_millis(WAIT_MS_MAX), all)
        .await
        .expect("the feed brings every change");
    let keys_at = |at: u64| seen.iter().find(|(offset, _)| *offset == at).map(|(_, keys)| keys.clone());
    let mut changed = keys_at(first).expect("the first change");
    changed.sort();
    let mut wanted = vec![a, b.clone()];
    wanted.sort();
    assert_eq!((changed, keys_at(second)), (wanted, Some(vec![b])));
}
