//! Every bound of the broker, and how they relate. The ones that configuration may change are its defaults.

use std::time::Duration;

/// Connections at once.
pub const CLIENTS_MAX: usize = 1_024;

/// Bytes of one packet, headers included: the largest order with room to spare.
pub const PACKET_BYTES_MAX: usize = 1 << 20;

/// The smallest packet limit that the broker underneath accepts.
pub const PACKET_BYTES_MIN: usize = 1_024;

/// QoS 1 messages waiting for one client; the oldest goes when another comes.
pub const QUEUE_MESSAGES_MAX: usize = 10_000;

/// Bytes waiting for one client; the oldest goes when they are exceeded.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;

/// Messages on their way to the task that writes to one connection, before the queue above is used.
pub const CHANNEL_MESSAGES_MAX: usize = 1_024;

/// QoS 1 messages sent to one client and not yet acknowledged.
pub const IN_FLIGHT_MAX: u16 = 256;

/// Topic filters of one client.
pub const SUBSCRIPTIONS_MAX: usize = 256;

/// Retained messages in all.
pub const RETAINED_MAX: usize = 1_024;

/// Bytes of one retained message.
pub const RETAINED_BYTES_MAX: usize = 64 << 10;

/// How long a session outlives its connection if the client asks for it. Portals never resume one.
pub const SESSION_EXPIRY: Duration = Duration::from_secs(60);

/// How long a stop waits for connections to end before they are cut.
pub const STOP_GRACE: Duration = Duration::from_secs(6);

const _: () = assert!(PACKET_BYTES_MAX >= PACKET_BYTES_MIN, "the default packet limit is accepted");
const _: () = assert!(QUEUE_BYTES_MAX >= PACKET_BYTES_MAX, "one message always fits into a queue");
const _: () = assert!(RETAINED_BYTES_MAX <= PACKET_BYTES_MAX, "what is retained was a packet");
const _: () =
    assert!(CHANNEL_MESSAGES_MAX >= IN_FLIGHT_MAX as usize, "a window of messages fits the channel");
const _: () = assert!(STOP_GRACE.as_secs() > 5, "the broker underneath drains for 5 s itself");
