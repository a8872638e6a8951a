//! A replica's identity, in types that carry their limits: [`ClusterId`], [`BootId`], and [`Identity`], a caller's
//! expectation of a folder.

use std::fmt;

use store_core::{GroupId, NodeId};

use crate::error::Error;
use crate::limits::{BOOT_ID_BYTES_MAX, CLUSTER_ID_BYTES_MAX};

/// The cluster's id: 1 to 64 bytes, chosen at bootstrap.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClusterId(Box<[u8]>);

impl ClusterId {
    /// This id.
    ///
    /// # Errors
    /// It is empty or longer than 64 bytes.
    pub fn new(bytes: &[u8]) -> Result<ClusterId, Error> {
        limited("a cluster id", bytes, CLUSTER_ID_BYTES_MAX).map(ClusterId)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

/// The machine's id of one boot: equal ids mean that the kernel, and what it had not yet written to disk, lived
/// on between two starts of the process.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BootId(Box<[u8]>);

impl BootId {
    /// This id.
    ///
    /// # Errors
    /// It is empty or longer than 64 bytes.
    pub fn new(bytes: &[u8]) -> Result<BootId, Error> {
        limited("a boot id", bytes, BOOT_ID_BYTES_MAX).map(BootId)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BootId({self})")
    }
}

fn limited(what: &str, bytes: &[u8], bytes_max: usize) -> Result<Box<[u8]>, Error> {
    if bytes.is_empty() || bytes.len() > bytes_max {
        return Err(Error::Invalid(format!("{what} has 1 to {bytes_max} bytes, not {}", bytes.len())));
    }
    Ok(bytes.into())
}

/// Whose folder a caller expects to open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The group.
    pub group: GroupId,
    /// The node.
    pub node: NodeId,
    /// The newest state-machine version that this program can run; at bootstrap, the one to begin with.
    pub state_machine_version: u32,
}
