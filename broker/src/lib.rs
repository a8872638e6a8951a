//! The embedded MQTT 5 broker: what `feira up` and `feira demo` use where no mosquitto is configured.
//!
//! The bus of feira is never a correctness mechanism (DESIGN 7, decision 0003): a message that it loses costs a
//! portal latency, not truth. So this broker keeps everything in memory, and a restart forgets sessions, retained
//! messages and queues.
//!
//! Promises: it binds where [`Config`] says, on loopback unless told otherwise; each queue, message and count has
//! a limit ([`limits`]); a bind that fails is an error that says what to do; [`serve()`] ends within
//! [`limits::STOP_GRACE`] of being told to.
//!
//! Leaves out: TLS, WebSocket, QUIC, passwords, bridges, persistence. Whoever needs one of them runs mosquitto.
//!
//! It is a crate of its own because the crate `mqtt5` is slow to build.

mod config;
mod error;
pub mod limits;
mod serve;

pub use config::Config;
pub use error::Error;
pub use serve::serve;
