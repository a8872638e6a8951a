//! Identities made by the library: they carry their time of creation, so that a store can refuse one that is older
//! than its memory instead of executing it twice.

use std::time::{SystemTime, UNIX_EPOCH};

use proto::store::Identity;
use uuid::Uuid;

/// A new identity for one operation of a user. `digest` is of the *user's* operation and arguments, not of the
/// transaction built from it: a retry through another portal builds another.
#[must_use]
pub fn request_identity(digest: [u8; 16]) -> Identity {
    let id = Uuid::now_v7();
    let (seconds, nanos) = id.get_timestamp().expect("a version 7 id carries its time").to_unix();
    let made_ms = seconds.saturating_mul(1_000).saturating_add(u64::from(nanos) / 1_000_000);
    let created_ms = i64::try_from(made_ms).unwrap_or(i64::MAX);
    Identity::user(id.as_bytes().to_vec(), created_ms, 1, digest)
}

#[cfg(feature = "sim")]
thread_local! {
    /// The wall clock of a simulation that runs on this thread.
    static SIMULATED_MS: std::cell::Cell<Option<i64>> = const { std::cell::Cell::new(None) };
}

/// From now on [`now_ms`] says this on the calling thread; `None`: the machine's wall clock again.
#[cfg(feature = "sim")]
pub fn simulate_now_ms(now_ms: Option<i64>) {
    SIMULATED_MS.set(now_ms);
}

/// Milliseconds since 1970 by this machine's wall clock.
#[must_use]
pub fn now_ms() -> i64 {
    #[cfg(feature = "sim")]
    if let Some(simulated_ms) = SIMULATED_MS.get() {
        return simulated_ms;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::identity::Id;

    #[test]
    fn an_identity_carries_the_time_it_was_made() {
        let before = now_ms();
        let identity = request_identity([7; 16]);
        let after = now_ms();
        let Some(Id::User(user)) = identity.id else { panic!("a user request") };
        assert!((before..=after).contains(&user.created_ms), "{before} {} {after}", user.created_ms);
        assert_eq!((user.id.len(), identity.attempt), (16, 1));
        assert_ne!(user.id, user_id(&request_identity([7; 16])));
    }

    fn user_id(identity: &Identity) -> Vec<u8> {
        match &identity.id {
            Some(Id::User(user)) => user.id.to_vec(),
            _ => Vec::new(),
        }
    }
}
