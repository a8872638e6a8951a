//! The ways in and out of a portal beside gRPC: each is a registration of the same list of operations.
//!
//! - [`resource`]: an operation's place in HTTP;
//! - [`asking`]: the side of whoever calls over HTTP;
//! - [`calling`]: one operation asked over a connection;
//! - [`session_channel`]: the calls of one client over a connection;
//! - [`http`]: HTTP/JSON on the port of gRPC;
//! - [`mqtt`]: request and response over a broker; [`mqtt_calling`]: the side of whoever calls;
//! - [`openapi`]: what describes it to programs;
//! - [`problem`]: an error as JSON, there and back.
//!
//! Leaves out: the operations, and gRPC, whose services are in the portals' crates.

pub mod asking;
mod body;
pub mod calling;
pub mod event_stream;
pub mod http;
pub mod mqtt;
pub mod mqtt_calling;
mod mqtt_probe;
pub mod openapi;
pub mod problem;
pub mod resource;
pub mod session_channel;
