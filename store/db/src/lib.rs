//! One replica's database: a table (LMDB, or memory), and the state machine that committed entries drive.
//!
//! ```text
//!   committed entries ──► apply ──► replies      exactly once: answers are remembered (replies)
//!                           │
//!                           ├─ txn: guards, operations over an overlay; json: values inside data
//!                           ├─ cross: branches of transactions over several groups; locks, escrow: what they keep
//!                           ├─ cut: the freeze of the group, for one view of all groups
//!                           ▼
//!   one write transaction: records · remembered replies · change feed · where the database stands
//!                           │
//!   reads: query, changes   └─► transfer: the whole state as chunks, out and in; reshard: to the groups of a ring
//! ```
//!
//! The table is a trait ([`table`]) with two forms, [`lmdb`] and [`memory`], and a third that lays newer rows in memory over
//! either ([`layered`]), under one conformance suite ([`suite`]). Everything above it is deterministic: the same entries on the
//! same state give the same rows, the same replies and the same running state hash on every replica, however they are cut into
//! batches, and whatever is held in memory of what recent entries looked up ([`recent`]).
//!
//! **The log makes writes durable, not the table.** LMDB runs without syncing; [`trust`] says when its files on
//! disk may be believed, and [`pages`] looks at them before LMDB does. Otherwise the table is emptied, and the replica starts
//! from a snapshot and the log.
//!
//! A client's mistake is a [`Reply`], part of the state machine; an [`Error`] stops the replica.
//!
//! Leaves out: threads, time, sockets, the log, and whoever coordinates transactions over several groups.

mod appended;
mod apply;
mod applying;
pub mod changes;
pub mod checkpoints;
pub mod cross;
pub mod cut;
mod effects;
mod error;
mod escrow;
mod json;
mod layer;
pub mod layered;
pub mod limits;
pub mod lmdb;
mod locks;
pub mod memory;
pub mod pages;
mod parts;
mod plain_json;
pub mod query;
pub mod recent;
mod record;
mod replies;
pub mod reshard;
mod sessions;
pub mod state;
pub mod suite;
pub mod table;
pub mod transfer;
pub mod trust;
mod txn;

pub use apply::{Reply, apply};
pub use error::{Error, OutOfSpace, Source};
pub use layered::Layered;
pub use lmdb::{Lmdb, Options};
pub use memory::Memory;
pub use recent::Recent;
pub use replies::Refused;
pub use table::{Read, Space, Table, Write};
