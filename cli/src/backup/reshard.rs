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
use store_engine::reshard::{record, reshard};
use store_log::RealDisk;
use store_server::{RING_VERSION, Source};

use super::unusable;
use crate::atomic_write::UnfinishedFolder;
use crate::failure::Failure;

/// The states of a ring's shards, each to found its replicas from.
pub(super) struct Dealt {
    /// By number of the shard.
    pub(super) sources: BTreeMap<u64, Source>,
    /// Goes with this.
    _folder: UnfinishedFolder,
}

/// Deals the backup of a whole store, read from `file`, out to so many shards, with a folder beside `folder`.
///
/// # Errors
/// The backup cannot be read any more, has events of an earlier program that are not in their places yet, or the disk refuses.
pub(super) fn deal(file: &Path, source: &Source, shards: usize, folder: &Path) -> Result<Dealt, Failure> {
    let ring = Ring::even(shards).map_err(|error| Failure::usage(error.to_string()))?;
    let failed = |error: store_engine::Error| unusable(file, &error);
    let backup = source.backup();
    let feed = record(backup, KEY).map_err(failed)?;
    let feed = feed.map(|data| Record { data: data.into(), ..Record::default() });
    let feed = FeedRecord::read(feed.as_ref())
        .map_err(|error| Failure::refused(format!("{}: {error}", file.display())))?;
    let from = backup.origin.group.0;
    let read =
        feed.as_ref().and_then(|feed| feed.groups.get(&from)).map_or(Place::default(), |feed| feed.read);
    let mut counted: BTreeMap<u64, (u64, u64)> =
        ring.slots().iter().map(|slot| (slot.group.0, (0, 0))).collect();
    let mut early = false;
    let groups: Vec<u64> = ring.slots().iter().map(|slot| slot.group.0).collect();
    let edit = |slot: usize, key: &[u8], data: &[u8]| {
        early |= event_place::placed_early(key).is_some();
        // Keys of events are before that of the feed.
        if event_place::placed(key).is_some_and(|(place, _)| place <= read) {
            let (events, bytes) = counted.entry(groups[slot]).or_default();
            *events += 1;
            *bytes += (key.len() + data.len()) as u64;
        }
        let feed = feed.as_ref().filter(|_| key == KEY)?;
        Some(feed.dealt(from, &counted).to_bytes())
    };
    let aside = UnfinishedFolder::beside(folder, ".dealing")?;
    let disk = Arc::new(RealDisk::open(&aside.path).map_err(|error| failed(error.into()))?);
    let name_of = |slot: usize| format!("shard-{}", groups[slot]);
    reshard(backup, (&ring, RING_VERSION), &disk, &name_of, Box::new(edit)).map_err(failed)?;
    if early {
        return Err(Failure::refused(format!(
            "{}: events that an earlier program wrote are not in their places yet",
            file.display()
        ))
        .next("let the cluster run with admin portals of this program for a minute, take another backup, and restore that"));
    }
    let mut sources = BTreeMap::new();
    for (slot, group) in groups.iter().enumerate() {
        let path = aside.path.join(name_of(slot));
        sources.insert(*group, Source::open(&path).map_err(|error| unusable(&path, &error))?);
    }
    Ok(Dealt { sources, _folder: aside })
}
