//! The commands of the REPLs: one table of verbs each, and what is made from it.
//!
//! [`spec`] says what a verb is; [`admin`], [`shop`] and [`kv`] are the tables, [`shared`] what they have in common; [`words`], [`call`] read a line by
//! them, [`help`] and [`near`] explain. Completion, hints and highlighting ([`crate::repl`]) read the same tables.

pub mod admin;
pub mod call;
pub mod help;
pub mod key;
pub mod kv;
pub mod near;
pub mod shared;
pub mod shop;
pub mod spec;
pub mod words;

#[cfg(test)]
mod tests;
