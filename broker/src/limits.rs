//! Every bound of the broker, and how they relate. The ones that configuration may change are its defaults.

use std::time::Duration;

/// Bytes of one packet, headers included: the largest order with room to spare.
pub const PACKET_BYTES_MAX: usize = 1 << 20;
/// The smallest packet limit that makes sense.
pub const PACKET_BYTES_MIN: usize = 1_024;
/// Bytes of a packet that need no room of their own while they come.
pub const PACKET_BYTES_FREE: usize = 4 << 10;
/// How long a packet may take to come, from its first byte.
pub const PACKET_TIME_MAX: Duration = Duration::from_secs(20);

/// Messages waiting for one client; the oldest goes when another comes.
pub const QUEUE_MESSAGES_MAX: usize = 10_000;
/// Bytes waiting for one client, those sent and not acknowledged included; the oldest goes when they are exceeded.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Bytes of all messages that the broker holds. When they are used up, whoever has most waiting loses his oldest.
pub const HELD_BYTES_MAX: usize = 48 << 20;
/// Bytes of a message's properties.
pub const PROPERTIES_BYTES_MAX: usize = 16 << 10;
/// What a message costs beside its bytes, about.
pub const MESSAGE_COST_BYTES: usize = 256;

/// QoS 1 messages sent to one client and not yet acknowledged.
pub const IN_FLIGHT_MAX: u16 = 256;
/// And their bytes, or one message.
pub const IN_FLIGHT_BYTES_MAX: usize = 4 << 20;
/// Answers on their way to one client; while there are more, nothing is read from it.
pub const ANSWERS_MAX: usize = 64;
/// Small messages are written together, up to so many bytes.
pub const WRITE_BYTES: usize = 16 << 10;
/// A client that takes nothing for this long is cut.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(30);

/// Sessions, those that outlive their connections included.
pub const SESSIONS_MAX: usize = 1_024;
/// Topic filters of one client.
pub const SUBSCRIPTIONS_MAX: usize = 256;
/// Bytes that they may cost together.
pub const SUBSCRIPTION_BYTES_MAX: usize = 64 << 10;
/// What a level of a filter costs beside its bytes, about.
pub const LEVEL_COST_BYTES: usize = 128;
/// Bytes of a topic or a filter.
pub const TOPIC_BYTES_MAX: usize = 1_024;
/// Levels of a topic or a filter.
pub const TOPIC_LEVELS_MAX: usize = 32;
/// Bytes of a client's id.
pub const CLIENT_ID_BYTES_MAX: usize = 256;

/// Retained messages in all.
pub const RETAINED_MAX: usize = 1_024;
/// Bytes of one retained message.
pub const RETAINED_BYTES_MAX: usize = 64 << 10;
/// Bytes of all of them.
pub const RETAINED_BYTES_ALL_MAX: usize = 8 << 20;

/// A connection must have introduced itself within this.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a session outlives its connection at most, and a will waits. Portals never resume one.
pub const SESSION_EXPIRY: Duration = Duration::from_secs(60);
/// So often wills that are due and sessions that are over are looked for.
pub const SWEEP: Duration = Duration::from_secs(1);
/// How long a stop waits for connections to end before they are cut.
pub const STOP_GRACE: Duration = Duration::from_secs(2);

/// File descriptors that the broker needs beside its connections.
pub const DESCRIPTORS_RESERVED: usize = 24;

const _: () = assert!(PACKET_BYTES_MAX >= PACKET_BYTES_MIN, "the default packet limit is accepted");
const _: () = assert!(PACKET_BYTES_FREE <= PACKET_BYTES_MIN * 4);
const _: () = assert!(QUEUE_BYTES_MAX > 2 * PACKET_BYTES_MAX, "messages always fit into a queue");
const _: () = assert!(IN_FLIGHT_BYTES_MAX < QUEUE_BYTES_MAX && QUEUE_BYTES_MAX < HELD_BYTES_MAX);
const _: () = assert!(RETAINED_BYTES_MAX <= PACKET_BYTES_MAX, "what is retained was a packet");
const _: () = assert!(
    RETAINED_BYTES_ALL_MAX < HELD_BYTES_MAX / 2,
    "what is retained leaves room for what is on its way"
);
