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
}
