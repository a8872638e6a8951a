//! The bytes of every file in a group folder: this page is the specification, and the code below writes and
//! checks headers by it (batches: [`crate::batch`]; blocks: [`crate::block`]). Promises that the bytes of a format
//! version never change (a test compares them with frozen ones). All integers are little endian; a CRC is
//! CRC-32C (RFC 3720, appendix B.4); a hash is xxh3-64 with seed 0.
//!
//! # Names
//!
//! | name | what | replaced by |
//! |---|---|---|
//! | `meta` | the replica's identity; written once | – |
//! | `vote` | epoch and vote | `vote.part`, fsync, rename, fsync of the folder |
//! | `boot` | boot id at the last start, whether its log may have lost its tail, the newest log file | `boot.part`, same |
//! | `fence` | the quarantine: the table is known to be wrong, and why | `fence.part`, same; removed when the table was replaced |
//! | `log.X` | entries after the state in `snap.X`; X = 0, 1, 2 … | `log.X.part`, same; otherwise only appended to |
//! | `snap.X` | the state at exactly the last offset of `log.(X-1)`; X = 1, 2 … | `snap.X.part` or `snap.X.incoming`, same |
//! | `bootstrap` | a bootstrap is under way | removed at its end |
//! | `lock` | locked by the process that has the folder open; empty | – |
//!
//! A `.part` file is an unfinished write and is removed at start; `snap.X.incoming` is a transfer that can go on.
//!
//! # Small files
//!
//! `meta` (256 bytes):
//!
//! | byte | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `feiraMET` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | state-machine version at bootstrap |
//! | 16 | 8 | group |
//! | 24 | 8 | node id |
//! | 32 | 8 | incarnation (random, never 0) |
//! | 40 | 1 | n = length of the cluster id, 1 to 64 |
//! | 41 | 64 | cluster id, then zeros |
//! | 105 | 147 | zeros |
//! | 252 | 4 | CRC of bytes 0 to 251 |
//!
//! `vote` (64 bytes):
//!
//! | byte | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `feiraVOT` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | 1: voted; 0: not |
//! | 16 | 8 | epoch |
//! | 24 | 8 | the node voted for, or 0 |
//! | 32 | 8 | incarnation of the replica, as in `meta` |
//! | 40 | 20 | zeros |
//! | 60 | 4 | CRC of bytes 0 to 59 |
//!
//! `boot` (128 bytes):
//!
//! | byte | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `feiraBOO` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | 1: the log may have lost its tail; 0: it has not |
//! | 16 | 1 | n = length of the boot id, 1 to 64 |
//! | 17 | 64 | boot id, then zeros |
//! | 81 | 8 | the newest log file: `log.X` of this X or a higher one must be there; 0: not said |
//! | 89 | 35 | zeros |
//! | 124 | 4 | CRC of bytes 0 to 123 |
//!
//! `fence` (96 bytes):
//!
//! | byte | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `feiraFNC` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | 0: an operator said so; 1: a majority has another state; 2: the table's own store reported damage |
//! | 16 | 8 | epoch of the position compared, or 0 (here and below: 0 unless byte 12 says 1) |
//! | 24 | 8 | its offset, or 0 |
//! | 32 | 8 | the state hash here, or 0 |
//! | 40 | 8 | that of the majority, or 0 |
//! | 48 | 8 | incarnation of the replica, as in `meta` |
//! | 56 | 36 | zeros |
//! | 92 | 4 | CRC of bytes 0 to 91 |
//!
//! # `log.X`
//!
//! Header (512 bytes):
//!
//! | byte | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `feiraLOG` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | flags; bit 0 *fresh*: the log begins here, files of lower X are leftovers |
//! | 16 | 8 | group |
//! | 24 | 8 | node id |
//! | 32 | 8 | incarnation |
//! | 40 | 8 | X |
//! | 48 | 8 | base epoch: the position just before the first entry of this file |
//! | 56 | 8 | base offset |
//! | 64 | 8 | timestamp of the entry at base, milliseconds (signed) |
//! | 72 | 8 | hash of the last batch of `log.(X-1)`; 0 if fresh |
//! | 80 | 1 | n = length of the cluster id |
//! | 81 | 64 | cluster id, then zeros |
//! | 145 | 363 | zeros |
//! | 508 | 4 | CRC of bytes 0 to 507 |
//!
//! Then batches without gaps, then zeros to the end of the file (preallocated; cut off when the log rolls).
//!
//! Batch: header (72 bytes), body, end mark; its length is a multiple of 8, at most 8 MiB:
//!
//! | byte | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `fBAT` |
//! | 4 | 4 | count of entries, 1 to 65,536 |
//! | 8 | 8 | first offset; the entries have first, first + 1, … first + count − 1 |
//! | 16 | 4 | b = bytes of the body |
//! | 20 | 4 | CRC of the body |
//! | 24 | 8 | this batch's place: its first byte's distance from the start of the file |
//! | 32 | 8 | hash of the whole batch before (header, body, end mark); for the first: byte 72 of the file's header |
//! | 40 | 8 | commit mark: everything up to this offset is known to be committed |
//! | 48 | 8 | durable mark: everything up to this offset was synced when this batch was written |
//! | 56 | 12 | zeros |
//! | 68 | 4 | CRC of bytes 0 to 67 |
//! | 72 | b | body: entries without gaps, then 0 to 7 zeros up to a multiple of 8 |
//! | 72 + b | 8 | end mark `endbatch`: no byte of it is zero |
//!
//! Entry:
//!
//! | byte | size | field |
//! |---|---|---|
//! | 0 | 8 | epoch; never falls along a log |
//! | 8 | 8 | timestamp, milliseconds (signed) |
//! | 16 | 4 | p = bytes of the payload, at most 1 MiB |
//! | 20 | 1 | kind: 1 empty, 2 membership, 3 command |
//! | 21 | 3 | zeros |
//! | 24 | p | payload |
//!
//! # `snap.X`
//!
//! Header (512 bytes):
//!
//! | byte | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `feiraSNP` |
//! | 8 | 4 | format version, 2; in version 1 there are no packed blocks |
//! | 12 | 4 | state-machine version |
//! | 16 | 8 | group |
//! | 24 | 8 | X, as numbered by the replica that holds this copy |
//! | 32 | 8 | epoch of the last entry in it |
//! | 40 | 8 | offset of the last entry in it |
//! | 48 | 8 | timestamp of that entry, milliseconds (signed) |
//! | 56 | 1 | n = length of the cluster id |
//! | 57 | 64 | cluster id, then zeros |
//! | 121 | 387 | zeros |
//! | 508 | 4 | CRC of bytes 0 to 507 |
//!
//! Then blocks: magic (4), bytes of data d, 1 to 262,144 (4), number of the block 0, 1, 2 … (4), CRC of bytes 4
//! to 11 and the data (4), data (d). The magic is `fBLK` for data as it is, or `fBLZ` for packed data: the length of
//! what it unpacks to, 1 to 262,144 (4), and that in the LZ4 block format (`lz4_Block_format.md` of the LZ4
//! project). A block is packed only if that makes it shorter. Then the footer (64 bytes), which ends the file:
//!
//! | byte | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `feiraEND` |
//! | 8 | 8 | count of blocks |
//! | 16 | 8 | bytes of data in all blocks, packed as they are |
//! | 24 | 8 | epoch, as in the header |
//! | 32 | 8 | offset, as in the header |
//! | 40 | 8 | hash of all bytes between header and footer |
//! | 48 | 12 | zeros |
//! | 60 | 4 | CRC of bytes 0 to 59 |
//!
//! The hash leaves the header out so that a replica that installs another's snapshot can give it its own X; the
//! footer repeats the position, so that a header never ends up on another state's blocks.

