//! Disks that hang: a library that is preloaded into each node keeps what it writes and syncs from coming back, as long as
//! a file of that node is there.

use std::path::{Path, PathBuf};

use crate::preload;

/// The library's source.
const SOURCE: &str = include_str!("hung_disk.c");

/// The library, and the folder of the files that make disks hang.
#[derive(Debug)]
pub struct HungDisks {
    folder: PathBuf,
    library: PathBuf,
}

impl HungDisks {
    /// Builds the library in this folder.
    ///
    /// # Panics
    /// If there is no C compiler, or it refuses.
    #[must_use]
    pub fn build(folder: &Path) -> HungDisks {
        HungDisks { folder: folder.to_owned(), library: preload::build(folder, "hung_disk", SOURCE) }
    }

    /// What a node is started with, so that its disk can hang.
    #[must_use]
    pub fn environment(&self, node: &str) -> [(&'static str, PathBuf); 2] {
        [(preload::PRELOAD, self.library.clone()), ("HANG_WHILE", self.file(node))]
    }

    fn file(&self, node: &str) -> PathBuf {
        self.folder.join(format!("{node}.hangs"))
    }

    /// From now on nothing comes back from the disk of this node.
    ///
    /// # Panics
    /// If its file cannot be made.
    pub fn hang(&self, node: &str) {
        std::fs::write(self.file(node), "").expect("the test's folder can be written");
    }

    /// It answers again.
    pub fn answer(&self, node: &str) {
        // It may not have hung.
        let _ = std::fs::remove_file(self.file(node));
    }
}
