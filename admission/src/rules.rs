//! A server's rules for its calls: the treatment of each, and the words of a refusal.

use tonic::Status;

use crate::place::Full;

/// How a call is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Small and quick, and needed most when all is full: health, status.
    Free,
    /// One request, one answer, of about so many bytes together if nothing else is known.
    Call(usize),
    /// A stream of answers, of requests, or of both.
    Stream,
    /// Only members of the group make it. Its connection is a newcomer's until the service has seen that it is one
    /// ([`Place::is_members`](crate::Place::is_members)); from then on nothing is charged to it.
    Members,
}

/// What a server says of its calls.
#[derive(Clone, Copy)]
pub struct Rules {
    /// How a call is treated, by its path.
    pub kind: fn(&str) -> Kind,
    /// Whether the body of a request to this path is one message as it is, and not messages of gRPC behind their lengths.
    pub is_plain: fn(&str) -> bool,
    /// The longest message that is read.
    pub message_bytes_max: usize,
    /// What a caller is told for whom there was no room in time.
    pub full: fn(Full) -> Status,
    /// And one whose request did not come whole in time.
    pub late: fn() -> Status,
}
