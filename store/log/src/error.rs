//! The errors of a replica's files, by what the caller can do about them. Each error answers: must the
//! process end ([`Error::is_fatal`]), may the same call be tried again ([`Error::may_retry`]), may it have
//! happened ([`Error::may_have_happened`]). None is the same on all replicas: disks fail one by one.

use std::io;

use store_core::{Offset, Position};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation; nothing changed.
    #[error("cannot {operation} {file}: {source}")]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file's name in the group folder.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The file system has no room; nothing changed.
    #[error("no space on the file system to {operation} {file}: free some space: {source}")]
    Full {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A sync failed: what was written before it may or may not be on disk, and asking again would lie.
    #[error(
        "sync of {file} failed, so nothing written to it since the last sync can be trusted; the process must end and recover: {source}"
    )]
    Sync {
        /// The file, or the folder.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A change of the log stopped half way: only recovery can tell what is on disk.
    #[error("{operation} of {file} stopped half way; the process must end and recover: {problem}")]
    HalfDone {
        /// What was under way.
        operation: &'static str,
        /// The file.
        file: String,
        /// Why it stopped.
        problem: Box<Error>,
    },
    /// An earlier error was fatal: this log does nothing more.
    #[error("an earlier error was fatal; the process must end and recover")]
    Poisoned,
    /// Bytes on disk are not what was written, where that cannot be a write torn by a crash.
    #[error(
        "{file} is damaged at byte {at}: {problem}; do not repair it by hand: let the node come back empty, as a new member that fetches the state from the others (feira member replace NODE)"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        at: u64,
        /// What is wrong.
        problem: String,
    },
    /// A file of another cluster, group, node or incarnation.
    #[error(
        "{file} belongs to another {field}: it says {found}, expected {expected}; check the configured folder"
    )]
    Foreign {
        /// The file.
        file: String,
        /// Which part of the identity differs.
        field: &'static str,
        /// What the file says.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A file of a version that this program cannot read.
    #[error("{file} has {what} {found}, this program knows up to {known}; run a newer program")]
    Version {
        /// The file.
        file: String,
        /// Which version.
        what: &'static str,
        /// What the file says.
        found: u32,
        /// The newest one known.
        known: u32,
    },
    /// The folder has never been bootstrapped.
    #[error(
        "this folder holds no replica yet: bootstrap the cluster, or let the node in (feira member add NODE)"
    )]
    NotBootstrapped,
    /// A bootstrap did not finish, and this node has never served.
    #[error("a bootstrap of this folder was interrupted before it finished: run it again")]
    BootstrapInterrupted,
    /// What this replica promised cannot be known any more: it may not act under its old identity.
    #[error(
        "{reason}: this replica can no longer keep what it promised and must not vote under its old identity; let the node come back empty, as a new member (feira member replace NODE)"
    )]
    NewMemberNeeded {
        /// What was lost.
        reason: String,
    },
    /// Bootstrap wants an empty folder.
    #[error("bootstrap wants an empty folder, and this one has {found:?}")]
    NotEmpty {
        /// A name that is there.
        found: String,
    },
    /// The folder is open in another process, or twice in this one.
    #[error("the folder {folder} is in use by another process: stop that node first")]
    InUse {
        /// The folder.
        folder: String,
    },
    /// The entry was removed behind a snapshot.
    #[error("offset {at} was removed from the log, which begins after {base}")]
    Purged {
        /// What was asked for.
        at: Offset,
        /// The last offset that is gone.
        base: Offset,
    },
    /// The entry is not there yet.
    #[error("offset {at} is beyond the end of the log, which is {last}")]
    Beyond {
        /// What was asked for.
        at: Offset,
        /// The last offset of the log.
        last: Offset,
    },
    /// A truncation would cut what is committed.
    #[error("will not cut the log from offset {from}: everything up to {committed} is committed")]
    Committed {
        /// The first offset to go.
        from: Offset,
        /// The last committed one.
        committed: Offset,
    },
    /// The call makes no sense here; nothing changed.
    #[error("{0}")]
    Invalid(String),
    /// No snapshot of that number.
    #[error("there is no {file}")]
    Missing {
        /// The file.
        file: String,
    },
    /// Bytes of a snapshot that do not continue what was received.
    #[error(
        "{file} has {received} bytes so far, and bytes from {at} on would leave a gap; send from {received} on"
    )]
    Gap {
        /// The file.
        file: String,
        /// How many bytes are there.
        received: u64,
        /// Where the bytes offered begin.
        at: u64,
    },
    /// A snapshot of another place than the caller wants.
    #[error("{file} is of {found}, wanted {wanted}")]
    OtherPosition {
        /// The file.
        file: String,
        /// What it is of.
        found: Position,
        /// What was wanted.
        wanted: Position,
    },
}

impl Error {
    /// The process must end: what is on disk is only known again after recovery. Never retried.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Error::Sync { .. } | Error::HalfDone { .. } | Error::Poisoned)
    }

    /// The same call may succeed later without anybody changing the files.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        matches!(self, Error::Full { .. } | Error::Io { .. } | Error::InUse { .. } | Error::Beyond { .. })
    }

    /// The change asked for may be on disk all the same.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        self.is_fatal()
    }

    /// The folder cannot be used any more under its identity: the node comes back with an empty one, as a new member.
    #[must_use]
    pub fn needs_new_member(&self) -> bool {
        matches!(self, Error::Damaged { .. } | Error::NewMemberNeeded { .. })
    }

    /// The operating system's error of a write, a rename or the like.
    pub(crate) fn of(operation: &'static str, file: &str, source: io::Error) -> Error {
        let file = file.to_owned();
        match source.kind() {
            // The last is a limit on the size of files (ulimit -f), once SIGXFSZ does not end the process.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Error::Full { operation, file, source }
            }
            _ => Error::Io { operation, file, source },
        }
    }

    /// The operating system's error of a sync.
    pub(crate) fn sync(file: &str, source: io::Error) -> Error {
        Error::Sync { file: file.to_owned(), source }
    }

    /// Damage at a place.
    pub(crate) fn damaged(file: &str, at: u64, problem: impl Into<String>) -> Error {
        Error::Damaged { file: file.to_owned(), at, problem: problem.into() }
    }

    /// Marks an error inside a change that cannot be taken back as fatal.
    pub(crate) fn half_done(self, operation: &'static str, file: &str) -> Error {
        if self.is_fatal() {
            return self;
        }
        Error::HalfDone { operation, file: file.to_owned(), problem: Box::new(self) }
    }
}
