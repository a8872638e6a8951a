//! Reaching servers: portals with retries under one request id, store nodes one by one.

pub mod effort;
pub mod joint;
pub mod matter;
pub mod named_channel;
pub mod nodes;
pub mod open_requests;
pub mod places;
pub mod portals;
pub mod request;
pub mod settle;
pub mod stranger;
pub mod whose;

#[cfg(test)]
mod tests;
