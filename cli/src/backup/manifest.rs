//! The manifest of a ring's backup: which file is the state of which shard, all at one cut. Pure but for reading and writing it.
//!
//! Promises: [`Manifest::check`] passes what is whole: each shard once, every file of this very cut, with nothing prepared. What the
//! files themselves say counts, not only what the manifest says of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use store_core::ring::{RING_SLOTS_MAX, Ring};
use store_engine::backup::Backup;
use store_log::RealFile;

use crate::failure::Failure;

/// Its name in the folder of the backup.
pub(crate) const NAME: &str = "manifest.json";
/// The form of manifests that this program writes, and the only one.
const FORMAT: u32 = 1;
/// Bytes of a manifest: 64 shards take a tenth of it.
const BYTES_MAX: u64 = 256 << 10;

/// What a backup of a ring consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The form of this file.
    pub(crate) format: u32,
    /// The cluster's name.
    pub(crate) cluster: String,
    /// How many shards the ring has.
    pub(crate) shards: usize,
    /// The id of the cut, in hexadecimal digits.
    pub(crate) cut: String,
    /// The shards' files.
    pub(crate) files: Vec<ShardFile>,
}

/// The state of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardFile {
    /// Its number.
    pub(crate) shard: u64,
    /// The file's name in the folder.
    pub(crate) file: String,
    /// Where the shard was cut.
    pub(crate) epoch: u64,
    /// Where the shard was cut.
    pub(crate) offset: u64,
}

impl Manifest {
    pub(crate) fn new(cluster: &str, cut: &[u8], files: Vec<ShardFile>) -> Manifest {
        let (format, shards) = (FORMAT, files.len());
        Manifest { format, cluster: cluster.to_owned(), shards, cut: hex(cut), files }
    }

