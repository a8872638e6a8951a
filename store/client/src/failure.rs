//! The one table that maps failures of the store: [`Failure`] (in a `Pipeline`), [`tonic::Status`] with
//! `google.rpc` details (unary calls) and [`Error`] (the handle) say the same, and a test goes round.
//!
//! | reason | gRPC status | details besides ErrorInfo | did it happen? | `Error` |
//! |---|---|---|---|---|
//! | INVALID | INVALID_ARGUMENT | BadRequest (field) | no | Refused(Invalid) |
//! | NOT_LEADER | UNAVAILABLE | RetryInfo; leader in the metadata | no | Retry(Away) |
//! | OVERLOADED | RESOURCE_EXHAUSTED | RetryInfo | no | Retry(Busy) |
//! | UNKNOWN_OUTCOME | UNKNOWN | RetryInfo | perhaps | Unknown |
//! | ID_REUSED | ALREADY_EXISTS | | no | Refused(IdReused) |
//! | EXPIRED_ID | FAILED_PRECONDITION | | no | Refused(Expired) |
//! | CLOSED_ID | FAILED_PRECONDITION | | no | Refused(Closed) |
//! | WRONG_ROUTE | FAILED_PRECONDITION | | no | Retry(Away) |
//! | NOT_SERVING | UNAVAILABLE | RetryInfo | no | Retry(Away) |
//! | NOT_HERE | NOT_FOUND | | no | Refused(Gone) |
//! | CLOCKS_APART | UNAVAILABLE | RetryInfo, BadRequest (field) | no | Retry(ClocksApart) |
//! | CHANGE_NOT_YET | UNAVAILABLE | RetryInfo | no | Retry(Away) |
//! | CHANGE_REFUSED | FAILED_PRECONDITION | | no | Refused(Invalid) |
//! | NODE_TAKEN | FAILED_PRECONDITION | | no | Refused(Invalid) |
//! | DIVERGED | UNAVAILABLE | RetryInfo | no | Retry(Diverged) |
//! | OUT_OF_SPACE | RESOURCE_EXHAUSTED | RetryInfo | no | Retry(OutOfSpace) |
//! | WRONG_CLUSTER | FAILED_PRECONDITION | | no, and never there | Retry(Away) |
//! | LOCKED | ABORTED | RetryInfo | no | Retry(Locked) |
//! | FROZEN | UNAVAILABLE | RetryInfo | no | Retry(Locked) |
//! | UPGRADING | UNAVAILABLE | RetryInfo | no | Retry(Away) |
//! | UNPROVEN | UNAUTHENTICATED | BadRequest (field) | no | Refused(Invalid) |
//!
//! A status without our ErrorInfo was made by a transport or a proxy: unless its code says that the call was
//! never executed, the outcome is unknown.

use std::collections::HashMap;
use std::time::Duration;

use proto::store::{Failure, FailureReason, LeaderHint};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::{Cause, Error, Refusal};

/// The `domain` of every `google.rpc.ErrorInfo` of the store.
pub const DOMAIN: &str = "feira";

/// The field of a FROZEN that says that the group could not be brought to stand still: what is prepared in it was not ended in time.
pub const NOT_DRAINED: &str = "drain";

const LEADER_NODE: &str = "leader_node";
const LEADER_ADDRESS: &str = "leader_address";
const LEADER_EPOCH: &str = "leader_epoch";

/// The gRPC status code of a reason.
#[must_use]
pub fn code_of(reason: FailureReason) -> Code {
    match reason {
        FailureReason::Unspecified => Code::Internal,
        FailureReason::Invalid => Code::InvalidArgument,
        FailureReason::Locked => Code::Aborted,
        FailureReason::NotLeader
        | FailureReason::NotServing
        | FailureReason::Frozen
        | FailureReason::Upgrading
        | FailureReason::ClocksApart
        | FailureReason::ChangeNotYet
        | FailureReason::TransferGivenUp
        | FailureReason::Diverged => Code::Unavailable,
        FailureReason::Overloaded | FailureReason::OutOfSpace => Code::ResourceExhausted,
        FailureReason::UnknownOutcome => Code::Unknown,
        FailureReason::IdReused => Code::AlreadyExists,
        FailureReason::ExpiredId
        | FailureReason::ClosedId
        | FailureReason::WrongRoute
        | FailureReason::WrongCluster
        | FailureReason::ChangeRefused
        | FailureReason::NodeTaken => Code::FailedPrecondition,
        FailureReason::NotHere => Code::NotFound,
        FailureReason::Unproven => Code::Unauthenticated,
    }
}

