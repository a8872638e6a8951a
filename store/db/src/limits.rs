//! Every bound of the state machine, and how they hang together. Those that decide answers are part of the state
//! machine: changing one needs a new state-machine version.
//!
//! The bounds of requests are `proto::check`'s; those here are of stored rows and of answers.

use proto::check::{APPEND_SUFFIX_BYTES, DATA_BYTES_MAX, KEY_BYTES_MAX, TXN_BYTES_MAX, TXN_PARTS_MAX};

/// The last version of the rules by which entries can be applied here. A group begins with [`VERSION_FIRST`], and its leader raises
/// it by an entry when every member can run more.
pub const STATE_MACHINE_VERSION: u32 = 4;
/// The version that every log begins with, whatever program applies it.
pub const VERSION_FIRST: u32 = 1;
/// The version from which on transactions see log time.
pub const VERSION_OF_TIMES: u32 = 2;
/// The version from which on an append may have its offset within its key.
pub const VERSION_OF_PLACED_APPENDS: u32 = 3;
/// The version from which on a group can stand still for a cut of all groups.
pub const VERSION_OF_CUTS: u32 = 4;
/// Bytes of a cut's id.
pub const CUT_ID_BYTES: usize = 16;

/// Bytes of a key of the table: LMDB's own limit.
pub const TABLE_KEY_BYTES_MAX: usize = 511;
/// The default size of the memory map: address space, not memory.
pub const MAP_BYTES_DEFAULT: u64 = 16 << 30;
/// Read transactions at once.
pub const READERS_MAX: u32 = 512;

/// Data of records in one answer of a transaction.
pub const RETURNED_DATA_BYTES_MAX: usize = 2 << 20;
/// What an answer may be on the wire: tonic's default.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Bytes of the answers of one batch that is applied, about: the entries after that are applied in the next.
pub const REPLIES_BYTES_MAX: usize = 4 << 20;
/// Bytes of a result beside its key and data: version, timestamp, position, field tags.
pub const RESULT_OVERHEAD_BYTES: usize = 64;
/// Failed guards told of in one answer.
pub const FAILED_GUARDS_MAX: usize = 1_000;
/// Bytes of a page of a scan, beyond its last record.
pub const SCAN_BYTES_MAX: usize = 1 << 20;
/// Bytes of a batch of changes, beyond its last row.
pub const CHANGE_BATCH_BYTES_MAX: usize = 1 << 20;

/// Encoded bytes of an answer that is remembered whole; of a larger one, data and then results are dropped.
pub const REMEMBERED_RESPONSE_BYTES_MAX: usize = 64 << 10;
/// Failed guards kept of an answer that is too large even without data.
pub const REMEMBERED_FAILED_MAX: usize = 64;
/// Remembered answers.
pub const REMEMBERED_COUNT_MAX: u64 = 1_000_000;
/// Their bytes, counted with keys and overhead.
pub const REMEMBERED_BYTES_MAX: u64 = 256 << 20;
/// What a remembered answer takes beside its key and value: its rows in the other spaces.
pub const REMEMBERED_OVERHEAD_BYTES: u64 = 128;
/// How long an answer is remembered if there is room, in log time.
pub const REMEMBERED_MS_MIN: i64 = 24 * 3_600 * 1_000;
/// Answers dropped for age or count by one entry. (For bytes, as many as make room for the entry's own.)
pub const EVICTED_PER_ENTRY_MAX: usize = 4;
/// Answers of a session below its lowest sequence that one entry drops; the rest go with later entries.
pub const SESSION_TRIM_PER_ENTRY_MAX: usize = 64;

/// Rows of the change feed.
pub const CHANGE_ROWS_MAX: u64 = 65_536;
/// Bytes of the change feed.
pub const CHANGE_BYTES_MAX: u64 = 64 << 20;
/// Rows that one entry removes for their number. (For bytes, as many as make room for its own.)
pub const CHANGE_TRIM_PER_ENTRY_MAX: usize = 2;

/// Prepared branches of a group that are not finished.
pub const PREPARED_COUNT_MAX: u64 = 16_384;
/// Bytes of their rows.
pub const PREPARED_BYTES_MAX: u64 = 64 << 20;
/// Decisions of a group that are not forgotten.
pub const DECIDED_COUNT_MAX: u64 = 16_384;
/// Data of records that one prepared branch may return: it goes into the entry of the decision.
pub const BRANCH_RETURNED_BYTES_MAX: usize = 256 << 10;
/// Digits and a sign that a number may take, where additions to it wait.
pub const NUMBER_BYTES_MAX: usize = 20;

/// Bytes of an exported chunk, beyond its last row.
pub const CHUNK_BYTES: usize = 256 << 10;
/// Bytes of a row of the table: the largest is the change row of a transaction.
pub const ROW_BYTES_MAX: usize = 2 << 20;
/// Bytes of an exported chunk: what an importer accepts.
pub const CHUNK_BYTES_MAX: usize = CHUNK_BYTES + ROW_BYTES_MAX;

const _: () = assert!(KEY_BYTES_MAX + 16 < TABLE_KEY_BYTES_MAX, "room for what the store puts before keys");
const _: () = assert!(
    TXN_BYTES_MAX + TXN_PARTS_MAX * (RESULT_OVERHEAD_BYTES + APPEND_SUFFIX_BYTES) + RETURNED_DATA_BYTES_MAX
        < ANSWER_BYTES_MAX,
    "every answer fits on the wire"
);
const _: () = assert!(DATA_BYTES_MAX <= RETURNED_DATA_BYTES_MAX, "any single record can be returned");
const _: () = assert!(
    REMEMBERED_FAILED_MAX * (KEY_BYTES_MAX + RESULT_OVERHEAD_BYTES) < REMEMBERED_RESPONSE_BYTES_MAX,
    "what is left of a trimmed answer fits"
);
const _: () = assert!((REMEMBERED_RESPONSE_BYTES_MAX as u64) < REMEMBERED_BYTES_MAX);
const _: () = assert!(TXN_BYTES_MAX + TXN_PARTS_MAX * 32 < ROW_BYTES_MAX, "the largest change row fits");
const _: () = assert!(DATA_BYTES_MAX + KEY_BYTES_MAX < ROW_BYTES_MAX, "the largest record fits");
const _: () = assert!((ROW_BYTES_MAX as u64) < CHANGE_BYTES_MAX);
const _: () = assert!(BRANCH_RETURNED_BYTES_MAX <= RETURNED_DATA_BYTES_MAX);
const _: () = assert!(8 + 2 + KEY_BYTES_MAX + 8 + 2 <= TABLE_KEY_BYTES_MAX, "the key of a lock's row fits");
