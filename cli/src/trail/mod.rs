//! The trail: what was done in the shop, as the feed of events tells it.
//!
//! [`ask`] reads it from the portals of staff; [`view`] shows it, [`explain`] one order's way through it, with the time between.

pub mod ask;
pub mod explain;
pub mod view;
