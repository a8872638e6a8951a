//! Named places where a crash test can stop the process (crate `fail`, feature `failpoints`). Without the feature a
//! step is nothing. Promises that every step of every change of a file is in [`FAIL_POINTS`], and nothing else: a
//! step that is not there panics, and a test passes each one and crashes at it.
//!
//! In a binary that was built with the feature and asks for it ([`from_environment`]; only that of the tests does), they
//! are set by the environment. `FAILPOINTS` has the syntax of that crate: `FAILPOINTS='vote.synced=1*off->pause'` holds the
//! thread at its second passing, where a test kills the process. `FAILPOINTS_ABORT_AT=vote.synced:2` ends the process there
//! itself, at its second passing (`:1` may be left out): the disk is then as after kill -9, without a race. With
//! `FAILPOINTS_ABORT_IF=/some/file` only passings count at which that file is there.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every fail point. A place whose file is written aside and renamed has `written` (aside, not yet synced), `synced`,
/// `renamed` (the folder is not yet synced) and `done`.
pub const FAIL_POINTS: [&str; 71] = [
    // Making a replica.
    "bootstrap-mark.written",
    "bootstrap-mark.synced",
    "bootstrap-mark.renamed",
    "bootstrap-mark.done",
    "bootstrap.written",
    "bootstrap.synced",
    "bootstrap.renamed",
    "bootstrap.done",
    "meta.written",
    "meta.synced",
    "meta.renamed",
    "meta.done",
    // The suspicion and the number of the newest log file: at starts, rolls, resets and truncations over files.
    "boot.written",
    "boot.synced",
    "boot.renamed",
    "boot.done",
    // Recovery: the newest file is rewritten, and leftovers are removed.
    "recover.written",
    "recover.synced",
    "recover.renamed",
    "recover.done",
    "recover.removed",
    // Epoch and vote.
    "vote.written",
    "vote.synced",
    "vote.renamed",
    "vote.done",
    // Appending: the file was made longer; the batch begins, is written, is synced.
    "append.extended",
    "append.begin",
    "append.written",
    "append.synced",
    // Rotation: the file that ends here is synced, the next one is made.
    "roll.sealed",
    "roll.written",
    "roll.synced",
    "roll.renamed",
    "roll.done",
    // Truncation: a later file went; the file with the cut is replaced.
    "truncate.removed",
    "truncate.written",
    "truncate.synced",
    "truncate.renamed",
    "truncate.done",
    // A snapshot: its header is written; then all of it; it is read back.
    "snapshot.begun",
    "snapshot.written",
    "snapshot.synced",
    "snapshot.renamed",
    "snapshot.done",
    // A snapshot from elsewhere: the transfer's file is there; all is received and verified; it has its own number.
    "install.begun",
    "install.verified",
    "install.renumbered",
    "install.synced",
    "install.renamed",
    "install.done",
    // The log begins anew behind it; the old files go.
    "reset.written",
    "reset.synced",
    "reset.renamed",
    "reset.done",
    "reset.removed",
    // What three verified snapshots make needless goes.
    "remove.begin",
    "remove.removed",
    "remove-snapshot.begin",
    "remove-snapshot.removed",
    // A snapshot from elsewhere takes the place of the table beside the log.
    "adopt.renumbered",
    "adopt.synced",
    "adopt.renamed",
    "adopt.done",
    // The table is known to be wrong; it was replaced.
    "fence.written",
    "fence.synced",
    "fence.renamed",
    "fence.done",
    "unfence.begin",
    "unfence.removed",
    // A transfer that is given up.
    "discard.begin",
    "discard.removed",
];

/// Passes the fail point `place.step`, for example `vote.synced`.
pub(crate) fn step(place: &str, step: &str) {
    if cfg!(feature = "failpoints") {
        let name = format!("{place}.{step}");
        assert!(FAIL_POINTS.contains(&&name[..]), "the fail point {name} is not in the table");
        fail::fail_point!(&name);
        drop(name);
    }
}

/// The variable that names the fail point at which the process ends, and at which passing.
const ABORT_AT: &str = "FAILPOINTS_ABORT_AT";
/// The variable that names the file without which passings do not count.
const ABORT_IF: &str = "FAILPOINTS_ABORT_IF";

/// Sets fail points as the variables say, for the life of the process; only the first call does so, and none without
/// the feature.
///
/// # Panics
/// A variable cannot be understood: a test that is written wrongly.
pub fn from_environment() {
    static ONCE: Once = Once::new();
    if cfg!(feature = "failpoints") {
        ONCE.call_once(|| {
            // Its end would clear them.
            std::mem::forget(fail::FailScenario::setup());
            if let Ok(wanted) = std::env::var(ABORT_AT) {
                abort_at(&wanted);
            }
        });
    }
}

fn abort_at(wanted: &str) {
    let (name, passing) = wanted.split_once(':').unwrap_or((wanted, "1"));
    let passing: u64 = passing.parse().expect("FAILPOINTS_ABORT_AT is a fail point, or one and a number");
    assert!(FAIL_POINTS.contains(&name), "FAILPOINTS_ABORT_AT names no fail point: {name}");
    let passed = AtomicU64::new(0);
    let condition = std::env::var_os(ABORT_IF).map(std::path::PathBuf::from);
    let end = move || {
        let counts = condition.as_ref().is_none_or(|file| file.exists());
        if counts && passed.fetch_add(1, Ordering::Relaxed) + 1 == passing {
            std::process::abort();
        }
    };
    fail::cfg_callback(name, end).expect("a callback is always taken");
}
