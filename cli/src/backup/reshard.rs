//! A store of one shard dealt out to a ring of several, on its way from a backup to a new cluster.
//!
//! For each shard a backup is made, in a folder beside the cluster's that goes when the cluster is there; from then on it is as for a ring that was
//! backed up. Events keep their places, and with each shard's the record of the feed says where it stands.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use portal::document::feed::{FeedRecord, KEY};
use portal::event_place::{self, Place};
use proto::store::Record;
use store_core::ring::Ring;
use store_engine::reshard::{Failed, record, reshard};
use store_log::RealDisk;
use store_server::{RING_VERSION, Source};

use super::unusable;
use crate::atomic_write::UnfinishedFolder;
use crate::failure::Failure;

/// What the folder's name ends in.
const ASIDE: &str = ".dealing";

/// The states of a ring's shards, each to found its replicas from.
pub(super) struct Dealt {
    /// By number of the shard.
    pub(super) sources: BTreeMap<u64, Source>,
    /// Goes with this.
    _folder: UnfinishedFolder,
}

/// Removes what a command left that was killed while it dealt a backup out.
pub(super) fn clear(folder: &Path) -> Result<(), Failure> {
    UnfinishedFolder::beside(folder, ASIDE).map(drop)
}

/// Deals the backup of a whole store, read from `file`, out to so many shards, with a folder beside `folder`.
///
/// # Errors
/// The backup cannot be read any more, or not what it says of the feed; the disk refuses.
pub(super) fn deal(file: &Path, source: &Source, shards: usize, folder: &Path) -> Result<Dealt, Failure> {
    let ring = Ring::even(shards).map_err(|error| Failure::usage(error.to_string()))?;
    let groups: Vec<u64> = ring.slots().iter().map(|slot| slot.group.0).collect();
    let backup = source.backup();
    let feed = feed_of(file, source)?;
    let from = backup.origin.group.0;
    let read = feed.as_ref().and_then(|feed| feed.groups.get(&from));
    let read = read.map_or(Place::default(), |feed| feed.read);
    let mut counted: BTreeMap<u64, (u64, u64)> = groups.iter().map(|group| (*group, (0, 0))).collect();
    let edit = |slot: usize, key: &[u8], data: &[u8]| {
        // Keys of events are before that of the feed.
        if event_place::placed(key).is_some_and(|(place, _)| place <= read) {
            let (events, bytes) = counted.entry(groups[slot]).or_default();
            *events += 1;
            *bytes += (key.len() + data.len()) as u64;
        }
        let feed = feed.as_ref().filter(|_| key == KEY)?;
        Some(feed.dealt(from, &counted).to_bytes())
    };
    let aside = UnfinishedFolder::beside(folder, ASIDE)?;
    let not_written = |error: store_engine::Error| {
        let place = aside.path.display();
        Failure::refused(format!("the shards' states cannot be written in {place}: {error}; nothing was restored"))
            .next("it takes as much room there as the backup does, and the nodes' folders take more: make room, then again")
    };
    let disk = Arc::new(RealDisk::open(&aside.path).map_err(|error| not_written(error.into()))?);
    let name_of = |slot: usize| format!("shard-{}", groups[slot]);
    let dealt = reshard(backup, (&ring, RING_VERSION), &disk, &name_of, Box::new(edit));
    dealt.map_err(|failed| match failed {
        Failed::Reading(error) => unusable(file, &error),
        Failed::Writing(error) => not_written(error),
    })?;
    let mut sources = BTreeMap::new();
    for (slot, group) in groups.iter().enumerate() {
        let path = aside.path.join(name_of(slot));
        sources.insert(*group, Source::open(&path).map_err(not_written)?);
    }
    Ok(Dealt { sources, _folder: aside })
}

/// What the backup says of the feed; `None`: nobody has kept it yet.
fn feed_of(file: &Path, source: &Source) -> Result<Option<FeedRecord>, Failure> {
    let data = record(source.backup(), KEY).map_err(|error| unusable(file, &error))?;
    let stored = data.map(|data| Record { data: data.into(), ..Record::default() });
    FeedRecord::read(stored.as_ref()).map_err(|error| {
        Failure::refused(format!("{}: {error}; without it the feed cannot be dealt out", file.display()))
            .next("restore it as one shard, have feira audit and the portals say what is wrong, and take another backup")
    })
}
