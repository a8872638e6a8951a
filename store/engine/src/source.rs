//! The source of entries for replicators and applier: the recent ones from memory, older ones from the log.

use std::sync::Arc;

use bytes::Bytes;
use store_core::{Entry, Offset};
use store_log::{Disk, LogReader};

use crate::cache::{EntryCache, Limits};
use crate::error::Error;

/// What became of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// At least one entry was read.
    Some,
    /// The first entry asked for is no longer in the log.
    Purged,
}

/// Memory first, then the log.
pub(crate) struct Source<D: Disk> {
    /// The recent entries.
    cache: Arc<EntryCache>,
    /// All that are on disk.
    log: LogReader<D::File>,
}

impl<D: Disk> Clone for Source<D> {
    fn clone(&self) -> Self {
        Source { cache: Arc::clone(&self.cache), log: self.log.clone() }
    }
}

impl<D: Disk> Source<D> {
    pub(crate) fn new(cache: Arc<EntryCache>, log: LogReader<D::File>) -> Source<D> {
        Source { cache, log }
    }

    /// Adds the entries from `from` to `up_to` to `into`, as many as keep to the limits, but at least one.
    pub(crate) fn read(
        &self,
        from: Offset,
        up_to: Offset,
        limits: Limits,
        into: &mut Vec<Entry<Bytes>>,
    ) -> Result<Found, Error> {
        if self.cache.read(from, up_to, limits, into) {
            return Ok(Found::Some);
        }
        match self.log.read(from, limits.entries, limits.bytes) {
            Ok(entries) => {
                into.extend(entries.into_iter().take_while(|entry| entry.position.offset <= up_to));
                Ok(Found::Some)
            }
            Err(store_log::Error::Purged { .. }) => Ok(Found::Purged),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn cache(&self) -> &EntryCache {
        &self.cache
    }
}
