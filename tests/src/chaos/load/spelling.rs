//! The model's operations on a record as the store's transactions, and the store's answers as the model's.

use bytes::Bytes;
use feira_lincheck::{Found, RecordAnswer, RecordOp};
use proto::store::{
    DeleteRequest, DeleteVersionRequest, Record, SetRequest, Status, TestAndSetRequest, Txn, TxnResponse,
    WriteResponse,
};
use proto::write;
use serde_json::Value;

/// The transaction; `None`: it is a read.
pub(super) fn txn_of(key: &str, op: &RecordOp) -> Option<Txn> {
    let (key, route, identity, timestamp_ms) = (Bytes::from(key.to_owned()), None, None, 0);
    Some(match op {
        RecordOp::Get => return None,
        RecordOp::Set(value) => {
            write::set(&SetRequest { route, key, timestamp_ms, data: data(value), identity })
        }
        RecordOp::Put(value) => Txn::new().put(key, timestamp_ms, data(value)),
        RecordOp::Delete => write::delete(&DeleteRequest { route, key, identity }),
        RecordOp::DeleteVersion(version) => {
            write::delete_version(&DeleteVersionRequest { route, key, version: *version, identity })
        }
        RecordOp::TestAndSet { version, value } => {
            let (version, data) = (*version, data(value));
            write::test_and_set(&TestAndSetRequest { route, key, data, timestamp_ms, version, identity })
        }
    })
}

/// What the transaction's answer says of the record.
pub(super) fn answer_of(op: &RecordOp, answer: TxnResponse) -> RecordAnswer {
    let response = match op {
        RecordOp::Get => unreachable!("a read is no transaction"),
        RecordOp::Put(_) => {
            let record = answer.results.first().and_then(|touched| touched.record.as_ref());
            let version = record.map(|record| record.version);
            return RecordAnswer { done: answer.success, found: Found::Untold, version };
        }
        RecordOp::Set(_) => write::set_response(answer),
        RecordOp::Delete => write::delete_response(answer),
        RecordOp::DeleteVersion(_) => write::delete_version_response(answer),
        RecordOp::TestAndSet { version, .. } => write::test_and_set_response(*version, answer),
    };
    let done = response.status() == Status::Success;
    let leaves = done && matches!(op, RecordOp::Set(_) | RecordOp::TestAndSet { .. });
    RecordAnswer { done, found: found(op, &response), version: leaves.then_some(response.version) }
}

fn found(op: &RecordOp, response: &WriteResponse) -> Found {
    match (&response.record, response.status()) {
        (Some(record), _) if response.trimmed => {
            Found::Present { version: Some(record.version), value: None }
        }
        (Some(record), _) => present(record),
        (None, Status::Success) if matches!(op, RecordOp::Set(_)) => Found::Absent,
        (None, Status::Error | Status::ErrorNe) if !matches!(op, RecordOp::Set(_)) => Found::Absent,
        _ => Found::Untold,
    }
}

/// What a read found.
pub(super) fn got(record: Option<&Record>) -> RecordAnswer {
    RecordAnswer { done: true, found: record.map_or(Found::Absent, present), version: None }
}

fn present(record: &Record) -> Found {
    let text = std::str::from_utf8(&record.data).ok();
    let number: Option<u64> = text.and_then(|text| text.parse().ok());
    // Anything else than a number of ours is shown as it is, and no history can explain it.
    let value = number.map_or_else(|| Value::from(record.data.escape_ascii().to_string()), Value::from);
    Found::Present { version: Some(record.version), value: Some(value) }
}

fn data(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}
