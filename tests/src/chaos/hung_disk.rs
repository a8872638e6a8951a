//! Disks that hang: a library that is preloaded into each node keeps what it writes and syncs from coming back, as long as
//! a file of that node is there. Built with the C compiler when it is needed; no crate of ours has `unsafe`.

use std::path::{Path, PathBuf};
use std::process::Command;

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
        let (source, library) = (folder.join("hung_disk.c"), folder.join("hung_disk.so"));
        std::fs::write(&source, SOURCE).expect("the test's folder can be written");
        let mut cc = Command::new("cc");
        let built = cc
            .args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&source)
            .output();
        let built = built.expect("there is a C compiler (LMDB is built with it, too)");
        assert!(built.status.success(), "cc: {}", String::from_utf8_lossy(&built.stderr));
        HungDisks { folder: folder.to_owned(), library }
    }

    /// What a node is started with, so that its disk can hang.
    #[must_use]
    pub fn environment(&self, node: &str) -> [(&'static str, PathBuf); 2] {
        [("LD_PRELOAD", self.library.clone()), ("HANG_WHILE", self.file(node))]
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
