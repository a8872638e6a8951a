//! The proof that goes with a packet.

use store_keys::{Cookie, Hello, Mac};

/// The proof of a packet, and what it says of the session.
#[derive(Clone, Debug)]
pub(crate) struct Seal {
    pub(crate) hello: Hello,
    pub(crate) cookie: Cookie,
    pub(crate) number: u64,
    /// Of an answer.
    pub(crate) part: u64,
    pub(crate) mac: Mac,
}
