//! `feira demo`: a cluster in a temporary folder with the example market.
//!
//! On a terminal it opens the shop; without one it plays a tour that a person can follow, asserts each step on what
//! the cluster answers, and succeeds only if all held. [`market`] is the example data, [`stage`] the cluster and
//! the narrator; [`shopping`], [`replication`] and [`failover`] are the acts; [`run`] is the command.

pub mod args;
pub mod failover;
pub mod market;
pub mod replication;
pub mod run;
pub mod shopping;
pub mod stage;
