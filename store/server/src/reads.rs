//! Reads of the table: the answered ones, and their consistent view.
//!
//! A ready read runs at once, together with all other ready ones, in one read transaction: their
//! answers are of one consistent view, at the position in each answer. A read with a `min_offset` that is not
//! applied yet waits, bounded; one that no majority can ever reach is refused.

use std::time::Duration;

use proto::store::pipeline_response::Response;
use proto::store::{Failure, FailureReason, Freshness};
use store_client::failure::failure;
use store_core::Offset;
use store_cross::gate::is_locked;
use store_db::Table as _;
use store_engine::Answer;
use store_engine::front::{self, NodeResponse, PendingRequest};

use crate::quarantine;
use crate::shared::{Ask, Shared};

/// How long a read waits for the offset that it asks for.
const MIN_OFFSET_MS_MAX: u64 = 1_000;

/// Runs reads on one consistent view; each gets its answer, in order, until the answers are `bytes_max` long: the others were not
/// run, and nothing of them is in memory. With each comes the offset that its consistent view must hold. One that is LOCKED may be
/// run by [`patient`].
pub(crate) fn run(shared: &Shared, reads: &[(&PendingRequest, Offset)], bytes_max: usize) -> Vec<Response> {
    let mut answers = Vec::new();
    if reads.is_empty() {
        return answers;
    }
    if let Err(refused) = quarantine::check(shared) {
        answers.resize(reads.len(), Response::Failure(refused));
        return answers;
    }
    let ran = shared.table.read(|read| front::reads::run(read, reads, bytes_max, &mut answers));
    if let Err(error) = ran {
        answers.resize(reads.len(), Response::Failure(unreadable(&error)));
    }
    answers
}

fn unreadable(error: &store_db::Error) -> Failure {
    tracing::error!(%error, "the table cannot be read");
    failure(FailureReason::NotServing, format!("this node cannot read its database: {error}"))
}

/// Runs a read again and again, as entries are applied, until the transactions over several groups that were prepared when it became
/// ready have ended: what was answered before it began is in the table then.
pub(crate) async fn patient(shared: &Shared, request: &PendingRequest, ready: Offset) -> Response {
    let once = |shared: &Shared| {
        let answer = run(shared, &[(request, ready)], usize::MAX).pop();
        answer.unwrap_or_else(|| {
            Response::Failure(failure(FailureReason::Unspecified, "a read without an answer"))
        })
    };
    store_cross::reads::patient(shared, once).await
}

/// Whether a stale read has to wait before it may run.
pub(crate) fn must_wait(shared: &Shared, freshness: Option<&Freshness>) -> bool {
    let min_offset = freshness.map_or(0, |freshness| freshness.min_offset);
    min_offset > shared.applied.borrow().position.offset.0
}

/// Waits until `min_offset` is applied here, bounded.
pub(crate) async fn wait_applied(shared: &Shared, min_offset: u64) {
    let mut applied = shared.applied.subscribe();
    let reached = applied.wait_for(|applied| applied.position.offset.0 >= min_offset);
    // The read itself says so if it was not reached.
    let _ = tokio::time::timeout(Duration::from_millis(MIN_OFFSET_MS_MAX), reached).await;
}

/// Runs one read, as fresh as it asks.
pub(crate) async fn fresh(shared: &Shared, request: PendingRequest) -> Result<Response, Failure> {
    let freshness = request.freshness();
    let ready = if freshness.as_ref().is_some_and(Freshness::is_stale) {
        if must_wait(shared, freshness.as_ref()) {
            wait_applied(shared, freshness.map_or(0, |freshness| freshness.min_offset)).await;
        }
        Offset::ZERO
    } else {
        match shared.ask(Ask::Read).await? {
            NodeResponse::Answer(Answer::ReadReady { at }) => at,
            NodeResponse::Answer(answer) => return Err(shared.failure_of(&answer)),
            NodeResponse::Reply(_) | NodeResponse::Made(_) => {
                return Err(failure(FailureReason::Unspecified, "a read was answered as a write"));
            }
        }
    };
    let mut answer = run(shared, &[(&request, ready)], usize::MAX).pop();
    if answer.as_ref().is_some_and(is_locked) {
        answer = Some(patient(shared, &request, ready).await);
    }
    match answer {
        Some(Response::Failure(failure)) => Err(failure),
        Some(response) => Ok(response),
        None => Err(failure(FailureReason::Unspecified, "a read without an answer")),
    }
}
