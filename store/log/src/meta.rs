//! The file `meta`: the replica's identity. Written last by [`crate::bootstrap`]: a folder with `meta` is a whole replica. Replaced
//! only when a newer program opens the folder. Byte by byte in [`crate::format`].

use store_core::{GroupId, Incarnation, Member, NodeId};

use crate::atomic_write;
use crate::disk::Disk;
use crate::error::Error;
use crate::format::{Put, Take};
use crate::identity::{ClusterId, Identity};
use crate::limits::CLUSTER_ID_BYTES_MAX;
use crate::names::META;

const MAGIC: [u8; 8] = *b"feiraMET";
const BYTES: usize = 256;

/// A replica's identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    /// The cluster.
    pub cluster: ClusterId,
    /// The group.
    pub group: GroupId,
    /// The node and the incarnation of this very folder.
    pub member: Member,
    /// The last state-machine version of the newest program that has opened the folder: an earlier one refuses it.
    pub state_machine_version: u32,
}

impl Meta {
    /// The bytes of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        Put::new(MAGIC)
            .u32(self.state_machine_version)
            .u64(self.group.0)
            .u64(self.member.node.0)
            .u64(self.member.incarnation.0)
            .text(self.cluster.as_bytes(), CLUSTER_ID_BYTES_MAX)
            .finish(BYTES)
    }

    fn decode(bytes: &[u8]) -> Result<Meta, Error> {
        let mut take = Take::new(META, bytes, BYTES, MAGIC)?;
        let state_machine_version = take.u32();
        let group = GroupId(take.u64());
        let node = NodeId(take.u64());
        let member = Member { node, incarnation: Incarnation(take.u64()) };
        let cluster = ClusterId::new(take.text(CLUSTER_ID_BYTES_MAX))?;
        Ok(Meta { cluster, group, member, state_machine_version })
    }

    /// Refuses a folder that is not what the caller expects.
    pub(crate) fn check(&self, expected: &Identity) -> Result<(), Error> {
        same(META, "cluster", &self.cluster, &expected.cluster)?;
        same(META, "group", &self.group.0, &expected.group.0)?;
        same(META, "node", &self.member.node.0, &expected.node.0)?;
        let (found, known) = (self.state_machine_version, expected.state_machine_version);
        if found > known {
            let what = "state-machine version";
            return Err(Error::Version { file: META.to_owned(), what, found, known });
        }
        Ok(())
    }
}

/// Refuses a field of another identity.
pub(crate) fn same<T: PartialEq + ToString>(
    file: &str,
    field: &'static str,
    found: &T,
    expected: &T,
) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    let (file, found, expected) = (file.to_owned(), found.to_string(), expected.to_string());
    Err(Error::Foreign { file, field, found, expected })
}

/// Reads `meta`; `None` if it is not there. For tools that do not know whose folder it is.
///
/// # Errors
/// It cannot be read, or is damaged.
pub fn read<D: Disk>(disk: &D) -> Result<Option<Meta>, Error> {
    atomic_write::read(disk, META, BYTES)?.map(|bytes| Meta::decode(&bytes)).transpose()
}

/// Writes `meta`, durably.
pub(crate) fn write<D: Disk>(disk: &D, meta: &Meta) -> Result<(), Error> {
    atomic_write::replace(disk, META, &meta.encode(), "meta")
}
