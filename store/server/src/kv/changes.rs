//! The `Changes` stream: the feed's rows after an offset, then new ones as they are applied.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use proto::store::changes_response::Kind;
use proto::store::{ChangesRequest, ChangesResponse, FailureReason};
use store_client::failure::{failure, status_from};
use store_db::Table as _;
use store_db::changes::{Feed, since};
use store_engine::Applied;
use tokio::sync::watch;
use tonic::Status;

use crate::quarantine;
use crate::shared::Shared;

/// Changes in one answer.
const CHANGES_MAX: usize = 1_024;

/// The stream of answers.
pub(crate) type Answers = Pin<Box<dyn Stream<Item = Result<ChangesResponse, Status>> + Send>>;

struct Following {
    shared: Arc<Shared>,
    applied: watch::Receiver<Applied>,
    /// Everything up to here was sent.
    sent: u64,
    until_applied: bool,
    over: bool,
}

/// Follows the feed after `from_offset`.
pub(crate) fn stream(shared: Arc<Shared>, request: &ChangesRequest) -> Answers {
    let applied = shared.applied.subscribe();
    let following = Following {
        shared,
        applied,
        sent: request.from_offset,
        until_applied: request.until_applied,
        over: false,
    };
    Box::pin(futures::stream::try_unfold(following, next))
}

async fn next(mut following: Following) -> Result<Option<(ChangesResponse, Following)>, Status> {
    if following.over {
        return Ok(None);
    }
    let sent = following.sent;
    if !following.until_applied {
        // Something new, or the node ends.
        let mut stopping = following.shared.stopping.subscribe();
        tokio::select! {
            more = following.applied.wait_for(|applied| applied.last_change.0 > sent) => {
                if more.is_err() {
                    return Ok(None);
                }
            }
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(None),
        }
    }
    quarantine::check(&following.shared).map_err(|refused| status_from(&refused))?;
    let feed = following.shared.table.read(|read| since(read, sent, CHANGES_MAX)).map_err(|error| {
        tracing::error!(%error, "the change feed cannot be read");
        status_from(&failure(FailureReason::NotServing, "this node cannot read its database"))
    })?;
    let kind = match feed {
        Feed::Changes(batch) => {
            let reached = batch.changes.last().map_or(sent, |change| change.offset);
            let up_to = batch.up_to.map_or(reached, |up_to| up_to.offset);
            following.over = following.until_applied && (up_to > reached || batch.changes.is_empty());
            following.sent = reached.max(sent);
            Kind::Changes(batch)
        }
        Feed::CompactedBefore(first) => {
            following.over = true;
            Kind::CompactedBefore(first)
        }
    };
    Ok(Some((ChangesResponse { kind: Some(kind) }, following)))
}
