//! One replica without threads, sockets or clock.
//!
//! The protocol is a pure function ([`store_core::Replica::step`]), the log and the table are bytes on a disk
//! ([`store_log`], [`store_db`]). This crate is what lies between: *stages*, objects that do a bounded piece of
//! work when they are turned, and say what is to be done elsewhere. `store/server` wraps each in a thread and
//! puts queues between them; the simulator turns them by hand, in any order, in one thread. Neither needs to know
//! what happens inside, and nothing inside knows who turns it.
//!
//! ```text
//!              Job                                WriterJob
//!  clients ──► F1 ──►┌────────────┐──────────────────► F2 ──►┌────────┐
//!  peers   ──►       │    Node    │◄── Job ──────────────────│ Writer │ append what waits, ONE sync
//!  ticks   ──►       │ (the core) │                          └────────┘
//!                    │            │   ApplierJob
//!  answers ◄─────────│            │──────────────────► F3 ──►┌─────────┐
//!                    └─────┬──────┘◄── ApplierOut ───────────│ Applier │ committed entries, in order
//!                          │ ReplicatorJob                         └────┬────┘
//!                          ▼ (a mailbox that coalesces)           └──► replies, changes, audits, snapshots
//!                       ┌──────┐
//!                       │ Replicator │ one a peer: the entries that the core wants pushed, within limits
//!                       └──────┘
//! ```
//!
//! # What a driver does
//!
//! It opens a replica ([`open`]), then for ever: collects [`Job`]s and turns the [`Node`]; hands each [`NodeOut`]
//! to where it belongs; turns [`Writer`] and [`Applier`] while they have jobs (and the applier while it says that
//! there is more); turns each [`Replicator`] whenever its mailbox was posted to and its stream has room. A driver
//! translates, it does not decide:
//!
//! | from | goes to |
//! |---|---|
//! | [`NodeOut::SaveBallot`] | the ballot's writer, which never waits for the log's |
//! | [`NodeOut::Write`] | the writer's queue (F2), in order |
//! | [`NodeOut::Apply`] | the applier's queue (F3), in order |
//! | [`ToPeer::Replicator`] | that peer's [`ReplicatorInbox::post`] |
//! | [`ToPeer::Reply`] | the push stream that this peer opened to us (lost if there is none) |
//! | [`ToPeer::Vote`] | a `Vote` call to, or the answer of the `Vote` call from, that peer |
//! | [`NodeOut::Answer`] | the client with this request id |
//! | [`NodeOut::Quarantined`] | whoever reads the table: not from here on, or again |
//! | [`ApplierOut::Checkpoint`], [`ApplierOut::Replaced`] | the node's inbox, as the [`Job`]s of these names |
//! | the writer's outs, which are [`Job`]s | the node's inbox |
//! | [`ApplierOut::Applied`], [`ApplierOut::Imported`] | the node's inbox, as the [`Job`]s of these names |
//! | [`ApplierOut::Answer`] | the client with this request id |
//! | [`ApplierOut::Paused`] | a background thread, which opens its read transaction and *then* has [`Applier::resume`] called |
//!
//! Any error that a stage returns is fatal for the replica: an fsync that failed is not tried again, an entry that
//! could not be applied is not skipped. The process ends and recovery sorts it out.
//!
//! # Promises
//!
//! - *Each request id is answered exactly once*, by the node or by the applier: [`Answer`] says whether it can have
//!   happened. Requests for entries whose fate is open when leadership is lost are answered [`Answer::Unknown`].
//! - *A ballot is on disk before anything the core said after it leaves the node.*
//! - *All writes that wait become one append and one sync* on each replica.
//! - *Nothing is applied before its commit order*, and everything in the log's order, one table transaction a batch.
//! - *Every queue is bounded*: what clients may have waiting by admission, what a peer may have in flight by the
//!   core's window, what waits for a replicator by coalescing (it holds a cursor, not messages).
//!
//! # What it leaves out
//!
//! Threads, sockets, TLS, gRPC, addresses, MQTT: `store/server`. Who may lead, what is committed: `store/core`.
//!
//! # Order in a driver
//!
//! - A push stream to a peer was lost or is about to be opened: [`ReplicatorInbox::disconnected`] first, then
//!   [`Job::Reconnected`].
//! - [`ApplierOut::Paused`]: open the read transaction, then [`Applier::resume`] and turn it.
//! - [`ToPeer::FetchSnapshot`]: [`Snapshots::receive`], write what comes, [`Snapshots::received`], then
//!   [`Job::SnapshotFetched`].
//! - Files: [`snapshots`] has the steps of taking and of installing a snapshot, and what a crash after each leaves.

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
mod headroom;
pub mod job;
pub mod limits;
mod log_clock;
pub mod memory;
mod node;
mod open;
mod peer_job;
mod replicator;
mod schedule;
mod shared_log;
mod snapshots;
mod source;
mod standing;
mod start;
mod status;
mod waiting;
mod writer;

pub use applier::Applier;
pub use ballot_writer::BallotWriter;
pub use clock::Clock;
pub use error::Error;
pub use headroom::Reserve;
pub use job::{
    Answer, Applied, ApplierJob, ApplierOut, ChangeAsked, Imported, Job, NodeOut, Pause, Reply, Report,
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
pub use writer::Writer;
