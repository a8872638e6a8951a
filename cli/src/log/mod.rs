//! `feira log` and `feira snapshot`: what a replica's files hold, and a planted fault for demonstrations.
//!
//! [`show`] asks the node, or reads its folder if it does not run, and [`side_by_side`] does so with all nodes; [`plant`] puts entries into a stopped node's log;
//! [`verify`] and [`snapshot`] check every byte of a node's files, wherever they stand ([`folder`]).

pub mod folder;
pub mod look;
pub mod plant;
pub mod show;
pub mod side_by_side;
pub mod snapshot;
pub mod verify;
