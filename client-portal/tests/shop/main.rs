//! The shoppers' service over a real loopback connection and the real state machine in memory: every operation, its
//! success and each way to fail; lost answers; many clients at once.
#![allow(clippy::unwrap_used)]

mod concurrency;
mod create;
mod endpoints;
mod extra;
mod fixture;
mod lifecycle;
mod lists;
mod modify;
mod repeats;
mod rules;
mod settle;
mod shown;
mod sorted;
