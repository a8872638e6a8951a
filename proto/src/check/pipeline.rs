//! The check of a request of a pipeline, whatever its kind.
//!
//! Leaves out: the checks of each kind, which are beside it.

use super::{Checked, Violation, cross, get, outcome, scan, txn_request};
use crate::store::PipelineRequest;
use crate::store::pipeline_request::Request;

/// Checks a request of a pipeline.
///
/// # Errors
/// The first field that breaks a rule.
pub fn pipeline(request: &PipelineRequest) -> Checked {
    match &request.request {
        None => Err(Violation::new("request", "is missing or of a kind not known here")),
        Some(Request::Txn(inner)) => txn_request(inner).map_err(|violation| violation.within("txn")),
        Some(Request::Get(inner)) => get(inner).map_err(|violation| violation.within("get")),
        Some(Request::Scan(inner)) => scan(inner).map_err(|violation| violation.within("scan")),
        Some(Request::Outcome(inner)) => outcome(inner).map_err(|violation| violation.within("outcome")),
        Some(Request::Prepare(inner)) => {
            cross::prepare(inner).map_err(|violation| violation.within("prepare"))
        }
        Some(Request::Finish(inner)) => cross::finish(inner).map_err(|violation| violation.within("finish")),
        Some(Request::Ask(inner)) => cross::ask(inner).map_err(|violation| violation.within("ask")),
    }
}
