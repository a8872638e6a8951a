//! Blocks and footer of a snapshot, and walking them. Byte by byte in [`crate::format`]. Promises that a walk that
//! reached the end has checked every byte after the header, by the blocks' checksums and by the hash over all.

use std::ops::Range;

use store_core::{Epoch, Offset, Position};
use xxhash_rust::xxh3::Xxh3;

use crate::disk::DiskFile;
use crate::error::Error;
use crate::format::{Put, Take, get_u32};
use crate::limits::{FILE_HEADER_BYTES, SNAPSHOT_BLOCK_BYTES_MAX};
use crate::window::Window;

/// Bytes of a block before its data.
pub(crate) const BLOCK_HEADER_BYTES: usize = 16;
/// Bytes of the footer.
pub(crate) const FOOTER_BYTES: usize = 64;

const BLOCK_MAGIC: [u8; 4] = *b"fBLK";
const FOOTER_MAGIC: [u8; 8] = *b"feiraEND";

/// What the blocks written or read so far add up to.
#[derive(Clone)]
pub(crate) struct Totals {
    /// How many blocks.
    pub(crate) blocks: u32,
    /// Bytes of data in them.
    pub(crate) data_bytes: u64,
    /// Hash of their bytes, headers included.
    hash: Xxh3,
}

impl Totals {
    /// Of no block.
    pub(crate) fn new() -> Totals {
        Totals { blocks: 0, data_bytes: 0, hash: Xxh3::new() }
    }

    /// Counts a block with these bytes, header included.
    fn add(&mut self, block: &[u8]) {
        self.hash.update(block);
        self.blocks += 1;
        self.data_bytes += (block.len() - BLOCK_HEADER_BYTES) as u64;
    }

    /// Fills in the header of the next block (room for it, then its data) and counts it.
    pub(crate) fn seal(&mut self, block: &mut [u8]) {
        let length = u32::try_from(block.len() - BLOCK_HEADER_BYTES).expect("blocks are small");
        block[..4].copy_from_slice(&BLOCK_MAGIC);
        block[4..8].copy_from_slice(&length.to_le_bytes());
        block[8..12].copy_from_slice(&self.blocks.to_le_bytes());
        let crc = block_crc(block);
        block[12..16].copy_from_slice(&crc.to_le_bytes());
        self.add(block);
    }

    /// The footer after these blocks.
    pub(crate) fn footer(&self, position: Position) -> Vec<u8> {
        Put::bare(FOOTER_MAGIC)
            .u64(u64::from(self.blocks))
            .u64(self.data_bytes)
            .u64(position.epoch.0)
            .u64(position.offset.0)
            .u64(self.hash.digest())
            .finish(FOOTER_BYTES)
    }
}

fn block_crc(block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&block[4..12]), &block[BLOCK_HEADER_BYTES..])
}

/// Walks the blocks of a snapshot file, checking each.
pub(crate) struct Blocks<'a, F> {
    /// The file.
    window: Window<'a, F>,
    /// Its name.
    name: &'a str,
    /// The next block.
    place: u64,
    /// What was walked over.
    totals: Totals,
}

impl<'a, F: DiskFile> Blocks<'a, F> {
    /// Begins after the header.
    pub(crate) fn new(file: &'a F, name: &'a str) -> Result<Blocks<'a, F>, Error> {
        let window = Window::new(file, name)?;
        Ok(Blocks { window, name, place: FILE_HEADER_BYTES as u64, totals: Totals::new() })
    }

    /// The place after what was walked over: whole blocks, and the footer once the end was reached.
    pub(crate) fn place(&self) -> u64 {
        self.place
    }

    /// The place of the next block's data, after its checksum was verified; `None` once the footer, which must
    /// be of `position`, was verified and ends the file.
    pub(crate) fn step(&mut self, position: Position) -> Result<Option<Range<u64>>, Error> {
        let place = self.place;
        let head = self.window.get(place, BLOCK_HEADER_BYTES)?;
        if head.len() >= 4 && head[..4] != BLOCK_MAGIC {
            return self.footer(position).map(|()| None);
        }
        if head.len() < BLOCK_HEADER_BYTES {
            return Err(Error::damaged(self.name, place, "the file ends without a footer"));
        }
        let length = get_u32(head, 4) as usize;
        if length == 0 || length > SNAPSHOT_BLOCK_BYTES_MAX || get_u32(head, 8) != self.totals.blocks {
            return Err(Error::damaged(self.name, place, "a block's header is impossible"));
        }
        let block = self.window.get(place, BLOCK_HEADER_BYTES + length)?;
        if block.len() < BLOCK_HEADER_BYTES + length {
            return Err(Error::damaged(self.name, place, "the file ends inside a block"));
        }
        if block_crc(block) != get_u32(block, 12) {
            return Err(Error::damaged(self.name, place, "a block's checksum is wrong"));
        }
        self.totals.add(block);
        self.place = place + (BLOCK_HEADER_BYTES + length) as u64;
        Ok(Some(place + BLOCK_HEADER_BYTES as u64..self.place))
    }

    /// The next block's data itself.
    pub(crate) fn step_data(&mut self, position: Position) -> Result<Option<&[u8]>, Error> {
        let Some(range) = self.step(position)? else { return Ok(None) };
        let bytes = usize::try_from(range.end - range.start).expect("blocks are small");
        self.window.get(range.start, bytes).map(Some)
    }

    fn footer(&mut self, position: Position) -> Result<(), Error> {
        let end = self.place + FOOTER_BYTES as u64;
        let bytes = self.window.get(self.place, FOOTER_BYTES)?;
        let mut take = Take::bare(self.name, self.place, bytes, FOOTER_BYTES, FOOTER_MAGIC)?;
        let same = take.u64() == u64::from(self.totals.blocks)
            && take.u64() == self.totals.data_bytes
            && position == Position { epoch: Epoch(take.u64()), offset: Offset(take.u64()) }
            && take.u64() == self.totals.hash.digest();
        if !same || self.window.length() != end {
            return Err(Error::damaged(self.name, self.place, "the footer does not match the file"));
        }
        self.place = end;
        Ok(())
    }
}
