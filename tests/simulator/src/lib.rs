//! The whole store and the shop on it, simulated: one seed, one run.
//!
//! The production crates run in here unchanged: the core, the log, the state machine, the engine, and the portals that
//! turn orders into transactions. Simulated is only their ground: time, the network, the disk, the machines;
//! and a driver around each engine that does, in one thread, what `store/server` does with many.
//!
//! ```text
//!   registers, lists        shoppers, staff
//!        │ sessions            │ production portals        one executor, one thread
//!        └──────── handle ─────┘
//!                    │ streams that break, delays, losses
//!              ┌─────▼─────┐   packets   ┌───────────┐
//!              │ admission │◄───────────►│ admission │     driver: queues around the stages
//!              │ Node      │             │ …         │     oracle: sees all, asks nobody
//!              │ Writer    │             │           │
//!              │ Applier   │             │           │
//!              └───┬───┬───┘             └───────────┘
//!             SimDisk  table (layers over Memory)
//! ```
//!
//! A run has a phase with faults, decided beforehand by the seed (`faults`, `plan`), and a phase of healing in which
//! the cluster must answer and become one again within bounded simulated time. The oracle checks the named invariants
//! at every event that could break one; `check` checks what clients were told against what the store holds.
//!
//! Promises: the same plan gives the same run, event for event. A failing run tells its seed, the promise that was
//! broken, when, and the last events; [`shrink`] looks for a smaller one.
//!
//! Leaves out: LMDB (its form in memory is used: a machine crash loses it whole), gRPC, threads,
//! and faults of more than a minority of disks.

mod answers;
mod bus;
mod changes;
mod check;
mod clients;
mod clocks;
mod counters;
mod crossing;
mod delivery;
mod driver;
mod electorate;
mod fault_injection;
pub mod faults;
mod feed;
mod fetching;
mod folder;
mod handle;
mod hangs;
pub mod history;
mod holds;
pub mod hunt;
mod kv_service;
mod life;
mod linear;
mod made;
mod network;
mod newcomers;
mod nodes;
mod opening;
mod operator;
mod oracle;
mod outcomes;
mod pauses;
mod peer_connections;
pub mod plan;
mod proofs;
mod publisher;
mod publishing;
mod pulse;
mod readers;
mod registers;
pub mod ring;
mod roaming;
pub mod run;
pub mod score;
mod seal;
mod shop;
pub mod shrink;
mod stage;
mod strangers;
mod table;
pub mod tally;
mod tasks;
pub mod time;
mod trace;
mod transfer;
mod unnamed;
pub mod violation;
mod world;

pub use faults::{Fault, Kind};
pub use oracle::Seen;
pub use plan::{Plan, Planted};
pub use run::{Outcome, run};
pub use violation::Violation;
