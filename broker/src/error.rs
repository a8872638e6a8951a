//! The errors of the broker. Nothing here is worth a retry without a change: each says which.

use std::net::SocketAddr;

/// Why the broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that cannot be. Nothing was started.
    #[error("broker: {field} is {value}, must be at least {min}")]
    Config {
        /// The field of [`crate::Config`].
        field: &'static str,
        /// What it was.
        value: usize,
        /// The smallest that works.
        min: usize,
    },
    /// The address cannot be listened on. Nothing was started.
    #[error(
        "broker: cannot listen on {at} ({cause}): choose another port for the broker in the configuration (0 takes a \
         free one), or stop what listens there"
    )]
    Bind {
        /// The address asked for.
        at: SocketAddr,
        /// What the system says.
        cause: String,
    },
}
