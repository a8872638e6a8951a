//! `feira shop`: the shoppers' REPL.
//!
//! [`session`] binds verbs to calls; [`orders`] makes the calls; [`view`] shows the answers.

pub mod orders;
pub mod session;
pub mod settled;
pub mod via;
pub mod view;
