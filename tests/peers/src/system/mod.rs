//! The systems that are measured: how each is set up, started in an empty folder, and known to be ready.

pub mod all;
pub mod etcd;
pub mod feira;
pub mod postgres;
pub mod ready;
pub mod redis;
