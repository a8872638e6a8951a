//! The errors after which the database cannot go on. Every one of these stops the replica. A client's mistake is never an
//! [`Error`] but a [`crate::Reply`], since it is part of the state machine's answers.

use std::fmt;
use std::path::PathBuf;

use store_core::types::Position;

/// The cause under an [`Error`], whatever library it comes from.
pub type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why the database cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The memory map or the disk has no room. Nothing of the transaction was kept: what was to be applied is
    /// applied after a restart, and nothing is skipped.
    #[error("{} has no room while {doing}: {out_of_space}, then restart the node, which goes on where it stopped", file.display())]
    Full {
        /// The file that cannot grow.
        file: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What there is too little of.
        out_of_space: OutOfSpace,
    },
    /// The disk failed, or took only a part of what was written. Nothing of the transaction was kept.
    #[error("{} failed while {doing}, or its file system is full: look at the disk, free some space, then restart the node", file.display())]
    Failing {
        /// The file.
        file: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: Source,
    },
    /// The table or a file beside it could not be used. Nothing of the transaction was kept.
    #[error("the database failed while {doing}")]
    Table {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: Source,
    },
    /// What is stored (or imported) is not what was written. The replica must start from a snapshot.
    #[error("the database is damaged: {what}")]
    Damaged {
        /// What was found, and where.
        what: String,
    },
    /// LMDB reports that its own pages are damaged. The replica's table is of no use any more, whatever else can be read: it is
    /// made anew from a snapshot.
    #[error("the database is damaged: LMDB says so while {doing}")]
    Unreadable {
        /// What was being done.
        doing: &'static str,
        /// What LMDB says.
        #[source]
        source: Source,
    },
    /// This process has the folder open already: LMDB must never open one twice.
    #[error("{} is open already in this process", path.display())]
    AlreadyOpen {
        /// The folder.
        path: PathBuf,
    },
    /// A committed entry that this release cannot apply: it was written by a newer one. Upgrade this node.
    #[error("the entry at {position} needs a newer release of feira: {what}")]
    NotUnderstood {
        /// The entry.
        position: Position,
        /// What is not known here.
        what: String,
    },
}

/// What the database has too little of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutOfSpace {
    /// The map: a configured size.
    Map,
    /// The file system.
    Disk,
    /// The size that files of this process may have.
    FileSize,
}

impl fmt::Display for OutOfSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OutOfSpace::Map => "its map is full: raise store.map_bytes in the configuration",
            OutOfSpace::Disk => "its file system is full: free some space",
            OutOfSpace::FileSize => "the process may write no larger file: raise the limit (ulimit -f)",
        })
    }
}

impl Error {
    /// Whether every replica of this release meets the same error at the same entry, so that restarting
    /// elsewhere does not help. All other errors are of this machine alone.
    #[must_use]
    pub fn is_deterministic(&self) -> bool {
        matches!(self, Error::NotUnderstood { .. })
    }

    /// Whether the table must be made anew from a snapshot.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Error::Damaged { .. } | Error::Unreadable { .. })
    }

    /// Whether the table's own store reports the damage, so that it is of this replica alone. What can be read and is wrong may
    /// be so on every replica.
    #[must_use]
    pub fn is_reported_by_store(&self) -> bool {
        matches!(self, Error::Unreadable { .. })
    }

    /// Something around the table failed (a reader's or writer's own error, carried through a transaction).
    pub fn table(doing: &'static str, source: impl Into<Source>) -> Error {
        Error::Table { doing, source: source.into() }
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Error {
        Error::Damaged { what: what.into() }
    }
}