    /// As it is written.
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a manifest is JSON") + "\n"
    }

    /// Reads that of a backup's folder.
    pub(crate) fn read(folder: &Path) -> Result<Manifest, Failure> {
        let path = folder.join(NAME);
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Failure::refused(format!("{} is no backup of a ring: {NAME} is not in it", folder.display()))
                    .next("name the folder that feira backup has made, with all its files")
            }
            _ => Failure::file("read", &path, &e),
        };
        if std::fs::metadata(&path).map_err(failed)?.len() > BYTES_MAX {
            return Err(damaged(&path, &format!("it has more than {BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        let manifest: Manifest =
            serde_json::from_str(&text).map_err(|error| damaged(&path, &error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(Failure::refused(format!(
                "{} was made by a newer feira: its format is {}, this one knows {FORMAT}",
                path.display(),
                manifest.format
            ))
            .next("use the feira that made it, or a newer one"));
        }
        manifest.check_files(&path)?;
        Ok(manifest)
    }

    /// Each shard must be there once, and each file's name be one in the folder.
    fn check_files(&self, path: &Path) -> Result<(), Failure> {
        if !(1..=RING_SLOTS_MAX).contains(&self.shards) {
            let found = self.shards;
            return Err(damaged(path, &format!("a ring has 1 to {RING_SLOTS_MAX} shards, not {found}")));
        }
        let mut seen = BTreeSet::new();
        for file in &self.files {
            if !seen.insert(file.shard) {
                return Err(damaged(path, &format!("shard {} is there twice", file.shard)));
            }
            let is_name = Path::new(&file.file).file_name().is_some_and(|name| name == file.file.as_str());
            if !is_name {
                return Err(damaged(path, &format!("{:?} is not the name of a file beside it", file.file)));
            }
        }
        let wanted = (1..).take(self.shards);
        if let Some(missing) = wanted.clone().find(|shard| !seen.contains(shard)) {
            return Err(damaged(path, &format!("shard {missing} of {} is missing", self.shards)));
        }
        match seen.into_iter().find(|shard| !wanted.clone().any(|wanted| wanted == *shard)) {
            Some(more) => Err(damaged(path, &format!("shard {more} is none of {}", self.shards))),
            None => Ok(()),
        }
    }

    /// Where a shard's file is.
    pub(crate) fn path_of(&self, folder: &Path, shard: u64) -> PathBuf {
        let file = self.files.iter().find(|file| file.shard == shard);
        folder.join(file.map(|file| file.file.as_str()).unwrap_or_default())
    }

    /// Refuses a file that is not the state of its shard at this cut.
    pub(crate) fn check(
        &self,
        path: &Path,
        of: &ShardFile,
        backup: &Backup<RealFile>,
    ) -> Result<(), Failure> {
        let wrong = |what: String| {
            Err(Failure::refused(format!("{}: {what}", path.display()))
                .next("a backup of a ring is restored whole, with the files that it was made with"))
        };
        let (state, origin, shard) = (&backup.contents.state, &backup.origin, of.shard);
        if origin.group.0 != shard {
            return wrong(format!("it is the state of shard {}, not of shard {shard}", origin.group.0));
        }
        if origin.cluster.to_string() != self.cluster {
            return wrong(format!("it is of the cluster {}, not of {}", origin.cluster, self.cluster));
        }
        let cut = state.frozen.as_ref().map(|frozen| hex(&frozen.id));
        if cut.as_deref() != Some(&self.cut) {
            return wrong(match cut {
                Some(other) => format!(
                    "it is of the cut {other}, and the manifest of {}: the states of two moments are no state",
                    self.cut
                ),
                None => format!(
                    "it is not of the cut {}, nor of any: the states of two moments are no state",
                    self.cut
                ),
            });
        }
        let at = backup.file.info.position;
        if (at.epoch.0, at.offset.0) != (of.epoch, of.offset) {
            return wrong(format!("it is of {at}, and the cut is at e{}:{}", of.epoch, of.offset));
        }
        if state.prepared_count > 0 {
            return wrong("a transaction over several shards was not ended in it".to_owned());
        }
        let owned = state.owned.unwrap_or_default();
        let arc = Ring::even(self.shards)
            .ok()
            .and_then(|ring| ring.slot_of(origin.group).map(|slot| ring.arc(slot)));
        if arc.map(|arc| (arc.after, arc.up_to)) != Some((owned.after, owned.up_to)) {
            return wrong(format!("it owned another part of the ring than shard {shard} of {}", self.shards));
        }
        Ok(())
    }
}

fn damaged(path: &Path, what: &str) -> Failure {
    Failure::refused(format!("{} is damaged, or was changed: {what}", path.display()))
        .next("take another backup, or use an older one")
}

/// Bytes as digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(shard: u64) -> ShardFile {
        ShardFile { shard, file: format!("shard-{shard}"), epoch: 1, offset: 40 }
    }

    fn read_as(change: impl Fn(&mut Manifest)) -> Result<Manifest, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::new("feira", &[7; 16], vec![file(1), file(2), file(3)]);
        change(&mut manifest);
        std::fs::write(folder.path().join(NAME), manifest.to_text()).unwrap();
        Manifest::read(folder.path())
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let manifest = read_as(|_| {}).unwrap();
        assert_eq!((manifest.shards, manifest.cut.as_str()), (3, "07".repeat(16).as_str()));
        assert_eq!(manifest.path_of(Path::new("b"), 2), Path::new("b/shard-2"));
    }

    #[test]
    fn a_shard_that_is_missing_doubled_or_none_is_named() {
        let refused = |change: fn(&mut Manifest)| read_as(change).unwrap_err().message;
        assert!(refused(|it| drop(it.files.remove(1))).contains("shard 2 of 3 is missing"));
        assert!(refused(|it| it.files.push(file(3))).contains("shard 3 is there twice"));
        assert!(refused(|it| it.files.push(file(4))).contains("shard 4 is none of 3"));
        assert!(refused(|it| it.files[0].file = "../shard-1".to_owned()).contains("not the name of a file"));
        for shards in [0, 65] {
            let said = read_as(|it| it.shards = shards).unwrap_err().message;
            assert!(said.contains("a ring has 1 to 64 shards"), "{said}");
        }
        assert!(refused(|it| it.format = 2).contains("newer feira"));
        let empty = tempfile::tempdir().unwrap();
        assert!(Manifest::read(empty.path()).unwrap_err().message.contains("no backup of a ring"));
    }
}
