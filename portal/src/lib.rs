//! The library of both portals: documents, money, ids, the coherent cache, the bus, errors, start and stop.
//!
//! ```text
//!   request ─► ids, documents (checked) ─► reader ──► cache ◄── coherence ◄── bus (MQTT)
//!                       │                    │ miss, bypass
//!                       ▼                    ▼
//!                    change ──► attempt ──► Store (one transaction, exactly once)
//! ```
//!
//! Three rules hold everywhere:
//! - **Writes never trust the cache.** Every fact behind a decision is a guard of the transaction.
//! - **Neither do refusals.** Each comes out of a failed guard, or was read from the store for it.
//! - **The bus is never a correctness mechanism.** Without it, or against it, a portal only reads the store more often.
//!
//! From the bottom: `limits`, `error` and `status` (the one table of errors); `money`, `id`, `key`, `document` (the stored
//! records); `index` (the rows by which lists are sorted: pure); `lookup` (the stored id that a request means); `coherence` (trust in a cache: pure) and `cache`; `session` (what a client has seen); `handle`,
//! `reader`, `attempt`, `change`, `order_refusal`, `import_refusal`, `order_write`, `order_change`, `order_move`, `order_import`, `expectation`, `settle`, `page`, `list`, `products` (the parts of operations); `event_place` and `feed` (what was done, as it is told); `shop`, `listing`, `sweeper`, `deletion` (what a portal tends to by itself); `config`, `bus`,
//! `sampler`, `serve`. The operations
//! themselves are in `admin-portal` and `client-portal`. `docs/SCHEMA.md` describes keys, records, invariants and errors
//! for people.

mod admitted;
pub mod attempt;
mod broker_socket;
pub mod bus;
pub mod cache;
pub mod calendar;
pub mod change;
pub mod coherence;
pub mod config;
pub mod deletion;
pub mod document;
pub mod error;
pub mod event_place;
pub mod expectation;
pub mod feed;
mod front;
pub mod handle;
pub mod id;
pub mod import_refusal;
pub mod index;
pub mod key;
pub mod limits;
pub mod list;
pub mod listing;
mod log_time;
pub mod lookup;
mod lost_connection;
mod marks;
pub mod meant;
pub mod money;
pub mod operation;
pub mod order_change;
pub mod order_import;
pub mod order_move;
pub mod order_refusal;
pub mod order_row;
pub mod order_write;
pub mod page;
pub mod products;
pub mod reader;
mod refilling;
pub mod sampler;
mod samples;
pub mod serve;
pub mod session;
pub mod settle;
pub mod shop;
pub mod status;
mod stock_completion;
pub mod sweeper;
pub mod transport;

pub use crate::config::Config;
pub use crate::error::Error;
pub use crate::handle::Portal;
