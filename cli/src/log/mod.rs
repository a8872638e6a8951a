//! `feira log`: what a replica's log holds, and a planted fault for demonstrations.
//!
//! [`show`] asks the node, or reads its folder if it does not run; [`plant`] puts entries into a stopped node's log.

pub mod plant;
pub mod show;
