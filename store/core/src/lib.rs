//! (prose to come: the protocol told in prose, the named invariants)
#![no_std]
extern crate alloc;

pub mod protocol;
pub mod types;

pub use protocol::*;
pub use types::*;
