//! One replica without threads, sockets or clock.
//!
//! The protocol is a pure function ([`store_core::Replica::step`]), the log and the table are bytes on a disk
//! ([`store_log`], [`store_db`]). This crate lies between: *stages*, objects with one method that does a bounded piece
//! of work and returns duties for other stages. `store/server` wraps each stage in a thread and
//! puts queues between them; the simulator polls them by hand, in any order, in one thread. Neither needs to know
//! the inside of a stage, and no stage knows its driver.
//!
//! ```text
//!              Job                                WriterJob
//!  clients ──► inbox ─►┌────────────┐───────────────────────►┌────────┐
//!  peers   ──►         │    Node    │◄── Job ────────────────│ Writer │ append all waiting entries, ONE sync
//!  ticks   ──►         │ (the core) │                        └────────┘
//!                      │            │   ApplierJob
//!  answers ◄───────────│            │───────────────────────►┌─────────┐
//!                      └─────┬──────┘◄── ApplierOut ─────────│ Applier │ committed entries, in order
//!                            │ ReplicatorJob                 └────┬────┘
//!                            ▼ (a mailbox that coalesces)         └──► replies, changes, audits, snapshots
//!                      ┌────────────┐
//!                      │ Replicator │ one a peer: the entries that the core wants pushed, within limits
//!                      └────────────┘
//! ```
//!
//! # The driver's duties
//!
//! It opens a replica ([`open`]), then for ever: collects [`Job`]s and polls the [`Node`]; hands each [`NodeOut`]
//! to its receiver; polls [`Writer`] and [`Applier`] while they have jobs (and the applier while it says that
//! there is more); polls each [`Replicator`] after a post to its mailbox, while its stream has room. A driver
//! translates, it does not decide:
//!
//! | from | goes to |
//! |---|---|
//! | [`NodeOut::SaveBallot`] | the ballot's writer, which never waits for the log's |
//! | [`NodeOut::Write`] | the writer's queue, in order |
//! | [`NodeOut::Apply`] | the applier's queue, in order |
//! | [`ToPeer::Replicator`] | that peer's [`ReplicatorInbox::post`] |
//! | [`ToPeer::Reply`] | the push stream that this peer opened to us (lost if there is none) |
//! | [`ToPeer::Vote`] | a `Vote` call to, or the answer of the `Vote` call from, that peer |
//! | [`NodeOut::Answer`] | the client with this request id |
//! | [`NodeOut::Quarantined`] | the readers of the table: not from here on, or again |
//! | [`ApplierOut::Checkpoint`], [`ApplierOut::Replaced`] | the node's inbox, as the [`Job`]s of these names |
//! | the writer's outs, which are [`Job`]s | the node's inbox |
//! | [`ApplierOut::Applied`], [`ApplierOut::Imported`] | the node's inbox, as the [`Job`]s of these names |
//! | [`ApplierOut::Answer`] | the client with this request id |
//! | [`ApplierOut::Paused`] | a background thread, which opens its read transaction and *then* has [`Applier::resume`] called |
//!
//! Any error that a stage returns is fatal for the replica: an fsync that failed is not tried again, an entry that
//! could not be applied is not skipped. The process ends, and recovery begins anew from the disk.
//!
//! # Promises
//!
//! - *Each request id is answered exactly once*, by the node or by the applier: [`Answer`] says whether it can have
//!   happened. Requests for undecided entries are answered [`Answer::Unknown`] when leadership is lost.
//! - *A ballot is on disk before any later output of the core leaves the node.*
//! - *All waiting writes become one append and one sync* on each replica.
//! - *Nothing is applied before its commit order*, and everything in the log's order, one table transaction a batch.
//! - *Every queue is bounded*: clients' requests by admission, entries in flight to a peer by the
//!   core's window, work for a replicator by coalescing (it holds a cursor, not messages).
//!
//! # What it leaves out
//!
//! Threads, sockets, TLS, gRPC, addresses, MQTT: `store/server`. Elections and commits: `store/core`.
//!
//! # Order in a driver
//!
//! - A push stream to a peer was lost or is about to be opened: [`ReplicatorInbox::disconnected`] first, then
//!   [`Job::Reconnected`].
//! - [`ApplierOut::Paused`]: open the read transaction, then [`Applier::resume`] and poll it.
//! - [`ToPeer::FetchSnapshot`]: [`Snapshots::receive`], write the parts, [`Snapshots::received`], then
//!   [`Job::SnapshotFetched`].
//! - Files: [`snapshots`] has the steps of taking and of installing a snapshot, and the state after a crash at each.

mod applier;
mod arrival;
pub mod backup;
mod ballot_writer;
mod cache;
mod changing;
mod claims;
pub mod clock;
pub mod convert;
mod error;
pub mod front;
mod headroom;
pub mod job;
pub mod limits;
mod log_clock;
mod member_versions;
pub mod memory;
mod node;
mod open;
mod peer_job;
pub mod publisher;
mod replicator;
pub mod reshard;
mod schedule;
mod shared_log;
mod snapshots;
mod source;
mod standing;
mod start;
pub mod states;
mod status;
mod voter_clocks;
mod waiting;
mod writer;

pub use applier::Applier;
pub use ballot_writer::BallotWriter;
pub use clock::Clock;
pub use error::Error;
pub use headroom::Reserve;
pub use job::{
    Answer, Applied, ApplierJob, ApplierOut, ChangeRequest, Imported, Job, NodeOut, Pause, Reply, Report,
    RequestId, Shortage, WriterJob,
};
pub use node::Node;
pub use open::{Engine, OpenConfig, Recovery, Replicators, bootstrap, join, open};
pub use peer_job::{ReplicatorJob, ReplicatorOut, ToPeer};
pub use replicator::{Polled, Replicator, ReplicatorInbox};
pub use schedule::Policy;
pub use snapshots::{Snapshots, Streaming, snapshot_contents};
pub use standing::Vintage;
pub use start::NodeConfig;
pub use status::Status;
pub use voter_clocks::ClockApart;
pub use writer::Writer;
