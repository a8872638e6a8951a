//! A node's folder, looked into: never locked and never changed, whether the node runs or not.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use store_log::RealDisk;
use store_server::group_folder;

use crate::config::load::Loaded;
use crate::config::shape::Replica;
use crate::failure::Failure;

/// A group's folder.
pub struct Folder {
    /// Where it is, for messages.
    path: PathBuf,
    /// Its files.
    pub disk: RealDisk,
}

impl Folder {
    /// That of a replica.
    ///
    /// # Errors
    /// It is not there.
    pub fn of(loaded: &Loaded, replica: Replica<'_>) -> Result<Folder, Failure> {
        Folder::at(group_folder(&replica.node.folder_in(&loaded.folder()), replica.shard))
    }

    /// The one at this place.
    ///
    /// # Errors
    /// It is not there.
    pub fn at(path: PathBuf) -> Result<Folder, Failure> {
        let disk = RealDisk::peek(&path).map_err(|error| named(&path, &error))?;
        Ok(Folder { path, disk })
    }

    /// What an error means to the person who asked.
    #[must_use]
    pub fn failed(&self, error: &dyn Display) -> Failure {
        named(&self.path, error)
    }
}

fn named(path: &Path, error: &dyn Display) -> Failure {
    Failure::refused(format!("{}: {error}", path.display()))
}
