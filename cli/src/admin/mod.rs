//! `feira admin`: the administrators' REPL.
//!
//! [`session`] binds verbs to calls; [`clients`] and [`products`] make the calls; [`view`] shows the answers.

pub mod clients;
pub mod paging;
pub mod products;
pub mod session;
pub mod view;
