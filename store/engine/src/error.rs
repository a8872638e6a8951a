//! The errors that stop a replica. Each is fatal for it: the process ends, and recovery begins anew from the disk.
//! Answers to clients are in [`crate::Answer`] and [`crate::Reply`], not here.

use store_core::{Offset, Position};

use crate::convert::Malformed;

/// Why a replica cannot go on, or cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log, a ballot or a snapshot.
    #[error(transparent)]
    Log(#[from] store_log::Error),
    /// The table, or applying to it.
    #[error(transparent)]
    Table(#[from] store_db::Error),
    /// An entry in the log that no correct leader writes.
    #[error("the log has an entry that cannot be used: {0}")]
    Entry(#[from] Malformed),
    /// A committed entry that should be there is not.
    #[error(
        "the log has no entry {0}, which is committed and not applied; there is no snapshot to go on from"
    )]
    Missing(Offset),
    /// The log does not have an entry that was committed here.
    #[error(
        "committed conflict: {expected} was committed here, but the log has {found} there or ends with it; \
         acknowledged entries are lost or replaced. Keep this folder for examination, and let the node come back \
         empty, as a new member (feira member replace NODE)"
    )]
    Contradiction {
        /// What is in the log there, or its end.
        found: Position,
        /// What was committed.
        expected: Position,
    },
    /// A snapshot whose blocks are whole, but not what is in them.
    #[error("snap.{number} cannot be read: {problem}")]
    BadSnapshot {
        /// X.
        number: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// The log was cut off behind a snapshot, and none is left that it continues.
    #[error(
        "the log begins after {base}, and no snapshot of {base} or later can be read: snap files were removed or \
         damaged. Put them back, or let the node come back empty, as a new member (feira member replace NODE)"
    )]
    NoSnapshot {
        /// The last offset gone from the log.
        base: Offset,
    },
    /// Neither log nor snapshots reach back to where the table stands.
    #[error(
        "the log begins after {base}, the table stands at {applied}, and there is no whole snapshot between; let the node come back empty, as a new member (feira member replace NODE)"
    )]
    Unrecoverable {
        /// The last offset gone from the log.
        base: Offset,
        /// Where the table stands.
        applied: Offset,
    },
}

impl Error {
    /// The folder cannot be used any more under its identity: the node comes back with an empty one, as a new member.
    #[must_use]
    pub fn needs_new_member(&self) -> bool {
        match self {
            Error::Log(error) => error.needs_new_member(),
            Error::NoSnapshot { .. } | Error::Unrecoverable { .. } | Error::Contradiction { .. } => true,
            _ => false,
        }
    }

    /// Whether the process must end. The others are of one snapshot, and harm nothing else.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Error::Log(error) => error.is_fatal(),
            Error::BadSnapshot { .. } => false,
            // From a read: the replica is quarantined for it, or goes on.
            Error::Table(error) => !error.is_reported_by_store(),
            _ => true,
        }
    }
}
