//! The load on a peer: one operation of each kind of work, the records that it needs beforehand, and the check of the stock.
//!
//! The records are those of `feira bench`: 10,000 of 256 random bytes for put and get; for orders 100 clients, and 1,000
//! products or one, each with more stock than any measurement sells. An order is of one unit: the client and the product exist,
//! the stock suffices, it is taken, and the order is written, all or nothing.

pub mod etcd;
pub mod peer;
pub mod postgres;
pub mod redis;
pub mod shop;