use crate::error::Error;

/// The version of all formats here but that of snapshots.
pub const FORMAT_VERSION: u32 = 1;

/// The version of snapshots: since 2, blocks may be packed. Version 1 is still read.
pub const SNAPSHOT_FORMAT_VERSION: u32 = 2;

/// Bytes of a magic number.
const MAGIC_BYTES: usize = 8;

/// Builds a fixed-length record: magic, version, fields, zeros, CRC.
pub(crate) struct Put {
    /// What was put so far.
    bytes: Vec<u8>,
}

impl Put {
    /// A record that begins with magic and format version.
    pub(crate) fn new(magic: [u8; MAGIC_BYTES]) -> Put {
        Put::versioned(magic, FORMAT_VERSION)
    }

    /// A record that begins with magic and this format version.
    pub(crate) fn versioned(magic: [u8; MAGIC_BYTES], version: u32) -> Put {
        Put { bytes: magic.to_vec() }.u32(version)
    }

    /// A record that begins with its magic alone.
    pub(crate) fn bare(magic: [u8; MAGIC_BYTES]) -> Put {
        Put { bytes: magic.to_vec() }
    }

    pub(crate) fn u32(mut self, value: u32) -> Put {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Put {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn i64(mut self, value: i64) -> Put {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A length byte, and the text padded to `headroom` bytes.
    pub(crate) fn text(mut self, text: &[u8], headroom: usize) -> Put {
        let length = u8::try_from(text.len()).expect("texts were checked when they were made");
        self.bytes.push(length);
        let end = self.bytes.len() + headroom;
        self.bytes.extend_from_slice(text);
        self.bytes.resize(end, 0);
        self
    }

    /// Pads to `length` and puts the CRC into the last four bytes.
    pub(crate) fn finish(mut self, length: usize) -> Vec<u8> {
        assert!(self.bytes.len() <= length - 4, "the fields fit the record");
        self.bytes.resize(length - 4, 0);
        let crc = crc32c::crc32c(&self.bytes);
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        self.bytes
    }
}

/// Takes the fields of a record that [`Put`] built, after its magic, version and CRC were checked.
pub(crate) struct Take<'a> {
    /// The whole record.
    bytes: &'a [u8],
    /// The next field.
    at: usize,
}

impl<'a> Take<'a> {
    /// Checks length, magic, CRC and version of a record of `file`.
    pub(crate) fn new(
        file: &str,
        bytes: &'a [u8],
        length: usize,
        magic: [u8; MAGIC_BYTES],
    ) -> Result<Take<'a>, Error> {
        Take::versioned(file, bytes, length, magic, FORMAT_VERSION)
    }

    /// The same of a record of any version from 1 to `known`.
    pub(crate) fn versioned(
        file: &str,
        bytes: &'a [u8],
        length: usize,
        magic: [u8; MAGIC_BYTES],
        known: u32,
    ) -> Result<Take<'a>, Error> {
        let mut take = Take::bare(file, 0, bytes, length, magic)?;
        let found = take.u32();
        if !(1..=known).contains(&found) {
            return Err(Error::Version { file: file.to_owned(), what: "format version", found, known });
        }
        Ok(take)
    }

