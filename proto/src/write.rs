//! `Set`, `Delete`, `DeleteVersion` and `TestAndSet` as transactions, and their answers read out of the
//! transaction's: shared by server and clients, so that both spell them alike.
//!
//! Promises: the outcomes are those of the specification (SUCCESS, ERROR, ERROR_NE, ERROR_WV), with the record
//! that each calls for. Leaves out: routes and identities.

use crate::store::{
    DeleteRequest, DeleteVersionRequest, SetRequest, Status, TestAndSetRequest, Txn, TxnResponse,
    WriteResponse, failed_guard::Reason,
};

/// Creates a record: it must not exist.
#[must_use]
pub fn set(request: &SetRequest) -> Txn {
    let key = request.key.clone();
    Txn::new().guard_absent(key.clone()).put(key, request.timestamp_ms, request.data.clone())
}

/// Deletes a record: it must exist.
#[must_use]
pub fn delete(request: &DeleteRequest) -> Txn {
    let key = request.key.clone();
    Txn::new().guard_exists(key.clone()).delete(key).returning_before()
}

/// Deletes a record of one version.
#[must_use]
pub fn delete_version(request: &DeleteVersionRequest) -> Txn {
    let key = request.key.clone();
    Txn::new().guard_version(key.clone(), request.version).delete(key).returning_before()
}

/// Replaces a record of one version.
#[must_use]
pub fn test_and_set(request: &TestAndSetRequest) -> Txn {
    let key = request.key.clone();
    Txn::new()
        .guard_version(key.clone(), request.version)
        .put(key, request.timestamp_ms, request.data.clone())
        .returning_before()
}

/// The answer of [`set`].
#[must_use]
pub fn set_response(response: TxnResponse) -> WriteResponse {
    if response.success {
        return WriteResponse { version: 1, ..done(response, false) };
    }
    refused(response, |_| Status::Error)
}

/// The answer of [`delete`].
#[must_use]
pub fn delete_response(response: TxnResponse) -> WriteResponse {
    if response.success { done(response, true) } else { refused(response, |_| Status::Error) }
}

/// The answer of [`delete_version`].
#[must_use]
pub fn delete_version_response(response: TxnResponse) -> WriteResponse {
    if response.success { done(response, true) } else { refused(response, by_version) }
}

/// The answer of [`test_and_set`] of the version `expected`.
#[must_use]
pub fn test_and_set_response(expected: u64, response: TxnResponse) -> WriteResponse {
    if response.success {
        return WriteResponse { version: expected + 1, ..done(response, true) };
    }
    refused(response, by_version)
}

fn by_version(reason: Reason) -> Status {
    if reason == Reason::Absent { Status::ErrorNe } else { Status::ErrorWv }
}

fn done(response: TxnResponse, with_record: bool) -> WriteResponse {
    let touched = response.results.into_iter().next();
    WriteResponse {
        status: Status::Success.into(),
        record: touched.and_then(|touched| touched.record).filter(|_| with_record),
        position: response.position,
        version: 0,
        trimmed: response.trimmed && with_record,
    }
}

fn refused(response: TxnResponse, status: impl Fn(Reason) -> Status) -> WriteResponse {
    let failed = response.failed.into_iter().next().unwrap_or_default();
    WriteResponse {
        status: status(failed.reason()).into(),
        record: failed.record,
        position: response.position,
        version: 0,
        trimmed: response.trimmed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FailedGuard, Position, Record, Touched};

    fn record() -> Record {
        Record { version: 4, data: "old".into(), ..Record::default() }
    }

    fn success(record: Option<Record>) -> TxnResponse {
        let results = vec![Touched { key: "k".into(), record }];
        TxnResponse { success: true, position: Some(Position::at(2, 9)), results, ..TxnResponse::default() }
    }

    fn failure(reason: Reason, record: Option<Record>) -> TxnResponse {
        let failed = FailedGuard { reason: reason.into(), record, ..FailedGuard::default() };
        TxnResponse { failed: vec![failed], position: Some(Position::at(2, 9)), ..TxnResponse::default() }
    }

    fn parts(response: &WriteResponse) -> (Status, bool, u64) {
        assert_eq!(response.position, Some(Position::at(2, 9)));
        (response.status(), response.record.is_some(), response.version)
    }

    #[test]
    fn every_outcome_of_clause_d1() {
        let at = |reason| failure(reason, Some(record()));
        let none = failure(Reason::Absent, None);
        assert_eq!(parts(&set_response(success(Some(record())))), (Status::Success, false, 1));
        assert_eq!(parts(&set_response(at(Reason::Present))), (Status::Error, true, 0));
        assert_eq!(parts(&delete_response(success(Some(record())))), (Status::Success, true, 0));
        assert_eq!(parts(&delete_response(none.clone())), (Status::Error, false, 0));
        assert_eq!(parts(&delete_version_response(success(Some(record())))), (Status::Success, true, 0));
        assert_eq!(parts(&delete_version_response(none.clone())), (Status::ErrorNe, false, 0));
        assert_eq!(parts(&delete_version_response(at(Reason::WrongVersion))), (Status::ErrorWv, true, 0));
        assert_eq!(parts(&test_and_set_response(4, success(Some(record())))), (Status::Success, true, 5));
        assert_eq!(parts(&test_and_set_response(4, none)), (Status::ErrorNe, false, 0));
        assert_eq!(parts(&test_and_set_response(4, at(Reason::WrongVersion))), (Status::ErrorWv, true, 0));
    }

    #[test]
    fn an_answer_that_was_not_remembered_whole_says_so() {
        let trimmed = TxnResponse { trimmed: true, ..success(None) };
        assert!(delete_response(trimmed.clone()).trimmed);
        assert!(!set_response(trimmed).trimmed, "a set that succeeded has no record to leave out");
    }

    #[test]
    fn each_is_one_guard_and_one_operation_on_its_key() {
        let key = bytes::Bytes::from("k");
        let txns = [
            set(&SetRequest { key: key.clone(), ..SetRequest::default() }),
            delete(&DeleteRequest { key: key.clone(), ..DeleteRequest::default() }),
            delete_version(&DeleteVersionRequest { key: key.clone(), version: 1, ..Default::default() }),
            test_and_set(&TestAndSetRequest { key: key.clone(), version: 1, ..Default::default() }),
        ];
        for txn in txns {
            assert_eq!(crate::check::txn(&txn), Ok(()));
            assert_eq!((txn.guards.len(), txn.operations.len(), txn.tag()), (1, 1, Some(&key)));
        }
    }
}
