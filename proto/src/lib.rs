//! The schemas of feira, as Rust types, and the rules that every reader of those bytes must share:
//! the encoding and hashes of keys, the allowed sizes, the form of an error.
//!
//! - [`store`]: the store's API, its log, its replication, its change events (`feira.store.v1`);
//! - [`portal`]: the two portals (`feira.portal.v1`);
//! - [`build`]: short ways to write transactions;
//! - [`check`]: the field checks at the admission of every gRPC service;
//! - [`mod@write`]: the single-record writes, spelled as transactions;
//! - [`json`]: the JSON form of the portals' messages;
//! - [`json_fields`]: the fields that are not what their type says there;
//! - [`ring`]: arcs of the ring;
//! - [`keys`]: integers as keys that sort, ids as parts of keys;
//! - [`hash`]: where a key stands on the ring, and digests.
//!
//! `generated/` is written by `cargo xtask protos` from the schemas in `feira/`, and committed.
//!
//! Nothing here does I/O or knows a clock.

pub mod build;
pub mod check;
pub mod hash;
pub mod json;
pub mod json_fields;
pub mod keys;
pub mod ring;
pub mod write;

/// The store (`feira.store.v1`).
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, rustdoc::all)]
pub mod store {
    include!("../generated/feira.store.v1.rs");
}

/// The portals (`feira.portal.v1`).
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, rustdoc::all)]
pub mod portal {
    include!("../generated/feira.portal.v1.rs");
}

/// All schemas as a serialized `FileDescriptorSet`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("../generated/descriptors.bin");
