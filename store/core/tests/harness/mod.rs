//! A small cluster of bare cores: replicas without engine, disk, network or clock, which scripts and simulations
//! drive one input at a time.
//!
//! It carries out every [`store_core::Output`] as `protocol.rs` says, keeps for each node what its disk would hold
//! (a crash loses the rest), and a queue of messages for each direction of each link. [`oracle`] watches all of
//! it and panics with the name of the invariant that does not hold.
//!
//! It leaves out time: nothing happens unless a test says so. Each test binary uses a part of it.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod carry;
pub(crate) mod chaos;
pub(crate) mod cluster;
pub(crate) mod disk;
pub(crate) mod node;
pub(crate) mod operator;
pub(crate) mod oracle;
pub(crate) mod rounds;
pub(crate) mod script;
pub(crate) mod tables;
pub(crate) mod text;
