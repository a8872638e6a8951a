//! `feira admin`: the administrators' REPL.
//!
//! [`session`] binds verbs to calls; [`clients`] and [`products`] make the calls; [`form`] asks a
//! person for what they lack; [`view`] shows the answers; [`cache`] is the `portal` of both REPLs.

pub mod cache;
pub mod clients;
pub mod form;
pub mod paging;
pub mod products;
pub mod session;
pub mod view;
