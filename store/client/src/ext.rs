//! The specification's five operations, as methods of every [`Store`].

use bytes::Bytes;
use proto::store::{
    DeleteRequest, DeleteVersionRequest, Freshness, Identity, SetRequest, Status, TestAndSetRequest,
    WriteResponse,
};
use proto::write;

use crate::error::Error;
use crate::{Got, Store};

/// Short spellings. The outcomes are those of `proto::store::Status`; an [`Error`] says that there is none.
#[async_trait::async_trait]
pub trait StoreExt: Store {
    /// Reads a record, linearizably.
    async fn read(&self, key: Bytes) -> Result<Got, Error> {
        self.get(key, Freshness::linearizable()).await
    }

    /// Creates a record. ERROR and the record there if the key is taken.
    async fn set(
        &self,
        key: Bytes,
        timestamp_ms: i64,
        data: Bytes,
        identity: Option<Identity>,
    ) -> Result<WriteResponse, Error> {
        let request = SetRequest { route: None, key, timestamp_ms, data, identity: None };
        self.txn(write::set(&request), identity).await.map(write::set_response)
    }

    /// Deletes a record whatever its version. ERROR if it is absent.
    async fn delete(&self, key: Bytes, identity: Option<Identity>) -> Result<WriteResponse, Error> {
        let request = DeleteRequest { route: None, key, identity: None };
        self.txn(write::delete(&request), identity).await.map(write::delete_response)
    }

    /// Deletes a record of one version. ERROR_NE if absent, ERROR_WV and the current record if another version.
    async fn delete_version(
        &self,
        key: Bytes,
        version: u64,
        identity: Option<Identity>,
    ) -> Result<WriteResponse, Error> {
        let request = DeleteVersionRequest { route: None, key, version, identity: None };
        self.txn(write::delete_version(&request), identity).await.map(write::delete_version_response)
    }

    /// Replaces a record of one version. ERROR_NE if absent, ERROR_WV and the current record if another version.
    async fn test_and_set(
        &self,
        key: Bytes,
        data: Bytes,
        timestamp_ms: i64,
        version: u64,
        identity: Option<Identity>,
    ) -> Result<WriteResponse, Error> {
        let request = TestAndSetRequest { route: None, key, data, timestamp_ms, version, identity: None };
        let answer = self.txn(write::test_and_set(&request), identity).await?;
        Ok(write::test_and_set_response(version, answer))
    }
}

impl<S: Store + ?Sized> StoreExt for S {}

/// The answer of a read as the specification words it.
impl Got {
    /// SUCCESS with a record, ERROR without.
    #[must_use]
    pub fn status(&self) -> Status {
        if self.record.is_some() { Status::Success } else { Status::Error }
    }
}
