//! The embedded MQTT 5 broker: what `feira up` and `feira demo` use where no mosquitto is configured.
//!
//! ```text
//!   socket ─► Guard ─► Client (handshake, reads, writes) ◄─► Hub: sessions, filters, retained messages
//! ```
//!
//! The bus of feira is never a correctness mechanism (decision 0003): a message that it loses costs a portal latency, not
//! truth. So this broker keeps everything in memory, and a restart forgets sessions, retained messages and queues.
//!
//! Has: QoS 0 and 1, wildcards, shared subscriptions, message and session expiry, user properties, response topic and
//! correlation data, subscription identifiers, retained messages, wills, keepalive, receive maximum, packet size on both
//! sides. Promises: it binds where [`Config`] says, on loopback unless told otherwise; clients can make it hold a bounded
//! number of bytes only ([`limits`]), and a client that does not read loses its oldest messages first; a failed bind
//! is an error with a remedy; [`serve()`] ends within [`limits::STOP_GRACE`] of its stop signal.
//!
//! Leaves out: QoS 2, topic aliases, TLS, WebSocket, passwords, bridges, persistence. For these, run mosquitto.

mod client;
mod config;
mod error;
mod hub;
pub mod limits;
mod message;
mod serve;
mod session;
mod topic;
mod tree;
mod wire;

pub use config::Config;
pub use error::Error;
pub use serve::serve;
