//! Every bound of the engine, and how they hang together.

pub use store_core::limits::MEMBERS_MAX;

/// An encoded command at most. Portals bind themselves to less; this is what fits in one message with its header.
pub const COMMAND_BYTES_MAX: usize = 1 << 20;
/// Writes of a leader's clients from admission until they are applied, at most: uncommitted, or behind its applier.
pub const WRITES_WAITING_MAX: usize = 16 * 1_024;
/// Their bytes, at most.
pub const WRITE_BYTES_WAITING_MAX: usize = 16 << 20;
/// Appends that are not committed, from which on commands are kept back for the next one.
pub const APPENDS_AT_ONCE: usize = 2;
/// Bytes of commands that are not kept back any longer: a message full of them costs more than its round.
pub const APPEND_BYTES_FULL: usize = 256 << 10;
/// Reads that wait for their barrier, at most.
pub const READS_WAITING_MAX: usize = 64 * 1_024;
/// Entries in one append message, at most.
pub const MESSAGE_ENTRIES_MAX: usize = 1_024;
/// Bytes of entries in one append message, at most, if it is more than one entry.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Entries applied in one table transaction, at most.
pub const APPLY_ENTRIES_MAX: usize = 1_024;
/// Bytes of entries applied in one table transaction, at most, if it is more than one entry.
pub const APPLY_BYTES_MAX: usize = 4 << 20;
/// Bytes of recent entries kept in memory for replicators and applier; entries not yet written are kept beyond it.
pub const CACHE_BYTES_MAX: usize = 32 << 20;
/// Clocks that are no further from each other than this agree.
pub const CLOCKS_AGREE_MS: u64 = 10_000;
/// What a member told of its clock and its program is believed for so long.
pub const MEMBER_TOLD_MS_MAX: u64 = 10_000;
/// A new leader may carry log time ahead by this much where the voters' clocks are apart.
pub const LOG_TIME_JUMP_MS_MAX: i64 = 3_600_000;
/// Bytes that a replica has handed to its writer and that are not durable, at most; appends beyond are dropped as if
/// the network had lost them, and the leader resends them.
pub const REPLICA_BYTES_UNWRITTEN_MAX: usize = 64 << 20;
/// Messages of peers that wait while a ballot is being saved, at most; those beyond are lost, as in a network.
pub const SAVING_MESSAGES_MAX: usize = 1_024;
/// Bytes of their entries, at most.
pub const SAVING_BYTES_MAX: usize = 8 << 20;
/// Operators that wait for one quarantine to be durable, at most.
pub const RESYNCING_MAX: usize = 64;
/// Ticks between looks at the room that is left.
pub const HEADROOM_TICKS: u32 = 10;
/// The part of half of its reserve that a replica still fills with entries when it is down to that half.
pub const LOW_SHARE: u64 = 8;
/// Bytes that an entry counts for beside its payload, where room is scarce.
pub const ENTRY_BYTES_BESIDE: usize = 64;
/// Ticks before a log that could not be rolled is rolled again.
pub const ROLL_PAUSE_TICKS: u32 = 100;
/// Ticks without a word from a replica after which a leader keeps no log for it.
pub const PEER_SILENT_TICKS_MAX: u32 = 1_000;
/// Ticks between two times that a leader gives its place away for lack of space.
pub const TRANSFER_TICKS: u32 = 1_000;

const _: () =
    assert!(REPLICA_BYTES_UNWRITTEN_MAX >= 2 * WRITE_BYTES_WAITING_MAX, "a leader's load fits a replica");
const _: () = assert!(MESSAGE_BYTES_MAX < SAVING_BYTES_MAX, "any message can wait for a ballot");
const _: () = assert!(COMMAND_BYTES_MAX <= MESSAGE_BYTES_MAX, "a message holds the largest command");
const _: () = assert!(MESSAGE_BYTES_MAX <= APPLY_BYTES_MAX, "a batch applied holds any message");
const _: () = assert!(WRITE_BYTES_WAITING_MAX < CACHE_BYTES_MAX, "what waits to be applied stays in memory");
const _: () = assert!(APPLY_ENTRIES_MAX <= WRITES_WAITING_MAX, "the applier can work in full batches");
const _: () = assert!(COMMAND_BYTES_MAX <= WRITE_BYTES_WAITING_MAX, "the largest command can be admitted");
const _: () =
    assert!(COMMAND_BYTES_MAX <= store_log::limits::ENTRY_PAYLOAD_BYTES_MAX, "the log takes any command");
