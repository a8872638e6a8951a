//! Keys of the checks: no other check and no other run uses them, so that the suite runs beside others on one store.

use bytes::Bytes;

/// A key that ends in `name`, new each time.
pub(super) fn key(name: &str) -> Bytes {
    Bytes::from(format!("suite/{}/{name}", uuid::Uuid::new_v4()))
}
