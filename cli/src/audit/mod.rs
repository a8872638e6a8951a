//! `feira audit`: the books, at one position of the log, on every replica.
//!
//! [`read`] has the leader write an audit entry and reads from each replica what it held where it applied that
//! entry; [`books`], [`rows`], [`events`] and [`deletions`] check the consistent view (pure); [`run`] is the command. Exit code 1 and the first
//! difference, if there is one. A ring of several shards is judged at one moment ([`crate::cut`]). [`caches`] asks
//! the portals what their samplers found.

pub mod books;
pub mod caches;
pub mod deletions;
pub mod events;
mod minority;
pub mod read;
pub mod rows;
pub mod run;
