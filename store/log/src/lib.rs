//! A replica's group folder except the database: its identity, its ballot, its log, its snapshots. With the database
//! (through LMDB) this is the only code that touches files.
//!
//! # The story
//!
//! ```text
//! bootstrap ──► meta  vote  boot  log.0 = [1: membership]
//!
//! append ─ append ─ sync ──► durable: may be acked        log.0  [1][2 3 4][5]00000000
//! truncate(from)    a leader has other entries            log.0  [1][2 3]0000000000000
//! roll(L) = X       the log goes on in log.X …            log.0  [1][2 3]   log.1 [4 5]000
//! SnapshotWriter    … and the state at L becomes snap.X   snap.1
//! remove_before     files that three verified snapshots replace are removed
//!
//! crash ──► Log::open: leftovers go, the chain is walked, a torn tail is cut and evaluated, the last
//!           file is rewritten and synced ──► Recovered
//! ```
//!
//! # Promises, by name
//!
//! - **durable-stays**: an entry that was appended before a [`Log::sync`] that returned is there after any crash, unless
//!   it was truncated; damage to it is an error, never a shorter log (see [`scan`] for the one exception, a
//!   damaged last batch, which is reported as a *possibly lost tail*).
//! - **nothing-invented**: the log holds only entries that were appended, as they were appended.
//! - **whole-prefix**: after a crash inside any call the log is a prefix of its state before or after the call.
//! - **vote-stays**: a ballot that [`Ballots::save`] confirmed is never older after a crash; a folder that
//!   lost its `vote`, its `meta` or its log is refused ([`Error::NewMemberNeeded`]).
//! - **sync-once**: after a failed sync nothing more is written ([`Error::Poisoned`]).
//!
//! # Where to read on
//!
//! [`format`](mod@format): the bytes. [`scan`]: which cuts are innocent, and why. [`snapshot`]: how files are
//! numbered. `sim` (with its feature): the disk that tests crash. With the feature `failpoints`, crash tests can stop the process
//! at each step of every change of a file ([`fault::FAIL_POINTS`]).
//!
//! Leaves out: the meaning of payloads, the times to roll or snapshot, and every thread and clock.

mod atomic_write;
mod ballot;
pub mod batch;
mod block;
mod boot;
mod bootstrap;
mod describe;
pub mod disk;
mod error;
pub mod fault;
pub mod format;
mod header;
mod identity;
mod incoming;
mod inspect;
pub mod limits;
mod log;
mod meta;
mod names;
mod plant;
mod quarantine;
mod reader;
mod real;
mod recover;
pub mod retention;
pub mod scan;
mod segment;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod snapshot;
mod snapshot_reader;
mod truncate;
mod window;

#[cfg(test)]
mod tests;

pub use ballot::Ballots;
pub use batch::{BATCH_ENTRIES_BYTES_MAX, ENTRY_HEADER_BYTES, entry_bytes};
pub use bootstrap::{FIRST, bootstrap, join, restore};
pub use describe::{LogLine, describe_log, log_files};
pub use disk::{Disk, DiskFile};
pub use error::Error;
pub use header::LogHeader;
pub use identity::{BootId, ClusterId, Identity};
pub use incoming::{IncomingSnapshot, Offered};
pub use inspect::{
    BlockLine, FileEnd, LogFileReport, LogReport, SnapshotReport, inspect_snapshot, snapshot_files,
    verify_log, verify_snapshots,
};
pub use log::{Log, Options};
pub use meta::{Meta, read as read_meta};
pub use plant::{Planted, plant};
pub use quarantine::{Difference, Quarantine};
pub use reader::LogReader;
pub use real::{RealDisk, RealFile, boot_id};
pub use recover::{Cut, LogFile, Recovered};
pub use snapshot::{
    Origin, SealedSnapshot, SnapshotFile, SnapshotInfo, SnapshotWriter, verify as verify_snapshot,
};
pub use snapshot_reader::SnapshotReader;
