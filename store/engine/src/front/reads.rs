//! Reads that may run: each is answered from one consistent view, with the position of that view.

use bytes::Bytes;
use proto::store::pipeline_response::Response;
use proto::store::{
    Failure, FailureReason, Freshness, GetRequest, GetResponse, Position, ScanRequest, ScanResponse, Status,
    scan_request,
};
use store_client::failure::{failure, invalid};
use store_core::Offset;
use store_db::{Read, cross, query, state};

use super::request::PendingRequest;

/// Runs reads on one consistent view; each gets its answer, in order, until the answers are `bytes_max` long: the others were not
/// run, and nothing of them is in memory. With each comes the offset that its consistent view must hold.
///
/// # Errors
/// The table cannot be read; the answers before are whole.
pub fn run(
    read: &impl Read,
    reads: &[(&PendingRequest, Offset)],
    bytes_max: usize,
    answers: &mut Vec<Response>,
) -> Result<(), store_db::Error> {
    let state = state::read(read)?;
    let at = At {
        applied: state::applied(&state),
        log_id: state::log_id(&state),
        has_prepared: state.prepared_count > 0,
    };
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
}

/// Which consistent view it is.
#[derive(Clone, Copy)]
struct At {
    applied: Position,
    log_id: u64,
    /// A branch of a transaction over several groups is prepared.
    has_prepared: bool,
}

fn one(read: &impl Read, request: &PendingRequest, at: At) -> Result<Response, store_db::Error> {
    if let Some(early) = too_early(request.freshness().as_ref(), at.applied) {
        return Ok(Response::Failure(early));
    }
    Ok(match request {
        PendingRequest::Get(request) => Response::Get(get(read, request, at)?),
        PendingRequest::Scan(request) => Response::Scan(scan(read, request, at.applied)?),
        PendingRequest::Write => {
            Response::Failure(failure(FailureReason::Unspecified, "a write was answered as a read"))
        }
    })
}

fn get(read: &impl Read, request: &GetRequest, at: At) -> Result<GetResponse, store_db::Error> {
    let record = query::get(read, &request.key)?;
    let status = if record.is_some() { Status::Success } else { Status::Error };
    let pending = at.has_prepared && !cross::intents(read, &request.key)?.is_empty();
    Ok(GetResponse { status: status.into(), record, applied: Some(at.applied), log_id: at.log_id, pending })
}

fn scan(read: &impl Read, request: &ScanRequest, applied: Position) -> Result<ScanResponse, store_db::Error> {
    let all = scan_request::Range::Prefix(Bytes::new());
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

    #[test]
    fn a_read_beyond_what_is_applied_is_no_read_of_the_present() {
        let applied = Position { epoch: 2, offset: 40 };
        let asks = |stale: bool, min_offset: u64| {
            let freshness = if stale { Freshness::stale() } else { Freshness::linearizable() };
            too_early(Some(&Freshness { min_offset, ..freshness }), applied).map(|failure| failure.reason())
        };
        assert_eq!((asks(true, 40), asks(false, 40)), (None, None));
        assert_eq!(asks(true, 41), Some(FailureReason::NotServing), "another time it may");
        assert_eq!(asks(false, 41), Some(FailureReason::Invalid), "nobody was told of such an offset");
    }
}
