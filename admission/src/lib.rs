//! Bounds on the connections and bytes of one listening socket, the same at nodes, portals and the broker.
//!
//! ```text
//!   socket ─► Guard::accept ─► Connection (holds a place: newcomer ─► user ─► member)
//!                                  │
//!                 gRPC requests ─► Admission (layer) ─► Incoming: once a request has come whole it is
//!                                  │                    work, and is charged for its answer
//!                 answers ◄─────── Outgoing: a charge until the caller's socket has taken them
//! ```
//!
//! Promises: a process never holds more connections than its file descriptors allow, with some left for what it does
//! beside; a newcomer finds a place as long as somebody idles; members of the group and connections that work keep
//! theirs; a request that has not come whole takes no place of a user and no room for an answer, and ends in time if it is no
//! stream's; answers that nobody takes, and requests that never end, are bounded in bytes for each connection and for the
//! process; the longest holder of that budget that takes nothing is cut when others need it; no line is logged
//! faster than once a second.
//!
//! Leaves out: the identity of a caller. A layer above says which calls only members make.

mod accept;
mod arrival;
pub mod body;
pub mod budget;
pub mod connection;
pub mod descriptors;
pub mod guard;
pub mod incoming;
pub mod layer;
pub mod limits;
pub mod place;
pub mod repeated;
pub mod rules;
mod seat;

pub use connection::Connection;
pub use guard::Guard;
pub use layer::Admission;
pub use limits::Limits;
pub use place::{Place, Work};
pub use repeated::Repeated;
pub use rules::{Kind, Rules};
