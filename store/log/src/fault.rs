//! Named places where a crash test can stop the process (crate `fail`, feature `failpoints`). Without the feature a
//! step is nothing. Promises that every step of every change of a file is in [`FAIL_POINTS`], and nothing else: a
//! step that is not there panics, and a test passes each one and crashes at it.
//!
//! In a binary that was built with the feature they are set by the environment, in the syntax of that crate:
//! `FAILPOINTS='vote.synced=1*off->pause'` holds the thread at its second passing, where a test kills the process.

use std::sync::Once;

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

/// Sets fail points as the variable FAILPOINTS says, for the life of the process; only the first call does so, and
/// none without the feature.
///
/// # Panics
/// The variable cannot be understood: a test that is written wrongly.
pub fn from_environment() {
    static ONCE: Once = Once::new();
    if cfg!(feature = "failpoints") {
        // Its end would clear them.
        ONCE.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    }
}
