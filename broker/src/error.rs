//! What can go wrong with the broker. Nothing here is worth a retry without a change: each says which.

use std::net::SocketAddr;

/// Why the broker did not start, or stopped.
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
        /// What the system says, without the advice of the broker underneath: ours is of feira's configuration.
        cause: String,
    },
    /// The broker underneath failed while it ran; its connections are gone. A new one may be started.
    #[error("broker: stopped by an error of its own; start it again")]
    Run(#[source] mqtt5::MqttError),
    /// Connections were still open when the grace was over; they were cut.
    #[error("broker: some connections did not end in time and were cut")]
    StopTimedOut,
}

impl Error {
    /// A bind that failed, as the broker underneath tells of it: a paragraph with one line an address,
    /// `  - <address>: <cause> (<advice>)`, and more advice.
    pub(crate) fn bind(at: SocketAddr, error: &mqtt5::MqttError) -> Error {
        let told = error.to_string();
        let of_address = format!("- {at}: ");
        let line = told.lines().find_map(|line| line.trim_start().strip_prefix(&of_address));
        let cause = line.map(|line| line.rsplit_once(" (").map_or(line, |(cause, _advice)| cause));
        Error::Bind { at, cause: cause.or(told.lines().next()).unwrap_or("no cause is known").to_owned() }
    }
}
