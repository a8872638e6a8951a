//! feira beside etcd, PostgreSQL and Redis: the same work, in turns, on this one machine.
//!
//! ```text
//!   args ─► run ─► system (etcd, postgres, redis, feira)    set up in an empty folder, one at a time
//!            │       └─ process, folder, ports, install
//!            ├─► load ─► measure ─► stats                   peers; feira is driven by its own `feira bench`
//!            ├─► machine, cpu                               before each round, and what others used in it
//!            ├─► failover                                   kills of the leader
//!            └─► record ─► table, plots                     one file of everything, from which all is drawn
//! ```
//!
//! Promises: everything listens on 127.0.0.1, on free ports; every process ends with the bench, whatever ends it, and its folders
//! are removed unless it is killed by force; what is missing is named in one line that says what to do. docs/BENCHMARKS.md says
//! what is held equal and what is not.
//!
//! Leaves out: clusters on several machines, and tuning of the peers beyond what is said there.
#![allow(clippy::print_stdout, clippy::print_stderr)] // It talks to people.

pub mod args;
pub mod cpu;
pub mod failover;
pub mod folder;
pub mod install;
pub mod load;
pub mod machine;
pub mod measure;
pub mod plots;
pub mod ports;
pub mod process;
pub mod record;
pub mod run;
pub mod stats;
pub mod system;
pub mod table;
pub mod wait;
