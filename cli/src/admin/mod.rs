//! `feira admin`: the administrators' REPL.
//!
//! [`session`] and, for orders, [`order_session`] bind verbs to calls; [`clients`], [`products`] and [`orders`] make the calls;
//! [`stock_rules`] are flags of products, [`shop`] the shop's own rules; [`form`] asks a person for what they lack; [`view`] and [`order_view`] show the answers; [`cache`] is the `portal`
//! of both REPLs; [`reindex`] runs one to its end; [`events`] lists what was done, [`sales`] what was sold.

pub mod asking;
pub mod cache;
pub mod clients;
pub mod events;
pub mod form;
pub mod order_session;
pub mod order_view;
pub mod orders;
pub mod paging;
pub mod products;
pub mod reindex;
pub mod sales;
pub mod session;
pub mod settle;
pub mod shop;
pub mod stock_rules;
pub mod view;
