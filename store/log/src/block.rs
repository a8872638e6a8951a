//! Blocks and footer of a snapshot, and walking them. Byte by byte in [`crate::format`]. Promises that a walk that
//! reached the end has checked every byte after the header, by the blocks' checksums and by the hash over all, and
//! has unpacked every packed block. Blocks are packed because that pays (docs/decisions/0013).

use bytes::Bytes;
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

const PLAIN_MAGIC: [u8; 4] = *b"fBLK";
const PACKED_MAGIC: [u8; 4] = *b"fBLZ";
/// Bytes of a packed block's data before the packed bytes: the length of what they unpack to.
const PLAIN_LENGTH_BYTES: usize = 4;
const FOOTER_MAGIC: [u8; 8] = *b"feiraEND";

/// What the blocks written or read so far add up to.
#[derive(Clone)]
pub(crate) struct Totals {
    /// How many blocks.
    pub(crate) blocks: u32,
    /// Bytes of data in them, packed as they are.
    pub(crate) data_bytes: u64,
    /// Bytes that they unpack to.
    pub(crate) plain_bytes: u64,
    /// Hash of their bytes, headers included.
    hash: Xxh3,
}

impl Totals {
    /// Of no block.
    pub(crate) fn new() -> Totals {
        Totals { blocks: 0, data_bytes: 0, plain_bytes: 0, hash: Xxh3::new() }
    }

    /// Counts a block with these bytes, header included.
    fn add(&mut self, block: &[u8], plain_bytes: usize) {
        self.hash.update(block);
        self.blocks += 1;
        self.data_bytes += (block.len() - BLOCK_HEADER_BYTES) as u64;
        self.plain_bytes += plain_bytes as u64;
    }

    /// Packs `plain` (room for a header, then data) into `packed` if that makes it shorter, fills in the header of
    /// the next block, and counts it. Returns the whole block: one of the two.
    pub(crate) fn seal<'b>(&mut self, plain: &'b mut [u8], packed: &'b mut Vec<u8>) -> &'b [u8] {
        let plain_bytes = plain.len() - BLOCK_HEADER_BYTES;
        pack(&plain[BLOCK_HEADER_BYTES..], packed);
        let (block, magic): (&mut [u8], _) =
            if packed.len() < plain.len() { (packed, PACKED_MAGIC) } else { (plain, PLAIN_MAGIC) };
        let length = u32::try_from(block.len() - BLOCK_HEADER_BYTES).expect("blocks are small");
        block[..4].copy_from_slice(&magic);
        block[4..8].copy_from_slice(&length.to_le_bytes());
        block[8..12].copy_from_slice(&self.blocks.to_le_bytes());
        let crc = block_crc(block);
        block[12..16].copy_from_slice(&crc.to_le_bytes());
        self.add(block, plain_bytes);
        block
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

/// Fills `packed` with room for a header, the length of `plain`, and `plain` packed.
fn pack(plain: &[u8], packed: &mut Vec<u8>) {
    const START: usize = BLOCK_HEADER_BYTES + PLAIN_LENGTH_BYTES;
    packed.clear();
    packed.resize(START + lz4_flex::block::get_maximum_output_size(plain.len()), 0);
    let length = u32::try_from(plain.len()).expect("blocks are small");
    packed[BLOCK_HEADER_BYTES..START].copy_from_slice(&length.to_le_bytes());
    let written = lz4_flex::block::compress_into(plain, &mut packed[START..]);
    packed.truncate(START + written.expect("there is room for the worst case"));
}

/// Unpacks a packed block's data into `plain`; what is wrong if it cannot be.
fn unpack(data: &[u8], plain: &mut Vec<u8>) -> Result<(), &'static str> {
    let Some((length, packed)) = data.split_at_checked(PLAIN_LENGTH_BYTES) else {
        return Err("a packed block is too short");
    };
    let length = get_u32(length, 0) as usize;
    if length == 0 || length > SNAPSHOT_BLOCK_BYTES_MAX {
        return Err("a packed block's length is impossible");
    }
    plain.clear();
    plain.resize(length, 0);
    match lz4_flex::block::decompress_into(packed, plain) {
        Ok(unpacked) if unpacked == length => Ok(()),
        _ => Err("a packed block cannot be unpacked"),
    }
}

/// A block that was checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    /// Its first byte in the file.
    pub(crate) at: u64,
    /// Bytes of data in the file.
    pub(crate) data_bytes: usize,
    /// Bytes that the data unpacks to.
    pub(crate) plain_bytes: usize,
    /// The data is packed.
    pub(crate) packed: bool,
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
    /// What the last packed block unpacks to.
    plain: Vec<u8>,
}

impl<'a, F: DiskFile> Blocks<'a, F> {
    /// Begins after the header.
    pub(crate) fn new(file: &'a F, name: &'a str) -> Result<Blocks<'a, F>, Error> {
        let window = Window::new(file, name)?;
        Ok(Blocks { window, name, place: FILE_HEADER_BYTES as u64, totals: Totals::new(), plain: Vec::new() })
    }

    /// The place after what was walked over: whole blocks, and the footer once the end was reached.
    pub(crate) fn place(&self) -> u64 {
        self.place
    }

    /// What was walked over adds up to this.
    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The next block, after its checksum was verified and it was unpacked; `None` once the footer, which must be
    /// of `position`, was verified and ends the file.
    pub(crate) fn step(&mut self, position: Position) -> Result<Option<Block>, Error> {
        let place = self.place;
        let head = self.window.get(place, BLOCK_HEADER_BYTES)?;
        let packed = head.starts_with(&PACKED_MAGIC);
        if head.len() >= 4 && !packed && !head.starts_with(&PLAIN_MAGIC) {
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
        if packed {
            let unpacked = unpack(&block[BLOCK_HEADER_BYTES..], &mut self.plain);
            unpacked.map_err(|problem| Error::damaged(self.name, place, problem))?;
        }
        let plain_bytes = if packed { self.plain.len() } else { length };
        self.totals.add(block, plain_bytes);
        self.place = place + (BLOCK_HEADER_BYTES + length) as u64;
        Ok(Some(Block { at: place, data_bytes: length, plain_bytes, packed }))
    }

    /// The next block's data itself, unpacked.
    pub(crate) fn step_data(&mut self, position: Position) -> Result<Option<Bytes>, Error> {
        let Some(block) = self.step(position)? else { return Ok(None) };
        if block.packed {
            return Ok(Some(Bytes::copy_from_slice(&self.plain)));
        }
        let data = self.window.get(block.at + BLOCK_HEADER_BYTES as u64, block.data_bytes)?;
        Ok(Some(Bytes::copy_from_slice(data)))
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
