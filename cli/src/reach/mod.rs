//! Reaching servers: portals with retries under one request id, store nodes one by one.

pub mod nodes;
pub mod portals;
pub mod request;
