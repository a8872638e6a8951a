//! Every bound of what is written and read here, with the relations between them checked at build time.
//! Promises nothing about what a caller may configure beyond [`crate::Options`]; leaves the store's own limits
//! (keys, values, transactions) to the crates that know them.

/// Bytes of a log file's or a snapshot's header: one disk sector, so that no later write shares it.
pub const FILE_HEADER_BYTES: usize = 512;

/// Largest payload of one entry.
pub const ENTRY_PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Largest batch, its header and its end mark included.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// Most entries in one batch.
pub const BATCH_ENTRIES_MAX: usize = 1 << 16;

/// Largest log file; the writer rolls long before.
pub const LOG_FILE_BYTES_MAX: u64 = 64 << 30;

/// Log files are extended by this many zero bytes at a time, unless configured otherwise.
pub const PREALLOCATE_BYTES_DEFAULT: u64 = 4 << 20;

/// Largest configurable extension.
pub const PREALLOCATE_BYTES_MAX: u64 = 1 << 30;

/// Longest cluster id.
pub const CLUSTER_ID_BYTES_MAX: usize = 64;

/// Longest boot id (Linux's has 36 characters).
pub const BOOT_ID_BYTES_MAX: usize = 64;

/// Largest block of a snapshot.
pub const SNAPSHOT_BLOCK_BYTES_MAX: usize = 256 << 10;

/// Largest snapshot file.
pub const SNAPSHOT_BYTES_MAX: u64 = 1 << 40;

/// Most bytes one read of the log asks of the disk at once (a single larger batch is read whole).
pub const READ_BYTES_MAX: usize = 8 << 20;

/// Highest number of a log file or snapshot: no chain of installs can make the next one overflow.
pub const FILE_NUMBER_MAX: u64 = 1 << 48;

/// So many of the newest snapshots, and of the newest log files, are kept, unless configured otherwise.
pub const FILES_KEPT_DEFAULT: usize = 3;

/// Most of each that can be kept.
pub const FILES_KEPT_MAX: usize = 1_000;

/// A slow replica keeps at most so many times the log files that are kept anyway.
pub const FILES_FOR_PEERS: usize = 2;

/// Bytes copied or scanned at a time.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

const _: () = assert!(BATCH_BYTES_MAX > ENTRY_PAYLOAD_BYTES_MAX + 1024, "the largest entry fits in a batch");
const _: () = assert!(BATCH_BYTES_MAX <= u32::MAX as usize, "a batch's length fits its field");
const _: () = assert!(BATCH_ENTRIES_MAX <= u32::MAX as usize, "a batch's count fits its field");
const _: () = assert!(READ_BYTES_MAX >= BATCH_BYTES_MAX, "every batch can be read");
const _: () = assert!(LOG_FILE_BYTES_MAX > PREALLOCATE_BYTES_MAX + BATCH_BYTES_MAX as u64);
const _: () = assert!(CLUSTER_ID_BYTES_MAX <= u8::MAX as usize && BOOT_ID_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(SNAPSHOT_BLOCK_BYTES_MAX < CHUNK_BYTES, "a block fits the reading window");
const _: () = assert!(FILES_KEPT_DEFAULT >= 1 && FILES_KEPT_DEFAULT <= FILES_KEPT_MAX);
