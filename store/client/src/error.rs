//! What a caller of the store must know of a failure: did it happen?

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
    /// The same failure of something that changes nothing: its outcome is never in doubt.
    #[must_use]
    pub fn of_read(self) -> Error {
        match self {
            Error::Unknown { message } => Error::Retry { message },
            other => other,
        }
    }

    /// Whether the same call may do better later without any harm: it did not happen this time.
    #[must_use]
    pub fn is_retry(&self) -> bool {
        matches!(self, Error::Retry { .. })
    }
}
