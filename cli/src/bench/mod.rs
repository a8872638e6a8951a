//! `feira bench`: a load on a running cluster, and what came of it in numbers.
//!
//! ```text
//!   args ─► plan ─► load (records, unary, orders, shop)     what one operation is, and what it needs beforehand, in each lane
//!                     │
//!   machine ─► measure: pace (closed loop, or a rate) ─► tally (latencies, errors) · servers (CPU time)
//!                     │
//!                  report: a table, or one document
//! ```
//!
//! Promises: with several numbers of clients, or several ways of asking, the rounds take turns, so that a machine that grows slower is slower for all of
//! them; with a rate the latency counts from the moment at which an operation was due, so that a server that stands still is
//! not asked less; every record that it makes is under `bench/`, or has an id that begins with `bench-`, and stays.

pub mod args;
pub mod kept;
pub mod lane;
pub mod load;
pub mod machine;
pub mod measure;
pub mod orders;
pub mod pace;
pub mod plan;
pub mod reason;
pub mod records;
pub mod report;
pub mod run;
pub mod servers;
pub mod shop;
pub mod tally;
pub mod unary;
