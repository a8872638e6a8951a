//! The front of a replica: what becomes of a client's request before the node has it, and of what the node and the applier say
//! before the client hears it. Pure: no thread, socket or clock. The server puts it between its streams and its queues, the
//! simulator between its own.
//!
//! ```text
//!  client ──► admit ──► Stream::enter ──► Job ──► node, applier
//!         ◄── response_of, reads::run ◄── Stream::take ◄── NodeResponse
//! ```
//!
//! Promises: a request that is wrong, or that is not for this node, is answered at once and never reaches the node; each
//! that does is answered once; writes of a stream are executed in the order sent or not at all ([`Stream`]).
//!
//! Leaves out: budgets of bytes and connections, and who waits for whom (`store/server`).

pub mod reads;
mod request;
mod response;
mod stream;

pub use self::request::{
    Admitted, PendingRequest, Standing, admit, check_clock, check_times, client_command, command_of, is_cross,
};
pub use self::response::{Hint, NodeResponse, change_refused, failure_of, locked, reply_of, response_of};
pub use self::stream::{REQUEST_COST_BYTES, Stream, Waiting};
