//! Where the broker listens and how much it takes on; what it is built from underneath.

use std::net::{Ipv4Addr, SocketAddr};

use mqtt5::broker::BrokerConfig;
use mqtt5::broker::config::{StorageBackend, StorageConfig};

use crate::error::Error;
use crate::limits;

/// Settings of one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen. Port 0 takes a free one; [`crate::serve()`] reports which.
    pub at: SocketAddr,
    /// Connections at once, at least 1.
    pub clients_max: usize,
    /// Bytes of one packet, at least [`limits::PACKET_BYTES_MIN`].
    pub packet_bytes_max: usize,
    /// QoS 1 messages waiting for one client, at least 1.
    pub queue_messages_max: usize,
    /// Bytes waiting for one client, at least `packet_bytes_max`.
    pub queue_bytes_max: usize,
}

impl Default for Config {
    /// Loopback, the port that MQTT has by registration, the limits of [`limits`].
    fn default() -> Config {
        Config {
            at: SocketAddr::from((Ipv4Addr::LOCALHOST, 1883)),
            clients_max: limits::CLIENTS_MAX,
            packet_bytes_max: limits::PACKET_BYTES_MAX,
            queue_messages_max: limits::QUEUE_MESSAGES_MAX,
            queue_bytes_max: limits::QUEUE_BYTES_MAX,
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
        at_least("queue_bytes_max", self.queue_bytes_max, self.packet_bytes_max)
    }

    /// The same, in the words of the broker underneath. "Persistence" there means that sessions outlive their
    /// connections; over the memory backend nothing touches a disk. Each limit that is unlimited by default
    /// there is given one here.
    pub(crate) fn underneath(&self) -> BrokerConfig {
        let storage = StorageConfig::new()
            .with_backend(StorageBackend::Memory)
            .with_persistence(true)
            .with_max_queued_messages_per_client(self.queue_messages_max)
            .with_max_queued_bytes_per_client(self.queue_bytes_max);
        BrokerConfig::default()
            .with_bind_address(self.at)
            .with_max_clients(self.clients_max)
            .with_max_packet_size(self.packet_bytes_max)
            .with_client_channel_capacity(limits::CHANNEL_MESSAGES_MAX)
            .with_max_outbound_inflight(limits::IN_FLIGHT_MAX)
            .with_max_subscriptions_per_client(limits::SUBSCRIPTIONS_MAX)
            .with_max_retained_messages(limits::RETAINED_MAX)
            .with_max_retained_message_size(limits::RETAINED_BYTES_MAX.min(self.packet_bytes_max))
            .with_session_expiry(limits::SESSION_EXPIRY)
            .with_sys_topics_enabled(false)
            .with_storage(storage)
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
        assert!(config.underneath().validate().is_ok());
    }

    #[test]
    fn each_limit_that_cannot_be_is_named() {
        type Break = fn(&mut Config);
        let breaks: [(&str, Break); 4] = [
            ("clients_max", |c| c.clients_max = 0),
            ("packet_bytes_max", |c| c.packet_bytes_max = 1_023),
            ("queue_messages_max", |c| c.queue_messages_max = 0),
            ("queue_bytes_max", |c| c.queue_bytes_max = c.packet_bytes_max - 1),
        ];
        for (field, break_it) in breaks {
            let mut config = Config::default();
            break_it(&mut config);
            let error = config.check().expect_err(field).to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
