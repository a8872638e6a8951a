//! The `Kv` service: checks at the door, then the node; and the way back.

mod changes;
mod door;
mod outbox;
mod pipeline;
mod unary;

pub(crate) use changes::stream as follow_changes;
pub(crate) use door::{client_command, command_of};
pub(crate) use unary::KvService;
