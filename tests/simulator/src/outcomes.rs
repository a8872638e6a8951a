//! The fate of a write whose answer was lost, asked for until somebody can tell.

use bytes::Bytes;
use proto::store::outcome_response::Verdict;
use proto::store::{Identity, TxnResponse};
use store_client::Store;

use crate::tasks::Sleeper;
use crate::time::{MS, Micros};
use crate::violation::violated;

/// A pause before an outcome that nobody could tell is asked for again.
const ASK_AGAIN_US: Micros = 300 * MS;

/// What became of it; `None`: it never happened and never will.
pub(crate) async fn settled(
    store: &impl Store,
    sleeper: &Sleeper,
    tag: Bytes,
    identity: Identity,
) -> Option<TxnResponse> {
    loop {
        if let Ok(outcome) = store.outcome(tag.clone(), identity.clone()).await {
            return match outcome.verdict() {
                Verdict::Done | Verdict::Refused => outcome.response,
                Verdict::NotDone => None,
                other => violated("every unknown is settled", format!("{other:?}")),
            };
        }
        sleeper.until(sleeper.now.us() + ASK_AGAIN_US).await;
    }
}
