//! The load of `put` and `get`: records under `bench/k/`, through the one handle that all clients share.
//!
//! All keys are put before the first round, so that a put always replaces and a get always finds.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use proto::store::{Freshness, Txn};
use store_client::{Error, Replicated, Store, now_ms, request_identity};

use super::reason;

/// Puts under way at once beforehand.
const IN_FLIGHT: usize = 64;

/// The records.
pub struct Records {
    store: Replicated,
    /// How many.
    keys: u64,
    /// Of each of them; random, so that nothing on the way can pack it.
    data: Bytes,
}

impl Records {
    /// Records of so many bytes, which are not put yet.
    #[must_use]
    pub fn new(store: Replicated, keys: u64, bytes: usize) -> Records {
        Records { store, keys, data: random(bytes) }
    }

    /// Puts every record once.
    ///
    /// # Errors
    /// The first that was not put.
    pub async fn prepare(&self) -> Result<(), Error> {
        let all = stream::iter((0..self.keys).map(|key| self.write(key)));
        all.buffer_unordered(IN_FLIGHT).try_for_each(|()| async { Ok(()) }).await
    }

    async fn write(&self, number: u64) -> Result<(), Error> {
        let key = key(number);
        let identity = request_identity(proto::hash::digest(&[&key, &self.data]));
        let txn = Txn::new().put(key, now_ms(), self.data.clone());
        self.store.txn(txn, Some(identity)).await.map(drop)
    }

    /// Replaces any of them.
    ///
    /// # Errors
    /// The reason in a word.
    pub async fn put(&self) -> Result<(), String> {
        self.write(fastrand::u64(..self.keys)).await.map_err(|error| reason::of_store(&error))
    }

    /// Reads any of them.
    ///
    /// # Errors
    /// The reason in a word; a record that is not there is one.
    pub async fn get(&self) -> Result<(), String> {
        let key = key(fastrand::u64(..self.keys));
        match self.store.get(key, Freshness::linearizable()).await {
            Ok(got) if got.record.is_some() => Ok(()),
            Ok(_) => Err("ABSENT".to_owned()),
            Err(error) => Err(reason::of_store(&error)),
        }
    }
}

/// The key of a record.
fn key(number: u64) -> Bytes {
    Bytes::from(format!("bench/k/{number:07}"))
}

/// So many bytes that look like nothing.
#[must_use]
pub fn random(bytes: usize) -> Bytes {
    std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect()
}
