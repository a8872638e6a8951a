//! A store node: threads, queues, peer streams and gRPC services around one replica of [`store_engine`], or one of each of several
//! groups; the engine decides everything, this crate only carries.
//!
//! ```text
//!   gRPC Kv ──► kv ──► inbox ───────► node thread ──► queue ► writer thread ─┐ persisted
//!   (unary, pipeline)    ▲   ▲            │  │                               │
//!                        │   └────────────┼──┼───────────────────────────────┘
//!   peers ◄─ connections ┼────────────────┘  └──────► queue ► applier thread ─► answers, applied
//!         ──► service ───┘                                                  │
//!   answers ──► response router ──► the stream or call that asked           └──► background: snapshots, audits
//!   applied ──► reads, Changes, publisher ──► MQTT
//! ```
//!
//! | module | content |
//! |---|---|
//! | `hosted` | the services of all replicas of the process, on one port |
//! | `serve`, `replica`, `nodes`, `stages`, `background` | start and stop; the threads; the handshake of background work |
//! | `bootstrap`, `backup` | the folders of a new cluster, from nothing or from a backup; a backup of a running node |
//! | `inbox`, `queues`, `router` | the node's queue with its lanes; the queues of writers and applier; the way of answers |
//! | `kv`, `reads`, `cluster` | the services for clients and operators |
//! | `peers` | the conversation of replicas, in which a slow one costs nothing |
//! | `publisher` | the change feed over MQTT |
//! | `embedded` | the same replica without a network, as a [`store_client::Store`] |
//!
//! **Costs.** Threads hand each other batches; a batch of answers is one lock and one wake for each stream that
//! waits; reads that are ready together run in one read transaction. Nothing is spent per operation but its own
//! decoding, its entry, and its answer.
//!
//! **Bounds.** Every queue has one, and says in its file what stands behind it. A caller that is too fast is slowed
//! by its own stream's flow control; a peer that is slow, stopped or gone holds a cursor and a few messages.

mod admitted;
mod background;
mod backup;
mod bootstrap;
mod change_waits;
mod cluster;
mod config;
mod cross;
mod describe;
mod disk;
mod embedded;
mod error;
mod folder_use;
mod forward;
mod hosted;
mod inbox;
mod kv;
mod leadership_transfer;
mod log_time;
mod machine_clock;
mod members;
mod nodes;
mod peers;
mod problems;
mod publisher;
mod quarantine;
mod queues;
mod reads;
mod replica;
mod router;
mod serve;
mod shard;
mod shared;
mod stages;
mod stop;
mod taker;
mod thread_to_stream;
mod too_large;
mod trace;

pub use crate::backup::Source;
pub use crate::bootstrap::{
    InitialMember, bootstrap, holds_replica, initial_members, is_bootstrapped, join, random_incarnation,
};
pub use crate::config::{
    Config, Login, Peer, Routing, ShardNodes, group_folder, reachable_address, split_address,
};
pub use crate::describe::line as describe_entry;
pub use crate::embedded::Embedded;
pub use crate::error::Error;
pub use crate::serve::{Ready, serve, serve_all, serve_on};
pub use crate::shard::{RING_VERSION, Shard};
pub use crate::stop::{Stop, Stopper, stop};
