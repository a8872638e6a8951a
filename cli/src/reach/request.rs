//! Request ids: a retry with the same id changes nothing twice, so every write of the tools carries one.

use proto::portal::RequestId;
use uuid::Uuid;

/// The id that a person gave, or a new one that carries its time.
#[must_use]
pub fn request_id(given: Option<&str>) -> RequestId {
    match given {
        Some(id) => RequestId { id: id.to_owned(), created_ms: 0 },
        None => {
            let id = Uuid::now_v7();
            let (seconds, nanos) = id.get_timestamp().expect("a version 7 id carries its time").to_unix();
            let made_ms = seconds.saturating_mul(1_000).saturating_add(u64::from(nanos) / 1_000_000);
            RequestId { id: id.to_string(), created_ms: i64::try_from(made_ms).unwrap_or(i64::MAX) }
        }
    }
}
