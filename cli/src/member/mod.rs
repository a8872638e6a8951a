//! `feira member`: the members of the group, and changes of them, for operators.
//!
//! ```text
//!   run, add, replace ──► place   a node on this machine: its lines in feira.toml, its folders, its process
//!    │    │          └──► change  one change, asked of the leader until it is committed
//!    │    └─────────────► each    one command in several shards, one after the other
//!    └──────────────────► group   the members of one shard's group now; list shows them, rotate gives all another secret
//! ```
//!
//! Promises: a command that was cut off, or whose outcome is not known, may be given again, and goes on where it stopped;
//! no folder is ever deleted or used under another's identity; every wait is bounded (`--wait`) and told on standard error.
//! The leader decides which change is allowed; this only asks.

pub mod add;
pub mod change;
pub mod each;
pub mod group;
pub mod list;
pub mod place;
pub mod replace;
pub mod rotate;
pub mod run;