/// How long a caller should wait before it asks again; `None`: asking again does not help.
#[must_use]
pub fn retry_after(reason: FailureReason) -> Option<Duration> {
    match reason {
        FailureReason::Locked => Some(Duration::from_millis(2)),
        FailureReason::Frozen | FailureReason::NotLeader | FailureReason::UnknownOutcome => {
            Some(Duration::from_millis(50))
        }
        FailureReason::Overloaded | FailureReason::ChangeNotYet => Some(Duration::from_millis(100)),
        FailureReason::NotServing
        | FailureReason::ClocksApart
        | FailureReason::Diverged
        | FailureReason::Upgrading
        | FailureReason::TransferGivenUp
        | FailureReason::OutOfSpace => Some(Duration::from_millis(500)),
        _ => None,
    }
}

/// A failure of this reason.
#[must_use]
pub fn failure(reason: FailureReason, message: impl Into<String>) -> Failure {
    Failure {
        code: code_of(reason) as i32,
        message: message.into(),
        reason: reason as i32,
        leader: None,
        field: String::new(),
    }
}

/// A failure of bad arguments: which field, and what is wrong with it.
#[must_use]
pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Failure {
    Failure { field: field.into(), ..failure(FailureReason::Invalid, message) }
}

/// Another node leads; the hint says which, if that is known.
#[must_use]
pub fn not_leader(leader: Option<LeaderHint>) -> Failure {
    let message = match &leader {
        Some(hint) => format!("this node does not lead; node {} at {} does", hint.node, hint.address),
        None => "this node does not lead, and knows no leader yet".to_owned(),
    };
    Failure { leader, ..failure(FailureReason::NotLeader, message) }
}

/// What a unary call answers.
#[must_use]
pub fn status_from(failure: &Failure) -> Status {
    let code = Code::from_i32(failure.code);
    let reason = failure.reason();
    if reason == FailureReason::Unspecified {
        return Status::new(code, failure.message.clone());
    }
    let mut metadata = HashMap::new();
    if let Some(leader) = &failure.leader {
        metadata.insert(LEADER_NODE.to_owned(), leader.node.to_string());
        metadata.insert(LEADER_ADDRESS.to_owned(), leader.address.clone());
        metadata.insert(LEADER_EPOCH.to_owned(), leader.epoch.to_string());
    }
    let mut details = ErrorDetails::new();
    details.set_error_info(reason.as_str_name(), DOMAIN, metadata);
    if !failure.field.is_empty() {
        details.add_bad_request_violation(failure.field.clone(), failure.message.clone());
    }
    if let Some(delay) = retry_after(reason) {
        details.set_retry_info(Some(delay));
    }
    Status::with_error_details(code, failure.message.clone(), details)
}

/// What a status of a unary call means.
#[must_use]
pub fn failure_from(status: &Status) -> Failure {
    let mut failure = Failure {
        code: status.code() as i32,
        message: status.message().to_owned(),
        reason: FailureReason::Unspecified as i32,
        leader: None,
        field: String::new(),
    };
    let Ok(details) = status.check_error_details() else { return failure };
    let Some(info) = details.error_info().filter(|info| info.domain == DOMAIN) else { return failure };
    let reason = FailureReason::from_str_name(&info.reason).unwrap_or(FailureReason::Unspecified);
    failure.reason = reason as i32;
    failure.leader = leader_from(&info.metadata);
    if let Some(violation) = details.bad_request().and_then(|bad| bad.field_violations.first()) {
        failure.field.clone_from(&violation.field);
    }
    failure
}

fn leader_from(metadata: &HashMap<String, String>) -> Option<LeaderHint> {
    Some(LeaderHint {
        node: metadata.get(LEADER_NODE)?.parse().ok()?,
        address: metadata.get(LEADER_ADDRESS)?.clone(),
        epoch: metadata.get(LEADER_EPOCH)?.parse().ok()?,
    })
}

