//! draft
pub mod cache;
pub mod coherence;
pub mod document;
pub mod error;
pub mod id;
pub mod key;
pub mod limits;
pub mod money;
pub mod status;
