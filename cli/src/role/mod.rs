//! One role of the cluster in the foreground: a store node, a portal, the broker.
//!
//! Each turns its part of the configuration into its crate's own, serves until SIGTERM, SIGINT, SIGHUP or (under
//! `feira up`) the end of standard input, and stops gracefully. Logs go to standard error.

pub mod broker;
pub mod logging;
pub mod login;
pub mod portals;
pub mod signals;
pub mod stop;
pub mod store;
