//! The `Kv` service: validation, then the node; and the way back.

mod changes;
mod outbox;
mod pipeline;
mod unary;
mod validation;

pub(crate) use changes::Answers as Changes;
pub(crate) use changes::stream as follow_changes;
pub(crate) use pipeline::Answers;
pub(crate) use unary::KvService;
pub(crate) use validation::client_command;
