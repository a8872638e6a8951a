//! The cluster's key file: its places on a machine, its making, and the copies that nodes and portals follow.

pub mod follow;
pub mod make;
pub mod place;
