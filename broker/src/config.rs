//! The broker's configuration: its address and its limits.

use std::net::{Ipv4Addr, SocketAddr};

use crate::error::Error;
use crate::limits;

/// Settings of one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen. Port 0 takes a free one; [`crate::serve()`] reports which.
    pub at: SocketAddr,
    /// Connections at once, at least 1. File descriptors may allow fewer.
    pub clients_max: usize,
    /// Bytes of one packet, at least [`limits::PACKET_BYTES_MIN`].
    pub packet_bytes_max: usize,
    /// Messages waiting for one client, at least 1.
    pub queue_messages_max: usize,
    /// Bytes waiting for one client, at least `packet_bytes_max` and what a message costs beside.
    pub queue_bytes_max: usize,
    /// Bytes of all messages that it holds, at least `queue_bytes_max`.
    pub held_bytes_max: usize,
}

impl Default for Config {
    /// Loopback, the port that MQTT has by registration, the limits of [`limits`].
    fn default() -> Config {
        Config {
            at: SocketAddr::from((Ipv4Addr::LOCALHOST, 1883)),
            clients_max: admission::limits::CONNECTIONS_MAX,
            packet_bytes_max: limits::PACKET_BYTES_MAX,
            queue_messages_max: limits::QUEUE_MESSAGES_MAX,
            queue_bytes_max: limits::QUEUE_BYTES_MAX,
            held_bytes_max: limits::HELD_BYTES_MAX,
        }
    }
}

impl Config {
    /// Checks each field.
    ///
    /// # Errors
    /// [`Error::Config`] names the first field that cannot be.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let at_least = |field, value: usize, min: usize| {
            if value < min { Err(Error::Config { field, value, min }) } else { Ok(()) }
        };
        at_least("clients_max", self.clients_max, 1)?;
        at_least("packet_bytes_max", self.packet_bytes_max, limits::PACKET_BYTES_MIN)?;
        at_least("queue_messages_max", self.queue_messages_max, 1)?;
        let message = self.packet_bytes_max + limits::MESSAGE_COST_BYTES;
        at_least("queue_bytes_max", self.queue_bytes_max, message)?;
        at_least("held_bytes_max", self.held_bytes_max, self.queue_bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_loopback_and_passes_its_own_check() {
        let config = Config::default();
        assert!(config.at.ip().is_loopback());
        assert!(config.check().is_ok());
    }

    #[test]
    fn each_limit_that_cannot_be_is_named() {
        type Break = fn(&mut Config);
        let breaks: [(&str, Break); 5] = [
            ("clients_max", |c| c.clients_max = 0),
            ("packet_bytes_max", |c| c.packet_bytes_max = 1_023),
            ("queue_messages_max", |c| c.queue_messages_max = 0),
            ("queue_bytes_max", |c| c.queue_bytes_max = c.packet_bytes_max),
            ("held_bytes_max", |c| c.held_bytes_max = c.queue_bytes_max - 1),
        ];
        for (field, break_it) in breaks {
            let mut config = Config::default();
            break_it(&mut config);
            let error = config.check().expect_err(field).to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
