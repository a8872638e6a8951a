//! The administrators' service over a real loopback connection and the real state machine in memory: every operation,
//! its success and each way to fail; cascades, interrupted ones too; health and reflection.
#![allow(clippy::unwrap_used)]

mod clients;
mod damage;
mod deletion;
mod endpoints;
mod fixture;
mod gone;
mod import_order;
mod order_changes;
mod order_moves;
mod orders;
mod products;
mod rules;
mod services;
mod stock;