    /// The same of a record without a version, which stands at `at`.
    pub(crate) fn bare(
        file: &str,
        at: u64,
        bytes: &'a [u8],
        length: usize,
        magic: [u8; MAGIC_BYTES],
    ) -> Result<Take<'a>, Error> {
        let Some(bytes) = bytes.get(..length) else {
            let problem = format!("only {} of {length} bytes are there", bytes.len());
            return Err(Error::damaged(file, at, problem));
        };
        if bytes[..MAGIC_BYTES] != magic {
            let name = String::from_utf8_lossy(&magic);
            return Err(Error::damaged(file, at, format!("it does not begin with {name}")));
        }
        if crc32c::crc32c(&bytes[..length - 4]) != get_u32(bytes, length - 4) {
            return Err(Error::damaged(file, at, "its checksum is wrong"));
        }
        Ok(Take { bytes, at: MAGIC_BYTES })
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.at += 4;
        get_u32(self.bytes, self.at - 4)
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.at += 8;
        get_u64(self.bytes, self.at - 8)
    }

    pub(crate) fn i64(&mut self) -> i64 {
        self.u64().cast_signed()
    }

    /// What [`Put::text`] put.
    pub(crate) fn text(&mut self, headroom: usize) -> &'a [u8] {
        let length = usize::from(self.bytes[self.at]).min(headroom);
        let start = self.at + 1;
        self.at = start + headroom;
        &self.bytes[start..start + length]
    }
}

/// The u32 at `at`, which must be inside.
pub(crate) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The u64 at `at`, which must be inside.
pub(crate) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
