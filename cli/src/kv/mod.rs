//! `feira kv`: the store's own tool. Asynchronous, as the specification asks: commands are validated, invalid ones
//! reported, valid ones sent without waiting for earlier answers; answers are shown as they come.
//!
//! [`request`] makes a transaction of a command, [`send`] sends it and settles what is unknown, [`view`] shows the
//! answer, [`tool`] is the loop.

pub mod request;
pub mod send;
pub mod tool;
pub mod view;
