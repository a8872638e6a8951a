//! One TOML file for a whole cluster, overridden by the environment and by flags, checked before anything starts.

pub mod check;
pub mod environment;
pub mod load;
pub mod nodes;
pub mod ports;
pub mod shape;
pub mod template;
