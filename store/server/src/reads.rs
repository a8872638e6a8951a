//! Reads of the table: the answered ones, and their consistent view.
//!
//! A ready read runs at once, together with all other ready ones, in one read transaction: their
//! answers are of one consistent view, at the position in each answer. A read with a `min_offset` that is not
//! applied yet waits, bounded; one that no majority can ever reach is refused.

use std::time::Duration;

use proto::store::{
    Failure, FailureReason, Freshness, GetRequest, GetResponse, Position, ScanRequest, ScanResponse, Status,
    pipeline_response::Response, scan_request,
};
use store_client::failure::{failure, invalid};
use store_core::Offset;
use store_db::{Read, Table as _, query, state};

use crate::quarantine;
use crate::router::NodeResponse;
use crate::shared::{Ask, Shared};
use store_engine::Answer;

/// How long a read waits for the offset that it asks for.
const MIN_OFFSET_MS_MAX: u64 = 1_000;

/// What a request needs when it is told something.
#[derive(Debug)]
pub(crate) enum PendingRequest {
    /// A transaction or an outcome: the answer is what is told.
    Write,
    /// A read: it is run when it is told that it may be.
    Get(GetRequest),
    /// A scan, likewise.
    Scan(ScanRequest),
}

impl PendingRequest {
    /// Bytes that it holds while it waits, about.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            PendingRequest::Write => 0,
            PendingRequest::Get(request) => request.key.len(),
            PendingRequest::Scan(request) => {
                let range = match &request.range {
                    Some(scan_request::Range::Prefix(prefix)) => prefix.len(),
                    Some(scan_request::Range::Between(between)) => between.from.len() + between.to.len(),
                    None => 0,
                };
                request.after.len() + range
            }
        }
    }
}

/// Runs reads on one consistent view; each gets its answer, in order, until the answers are `bytes_max` long: the others were not
/// run, and nothing of them is in memory. With each comes the offset that its consistent view must hold.
pub(crate) fn run(shared: &Shared, reads: &[(&PendingRequest, Offset)], bytes_max: usize) -> Vec<Response> {
    let mut answers = Vec::new();
    if reads.is_empty() {
        return answers;
    }
    if let Err(refused) = quarantine::check(shared) {
        answers.resize(reads.len(), Response::Failure(refused));
        return answers;
    }
    let ran = shared.table.read(|read| {
        let state = state::read(read)?;
        let at = At { applied: state::applied(&state), log_id: state::log_id(&state) };
        let mut bytes = 0;
        for (request, ready) in reads {
            let answer = match gone_back(*ready, at.applied) {
                Some(failure) => Response::Failure(failure),
                None => one(read, request, at)?,
            };
            bytes += answer.encoded_len();
            answers.push(answer);
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(())
    });
    if let Err(error) = ran {
        tracing::error!(%error, "the table cannot be read");
        let failed =
            failure(FailureReason::NotServing, format!("this node cannot read its database: {error}"));
        answers.resize(reads.len(), Response::Failure(failed));
    }
    answers
}

/// Which consistent view it is.
#[derive(Clone, Copy)]
struct At {
    applied: Position,
    log_id: u64,
}

fn one(read: &impl Read, request: &PendingRequest, at: At) -> Result<Response, store_db::Error> {
    Ok(match request {
        PendingRequest::Get(request) => match too_early(request.freshness.as_ref(), at.applied) {
            Some(early) => Response::Failure(early),
            None => Response::Get(get(read, request, at)?),
        },
        PendingRequest::Scan(request) => match too_early(request.freshness.as_ref(), at.applied) {
            Some(early) => Response::Failure(early),
            None => Response::Scan(scan(read, request, at.applied)?),
        },
        PendingRequest::Write => {
            Response::Failure(failure(FailureReason::Unspecified, "a write was answered as a read"))
        }
    })
}

fn get(read: &impl Read, request: &GetRequest, at: At) -> Result<GetResponse, store_db::Error> {
    let record = query::get(read, &request.key)?;
    let status = if record.is_some() { Status::Success } else { Status::Error };
    Ok(GetResponse { status: status.into(), record, applied: Some(at.applied), log_id: at.log_id })
}

fn scan(read: &impl Read, request: &ScanRequest, applied: Position) -> Result<ScanResponse, store_db::Error> {
    let all = scan_request::Range::Prefix(bytes::Bytes::new());
    let range = request.range.as_ref().unwrap_or(&all);
    let (records, next) = query::scan(read, range, request.limit, &request.after)?;
    Ok(ScanResponse { records, next: next.unwrap_or_default(), applied: Some(applied) })
}

/// A read that was told to run may have waited long for its caller to take answers; meanwhile a wrong table may have been
/// replaced by a right one that is not yet where the wrong one was.
fn gone_back(ready: Offset, applied: Position) -> Option<Failure> {
    (applied.offset < ready.0).then(|| {
        let message = format!(
            "this replica's state was replaced, and has {} but not yet {ready}: ask again",
            applied.offset
        );
        failure(FailureReason::NotServing, message)
    })
}

/// A linearizable read has everything that was ever acknowledged: an offset beyond it was never acknowledged.
fn too_early(freshness: Option<&Freshness>, applied: Position) -> Option<Failure> {
    let min_offset = freshness.map_or(0, |freshness| freshness.min_offset);
    if min_offset <= applied.offset {
        return None;
    }
    if freshness.is_some_and(Freshness::is_stale) {
        let message = format!("this replica has applied {} and not yet {min_offset}", applied.offset);
        return Some(failure(FailureReason::NotServing, message));
    }
    let message = format!("is {min_offset}, but nothing beyond {} was ever acknowledged", applied.offset);
    Some(invalid("freshness.min_offset", message))
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
    let freshness = match &request {
        PendingRequest::Get(request) => request.freshness,
        PendingRequest::Scan(request) => request.freshness,
        PendingRequest::Write => None,
    };
    let ready = if freshness.as_ref().is_some_and(Freshness::is_stale) {
        if must_wait(shared, freshness.as_ref()) {
            wait_applied(shared, freshness.map_or(0, |freshness| freshness.min_offset)).await;
        }
        Offset::ZERO
    } else {
        match shared.ask(Ask::Read).await? {
            NodeResponse::Answer(Answer::ReadReady { at }) => at,
            NodeResponse::Answer(answer) => return Err(shared.failure_of(&answer)),
            NodeResponse::Reply(_) => {
                return Err(failure(FailureReason::Unspecified, "a read was answered as a write"));
            }
        }
    };
    match run(shared, &[(&request, ready)], usize::MAX).pop() {
        Some(Response::Failure(failure)) => Err(failure),
        Some(response) => Ok(response),
        None => Err(failure(FailureReason::Unspecified, "a read without an answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_waits_while_its_table_is_replaced_is_never_answered_from_the_past() {
        let applied = Position { epoch: 2, offset: 40 };
        let refused = gone_back(Offset(41), applied).expect("the table went back");
        assert_eq!(refused.reason(), FailureReason::NotServing);
        assert_eq!((gone_back(Offset(40), applied), gone_back(Offset::ZERO, applied)), (None, None));
    }
}
