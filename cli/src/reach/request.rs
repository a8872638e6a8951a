//! Request ids: a retry with the same id changes nothing twice, so every write of the tools carries one.

use proto::portal::RequestId;
use uuid::Uuid;

/// The id that a person gave, or a new one that carries its time.
#[must_use]
pub fn request_id(given: Option<&str>) -> RequestId {
    match given {
        Some(id) => RequestId { id: id.to_owned(), created_ms: made_ms(id).unwrap_or(0) },
        None => request_id(Some(&new_id())),
    }
}

/// A new id, which carries its time.
#[must_use]
pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// When an id was made that says it, milliseconds since 1970: so it never runs once nobody remembers whether it ran.
fn made_ms(id: &str) -> Option<i64> {
    let id = Uuid::try_parse(id).ok().filter(|id| id.get_version_num() == 7)?;
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    i64::try_from(seconds.saturating_mul(1_000).saturating_add(u64::from(nanos) / 1_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_carries_its_time_says_it_when_it_is_repeated_too() {
        let made = request_id(None);
        assert!((store_client::now_ms() - made.created_ms).abs() < 60_000, "{made:?}");
        assert_eq!(request_id(Some(&made.id)), made);
        for chosen in ["r1", "", "00000000-0000-4000-8000-000000000000"] {
            assert_eq!(request_id(Some(chosen)).created_ms, 0, "{chosen}");
        }
    }
}
