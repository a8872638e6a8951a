//! A node's folder, looked into: never locked and never changed, whether the node runs or not.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use store_log::RealDisk;
use store_server::group_folder;

use crate::failure::Failure;

/// The one group of a ring of one shard.
pub const GROUP: u64 = 1;

/// A group's folder.
pub struct Folder {
    /// Where it is, for messages.
    path: PathBuf,
    /// Its files.
    pub disk: RealDisk,
}

impl Folder {
    /// That of the node whose folder this is.
    ///
    /// # Errors
    /// It is not there.
    pub fn of_node(folder: &Path) -> Result<Folder, Failure> {
        let path = group_folder(folder, GROUP);
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
