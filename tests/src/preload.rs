//! Libraries that are preloaded into a process of ours, to make it meet what this machine does not offer: built with the C
//! compiler when they are needed; no crate of ours has `unsafe`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The environment variable that names what is preloaded.
pub const PRELOAD: &str = "LD_PRELOAD";

/// Builds a library of this name and source in a folder; where it is.
///
/// # Panics
/// If there is no C compiler, or it refuses.
#[must_use]
pub fn build(folder: &Path, name: &str, source: &str) -> PathBuf {
    let (file, library) = (folder.join(format!("{name}.c")), folder.join(format!("{name}.so")));
    std::fs::write(&file, source).expect("the test's folder can be written");
    let mut cc = Command::new("cc");
    let built =
        cc.args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library).arg(&file).output();
    let built = built.expect("there is a C compiler (LMDB is built with it, too)");
    assert!(built.status.success(), "cc: {}", String::from_utf8_lossy(&built.stderr));
    library
}

/// What a process is started with so that its clock is ahead of everybody's.
///
/// # Panics
/// As [`build`].
#[must_use]
pub fn clock_ahead(folder: &Path, by: Duration) -> [(&'static str, String); 2] {
    let library = build(folder, "clock_ahead", include_str!("clock_ahead.c"));
    let library = library.to_str().expect("the test's folder has a plain name").to_owned();
    [(PRELOAD, library), ("CLOCK_AHEAD_S", by.as_secs().to_string())]
}
