//! `feira export` and `feira import` of clients, products, stock and orders, as CSV and as JSON lines.
//!
//! ```text
//!   file ─► encoding (UTF-8, UTF-16, Latin-1) ─► quotes (are the records sound?) ─► table (header, rows) ─┐
//!        └► encoding ─► lines of JSON ────────────────────────────────────────────────────────────────────┤
//!                                                                                                          ▼
//!   portals ◄─ send (look, compare, write) ◄─ entries (no id twice) ◄─ clients · products · stock · orders: one file a form
//!   portals ─► export (pages) ─► clients · products · stock · orders ─► file, in place of the old one at once
//! ```
//!
//! Promises: a line of JSON is the body of the operation that takes it (`InsertClient`, `InsertProduct`, `ImportOrder`); what is
//! exported, imported into an empty shop and exported again has the same bytes; an import that is run again changes nothing, because
//! it looks first; each refused line is told with its number, column and reason, and the others go on; no file is in memory as a
//! whole, only the digests of its ids.
//!
//! Leaves out: the Online Retail form, which is sales and not a shop's own records ([`crate::import`]).

pub mod args;
pub mod cells;
pub mod clients;
pub mod collection;
pub mod encoding;
pub mod entries;
pub mod export;
pub mod import;
pub mod lines;
pub mod number;
pub mod orders;
pub mod products;
pub mod quotes;
pub mod record;
pub mod report;
pub mod send;
pub mod stock;
pub mod table;
pub mod target;

#[cfg(test)]
mod tests;
