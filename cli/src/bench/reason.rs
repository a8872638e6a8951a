//! The reasons of failed operations, in a word each, so that equal failures are counted together. Pure.

use proto::store::TxnResponse;
use store_client::{Cause, Error, Refusal};
use tonic::Status;
use tonic_types::StatusExt;

/// Nobody answered within the patience of an operation.
pub const NO_ANSWER: &str = "NO_ANSWER";

/// Of what the handle says.
#[must_use]
pub fn of_store(error: &Error) -> String {
    let word = match error {
        Error::Refused { reason: Refusal::Invalid, .. } => "INVALID",
        Error::Refused { reason: Refusal::IdReused, .. } => "ID_REUSED",
        Error::Refused { reason: Refusal::Expired, .. } => "EXPIRED_ID",
        Error::Refused { reason: Refusal::Closed, .. } => "CLOSED_ID",
        Error::Refused { reason: Refusal::Gone, .. } => "NOT_HERE",
        Error::Retry { cause: Cause::Away, .. } => "AWAY",
        Error::Retry { cause: Cause::Busy, .. } => "OVERLOADED",
        Error::Retry { cause: Cause::OutOfSpace, .. } => "OUT_OF_SPACE",
        Error::Retry { cause: Cause::ClocksApart, .. } => "CLOCKS_APART",
        Error::Retry { cause: Cause::Diverged, .. } => "DIVERGED",
        Error::Retry { cause: Cause::Locked, .. } => "LOCKED",
        Error::Unknown { .. } => "UNKNOWN_OUTCOME",
    };
    word.to_owned()
}

/// Of a status: the server's own reason, else the name of its code.
#[must_use]
pub fn of_status(status: &Status) -> String {
    match status.get_error_details().error_info() {
        Some(info) if !info.reason.is_empty() => info.reason.clone(),
        _ => format!("{:?}", status.code()),
    }
}

/// Whether a transaction was done.
///
/// # Errors
/// It was not: why its first guard failed.
pub fn check(answer: &TxnResponse) -> Result<(), String> {
    if answer.success {
        return Ok(());
    }
    let first = answer.failed.first().map(|failed| failed.reason().as_str_name());
    Err(first.unwrap_or("GUARD_FAILED").to_owned())
}

#[cfg(test)]
mod tests {
    use proto::store::{FailedGuard, FailureReason, failed_guard::Reason};

    use super::*;

    #[test]
    fn a_reason_is_the_servers_own_or_the_code() {
        let away = store_client::failure::failure(FailureReason::NotLeader, "node 2 leads");
        assert_eq!(of_status(&store_client::failure::status_from(&away)), "NOT_LEADER");
        assert_eq!(of_status(&Status::unavailable("connection reset")), "Unavailable");
        assert_eq!(of_store(&Error::away("no leader")), "AWAY");
    }

    #[test]
    fn a_refused_transaction_is_told_by_its_guard() {
        let failed = FailedGuard { reason: Reason::BelowMinimum.into(), ..FailedGuard::default() };
        let refused = TxnResponse { failed: vec![failed], ..TxnResponse::default() };
        assert_eq!(check(&refused), Err("BELOW_MINIMUM".to_owned()));
        assert_eq!(check(&TxnResponse { success: true, ..TxnResponse::default() }), Ok(()));
    }
}
