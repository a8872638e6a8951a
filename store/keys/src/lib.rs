//! The cluster key: the secret that tells members, operators and portals of one cluster from strangers.
//!
//! A cluster is founded with a random [`ClusterId`] and a [`Secret`] of 32 bytes. Both stand in its [`KeyFile`], beside
//! the configuration and in each node's folder. Nobody proves the secret itself: from it comes one [`Key`] a [`Purpose`]
//! (HKDF-SHA-256, RFC 5869), and what is said carries a [`Mac`] (HMAC-SHA-256, RFC 2104) under the key of its purpose:
//!
//! ```text
//!  cluster.key ── secret ──┬─ peer ─────► calls and streams of `Replication`      nodes
//!                          ├─ operator ─► calls of `Cluster` but `Status`          nodes, operators' tools
//!                          └─ bus ──────► change events, heartbeats and nonces     nodes, portals
//!  portals.key ── the bus key alone: a portal that is taken over can neither vote, push nor change members
//! ```
//!
//! Promises: a key of one purpose proves nothing for another; whatever a MAC covers is unambiguous ([`Covered`] writes
//! lengths); MACs are compared in constant time; secrets are in no `Debug` text and are wiped when dropped. Pure: no
//! files, no clock, no randomness; random bytes are inputs, so that the simulator shares all of it.
//!
//! During a rotation a file holds two secrets: both are believed, the first proves ([`Keys`]).

mod file;
mod id;
mod key;
mod mac;
pub mod operator;
mod session;
mod weakness;

pub use file::{ClusterKey, FILE_BYTES_MAX, FileError, KeyFile, PortalKey, Rotation, SECRETS_MAX};
pub use id::{ClusterId, NotAnId};
pub use key::{KEY_BYTES, Key, KeyId, Keys, Purpose, Secret};
pub use mac::{Covered, MAC_BYTES, Mac, Unproven};
pub use session::{
    Admission, COOKIE_BYTES, Caller, Cookie, End, Hearing, Hello, Kind, NONCE_BYTES, Refused, Responder,
    SESSIONS_MAX, Sealed, Speaking, Welcome,
};
#[cfg(feature = "mutations")]
pub use weakness::{Weakness, weaken};
