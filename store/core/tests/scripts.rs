//! Runs every script under `tests/scripts`: commands, then what the cores did. After a change of behaviour,
//! `UPDATE_GOLDENFILES=1 cargo test -p store-core --test scripts` writes the new traces; read the difference.

mod harness;

use std::path::Path;

/// Every script of one topic.
fn topic(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(name);
    let mut scripts: Vec<_> = std::fs::read_dir(&folder)
        .expect("the topic's folder")
        .map(|entry| entry.expect("a file").path())
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty(), "{name} has scripts");
    for script in scripts {
        let mut runner = harness::script::Runner::default();
        goldenscript::run(&mut runner, &script)
            .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    }
}

#[test]
fn replication() {
    topic("replication");
}

#[test]
fn conflicts() {
    topic("conflicts");
}

#[test]
fn elections() {
    topic("elections");
}

#[test]
fn reads() {
    topic("reads");
}

#[test]
fn four_voters() {
    topic("four_voters");
}

#[test]
fn snapshots() {
    topic("snapshots");
}

#[test]
fn maybe_lost_tails() {
    topic("lost_tails");
}

#[test]
fn states() {
    topic("states");
}

#[test]
fn disks() {
    topic("disks");
}

#[test]
fn members() {
    topic("members");
}
