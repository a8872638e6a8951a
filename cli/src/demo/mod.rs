//! draft
pub mod run;
