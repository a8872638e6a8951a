//! The header of a log file. Byte by byte in [`crate::format`]. Promises that a file of another replica is never
//! taken for one of ours: cluster, group, node and incarnation are in every header.

use store_core::{Epoch, Offset, Position};

use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::format::{Put, Take};
use crate::limits::{CLUSTER_ID_BYTES_MAX, FILE_HEADER_BYTES};
use crate::meta::{Meta, same};
use crate::names;

const MAGIC: [u8; 8] = *b"feiraLOG";

/// What a log file says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogHeader {
    /// X of `log.X`.
    pub number: u64,
    /// The log begins here; files of lower numbers are leftovers.
    pub fresh: bool,
    /// The position just before the file's first entry.
    pub base: Position,
    /// The timestamp of the entry there, milliseconds.
    pub base_log_time_ms: i64,
    /// The hash of the batch before the file's first.
    pub hash_before: u64,
}

impl LogHeader {
    /// The header's bytes, in a file of this replica.
    pub(crate) fn encode(&self, meta: &Meta) -> Vec<u8> {
        Put::new(MAGIC)
            .u32(u32::from(self.fresh))
            .u64(meta.group.0)
            .u64(meta.member.node.0)
            .u64(meta.member.incarnation.0)
            .u64(self.number)
            .u64(self.base.epoch.0)
            .u64(self.base.offset.0)
            .i64(self.base_log_time_ms)
            .u64(self.hash_before)
            .text(meta.cluster.as_bytes(), CLUSTER_ID_BYTES_MAX)
            .finish(FILE_HEADER_BYTES)
    }

    /// Opens log file `number` and checks that it is this replica's.
    pub(crate) fn open<D: Disk>(disk: &D, number: u64, meta: &Meta) -> Result<(D::File, LogHeader), Error> {
        let name = names::log_file(number);
        let file = disk.open(&name, false).map_err(|e| Error::of("open", &name, e))?;
        let mut bytes = vec![0; FILE_HEADER_BYTES];
        let read = file.read_at(0, &mut bytes).map_err(|e| Error::of("read", &name, e))?;
        let header = LogHeader::decode(&name, &bytes[..read], meta)?;
        same(&name, "number", &header.number, &number)?;
        Ok((file, header))
    }

    fn decode(name: &str, bytes: &[u8], meta: &Meta) -> Result<LogHeader, Error> {
        let mut take = Take::new(name, bytes, FILE_HEADER_BYTES, MAGIC)?;
        let fresh = take.u32() & 1 == 1;
        same(name, "group", &take.u64(), &meta.group.0)?;
        same(name, "node", &take.u64(), &meta.member.node.0)?;
        same(name, "incarnation", &take.u64(), &meta.member.incarnation.0)?;
        let number = take.u64();
        let base = Position { epoch: Epoch(take.u64()), offset: Offset(take.u64()) };
        let base_log_time_ms = take.i64();
        let hash_before = take.u64();
        let cluster = take.text(CLUSTER_ID_BYTES_MAX).escape_ascii().to_string();
        same(name, "cluster", &cluster, &meta.cluster.to_string())?;
        Ok(LogHeader { number, fresh, base, base_log_time_ms, hash_before })
    }
}
