//! `feira import`: real, dirty input through the portals.
//!
//! ```text
//!   file ─► rows (lines, fields) ─► classify (valid, or refused and why) ─► plan (clients, products, orders)
//!                                                                            │ bounded, retried, idempotent
//!   refused lines ─► CSV                                          send ◄─────┘ ─► check (totals, stock)
//! ```
//!
//! Everything up to the plan is pure: the counting is tested without a server. A physical line is a record, so
//! that accepted + refused is always the number of lines; a quote that does not close spoils its own line only.

pub mod check;
pub mod classify;
pub mod earlier;
pub mod plan;
pub mod refused;
pub mod report;
pub mod rows;
pub mod run;
pub mod send;

#[cfg(test)]
mod tests;
