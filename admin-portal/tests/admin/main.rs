//! The administrators' service over a real loopback connection and the real state machine in memory: every operation,
//! its success and each way to fail; cascades, interrupted ones too; health and reflection.
#![allow(clippy::unwrap_used)]

mod clients;
mod damage;
mod deletion;
mod endpoints;
mod events;
mod fixture;
mod gone;
mod holds;
mod import_order;
mod newest;
mod order_changes;
mod order_moves;
mod orders;
mod products;
mod reindex;
mod rules;
mod sales;
mod services;
mod settle;
mod shop;
mod sorted;
mod stock;
mod taken_up;
