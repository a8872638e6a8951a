//! A failure as a caller of the store must know it: did it happen?

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// It did not happen, and the same call will not do better.
    #[error("refused: {message}")]
    Refused {
        /// Why.
        reason: Refusal,
        /// For people.
        message: String,
    },
    /// It did not happen; trying again later may do.
    #[error("unavailable: {message}")]
    Retry {
        /// What stands in the way.
        cause: Cause,
        /// For people.
        message: String,
    },
    /// It may have happened; the same identity settles it.
    #[error("outcome unknown: {message}")]
    Unknown {
        /// For people.
        message: String,
    },
}

/// What stands in the way of a call that did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nobody who could serve was reached: no leader, no majority, a node that starts or stops.
    Away,
    /// Too much waits already, of everybody's.
    Busy,
    /// A disk or a database is full, where it matters.
    OutOfSpace,
    /// The clock of a node and that of the id's maker are apart: one of them is wrong.
    ClocksApart,
    /// The replicas have different states, and nobody can say which is right.
    Diverged,
    /// A transaction over several groups that is not decided yet, or a group that stands still for a consistent view of all, in the
    /// way for as long as was waited.
    Locked,
}

impl Cause {
    /// All of them.
    pub const ALL: [Cause; 6] =
        [Cause::Away, Cause::Busy, Cause::OutOfSpace, Cause::ClocksApart, Cause::Diverged, Cause::Locked];

    /// Whether it passes by itself, so that waiting is worth while; else somebody must do something first.
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self, Cause::Away | Cause::Busy | Cause::Locked)
    }
}

/// Why the store refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Bad arguments.
    Invalid,
    /// The id was used with another digest.
    IdReused,
    /// The id is older than what is remembered.
    Expired,
    /// The id was closed by `outcome`.
    Closed,
    /// What was asked for is not here, or no longer.
    Gone,
}

impl Error {
    /// Nobody who could serve was reached: it did not happen.
    pub fn away(message: impl Into<String>) -> Error {
        Error::Retry { cause: Cause::Away, message: message.into() }
    }

    /// The same failure of something that changes nothing: its outcome is never in doubt.
    #[must_use]
    pub fn of_read(self) -> Error {
        match self {
            Error::Unknown { message } => Error::away(message),
            other => other,
        }
    }

    /// Whether the same call may do better later without any harm: it did not happen this time.
    #[must_use]
    pub fn is_retry(&self) -> bool {
        matches!(self, Error::Retry { .. })
    }
}
