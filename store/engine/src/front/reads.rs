//! Reads that may run: each is answered from one consistent view, with the position of that view.

use bytes::Bytes;
use proto::store::pipeline_response::Response;
use proto::store::{
    Failure, FailureReason, Freshness, GetRequest, GetResponse, Holder, Position, ScanRequest, ScanResponse,
    Status, scan_request,
};
use store_client::failure::{failure, invalid};
use store_core::{Offset, mutant};
use store_db::cross::{self, Intent};
use store_db::{Read, query, state};

use super::request::PendingRequest;
use super::response::locked;

/// Runs reads on one consistent view; each gets its answer, in order, until the answers are `bytes_max` long: the others were not
/// run, and nothing of them is in memory. With each comes the offset that its consistent view must hold.
///
/// A linearizable read of what a transaction over several groups may be about to write is LOCKED, if that was prepared where the
/// read became ready: it may have been decided and answered before the read began. Those that are prepared later keep nobody waiting, so
/// that the same read, run again as entries are applied, is answered.
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
    let is_prepared = state.prepared_count > 0;
    let at = At {
        applied: state::applied(&state),
        log_id: state::log_id(&state),
        is_prepared,
        ready: Offset::ZERO,
    };
    let mut bytes = 0;
    for (request, ready) in reads {
        let answer = match gone_back(*ready, at.applied) {
            Some(failure) => Response::Failure(failure),
            None => one(read, request, At { ready: *ready, ..at })?,
        };
        bytes += answer.encoded_len();
        answers.push(answer);
        if bytes >= bytes_max {
            break;
        }
    }
    Ok(())
}

/// The prepared transactions that may write what is read, by name and the offset of their prepare.
fn in_the_way(read: &impl Read, request: &PendingRequest) -> Result<Vec<Intent>, store_db::Error> {
    match request {
        PendingRequest::Get(get) => cross::intents(read, &get.key),
        PendingRequest::Scan(scan) => {
            let all = scan_request::Range::Prefix(Bytes::new());
            let range = scan.range.as_ref().unwrap_or(&all);
            let (_, next) = query::scan(read, range, scan.limit, &scan.after)?;
            cross::intents_of_page(read, range, &scan.after, next.as_deref())
        }
        PendingRequest::Write => Ok(Vec::new()),
    }
}

/// Which consistent view it is.
#[derive(Clone, Copy)]
struct At {
    applied: Position,
    log_id: u64,
    /// Some transaction over several groups is prepared.
    is_prepared: bool,
    /// What the read must see.
    ready: Offset,
}

fn one(read: &impl Read, request: &PendingRequest, at: At) -> Result<Response, store_db::Error> {
    if let Some(early) = too_early(request.freshness().as_ref(), at.applied) {
        return Ok(Response::Failure(early));
    }
    let intents = if at.is_prepared { in_the_way(read, request)? } else { Vec::new() };
    let blocks =
        |intent: &&Intent| blocks(intent, request.freshness().as_ref(), at) && !mutant!(ReadsPastLocks);
    if let Some(blocking) = intents.iter().find(blocks) {
        let Intent { id, offset, decider_tag_hash, .. } = *blocking;
        return Ok(Response::Failure(locked(&Holder { id: Some(id), offset, decider_tag_hash })));
    }
    Ok(match request {
        PendingRequest::Get(request) => Response::Get(get(read, request, at, !intents.is_empty())?),
        PendingRequest::Scan(request) => Response::Scan(scan(read, request, at.applied)?),
        PendingRequest::Write => {
            Response::Failure(failure(FailureReason::Unspecified, "a write was answered as a read"))
        }
    })
}

/// A stale read shows what is stored; but who has been told of a transaction names the offset of its prepare, and is to see it.
fn blocks(intent: &Intent, freshness: Option<&Freshness>, at: At) -> bool {
    let is_stale = freshness.is_some_and(Freshness::is_stale);
    let min_offset = freshness.map_or(0, |freshness| freshness.min_offset);
    intent.offset <= if is_stale { min_offset } else { at.ready.0.max(min_offset) }
}

fn get(
    read: &impl Read,
    request: &GetRequest,
    at: At,
    pending: bool,
) -> Result<GetResponse, store_db::Error> {
    let record = query::get(read, &request.key)?;
    let status = if record.is_some() { Status::Success } else { Status::Error };
    let (applied, log_id) = (Some(at.applied), at.log_id);
    Ok(GetResponse { status: status.into(), record, applied, log_id, pending })
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