/// What a failure means to a caller of the handle.
#[must_use]
pub fn error_from(failure: &Failure) -> Error {
    let refused = |reason| Error::Refused { reason, message: message_of(failure) };
    let retry = |cause| Error::Retry { cause, message: message_of(failure) };
    match failure.reason() {
        FailureReason::Invalid
        | FailureReason::ChangeRefused
        | FailureReason::NodeTaken
        | FailureReason::Unproven => refused(Refusal::Invalid),
        FailureReason::IdReused => refused(Refusal::IdReused),
        FailureReason::ExpiredId => refused(Refusal::Expired),
        FailureReason::ClosedId => refused(Refusal::Closed),
        FailureReason::NotHere => refused(Refusal::Gone),
        FailureReason::NotLeader
        | FailureReason::WrongRoute
        | FailureReason::WrongCluster
        | FailureReason::NotServing
        | FailureReason::Upgrading
        | FailureReason::TransferGivenUp
        | FailureReason::ChangeNotYet => retry(Cause::Away),
        FailureReason::Locked | FailureReason::Frozen => retry(Cause::Locked),
        FailureReason::Overloaded => retry(Cause::Busy),
        FailureReason::OutOfSpace => retry(Cause::OutOfSpace),
        FailureReason::ClocksApart => retry(Cause::ClocksApart),
        FailureReason::Diverged => retry(Cause::Diverged),
        FailureReason::UnknownOutcome => Error::Unknown { message: message_of(failure) },
        FailureReason::Unspecified => match Code::from_i32(failure.code) {
            Code::InvalidArgument | Code::Unimplemented | Code::OutOfRange => refused(Refusal::Invalid),
            _ => Error::Unknown { message: message_of(failure) },
        },
    }
}

/// The failure that means this error to a caller: for whoever asks another node in its place.
#[must_use]
pub fn failure_of(error: &Error) -> Failure {
    let (reason, message) = match error {
        Error::Refused { reason, message } => {
            let reason = match reason {
                Refusal::Invalid => FailureReason::Invalid,
                Refusal::IdReused => FailureReason::IdReused,
                Refusal::Expired => FailureReason::ExpiredId,
                Refusal::Closed => FailureReason::ClosedId,
                Refusal::Gone => FailureReason::NotHere,
            };
            (reason, message)
        }
        Error::Retry { cause, message } => {
            let reason = match cause {
                Cause::Away => FailureReason::NotServing,
                Cause::Busy => FailureReason::Overloaded,
                Cause::OutOfSpace => FailureReason::OutOfSpace,
                Cause::ClocksApart => FailureReason::ClocksApart,
                Cause::Diverged => FailureReason::Diverged,
                Cause::Locked => FailureReason::Locked,
            };
            (reason, message)
        }
        Error::Unknown { message } => (FailureReason::UnknownOutcome, message),
    };
    failure(reason, message)
}

fn message_of(failure: &Failure) -> String {
    if failure.field.is_empty() {
        failure.message.clone()
    } else {
        format!("{}: {}", failure.field, failure.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_failure() -> Vec<Failure> {
        let hint = LeaderHint { node: 3, address: "127.0.0.1:7003".to_owned(), epoch: 9 };
        let reasons = (1..64).filter_map(|number| {
            let reason = FailureReason::try_from(number).ok()?;
            Some(failure(reason, format!("because {number}")))
        });
        reasons
            .chain([not_leader(Some(hint)), not_leader(None), invalid("key", "must not be empty")])
            .collect()
    }

    #[test]
    fn every_failure_survives_the_way_through_a_status() {
        for failure in every_failure() {
            let status = status_from(&failure);
            assert_eq!(status.code() as i32, failure.code);
            assert_eq!(failure_from(&status), failure);
        }
        assert!(FailureReason::try_from(23).is_err(), "a new reason needs a row in the table");
    }

    #[test]
    fn an_error_means_the_same_after_another_node_has_told_it() {
        for failure in every_failure() {
            let error = error_from(&failure);
            assert_eq!(error_from(&failure_of(&error)), error);
        }
    }

    #[test]
    fn only_an_unknown_outcome_may_have_happened() {
        for failure in every_failure() {
            let unknown = matches!(error_from(&failure), Error::Unknown { .. });
            assert_eq!(unknown, failure.reason() == FailureReason::UnknownOutcome);
        }
    }

    #[test]
    fn a_status_of_somebody_else_promises_nothing() {
        let lost = failure_from(&Status::unavailable("connection reset"));
        assert_eq!(lost.reason(), FailureReason::Unspecified);
        assert!(matches!(error_from(&lost), Error::Unknown { .. }));
        let never = failure_from(&Status::unimplemented("no such method"));
        assert!(matches!(error_from(&never), Error::Refused { reason: Refusal::Invalid, .. }));
    }

    #[test]
    fn the_message_of_a_bad_argument_names_the_field() {
        let error = error_from(&invalid("txn.operations[3].key", "must not be empty"));
        assert_eq!(error.to_string(), "refused: txn.operations[3].key: must not be empty");
    }
}
