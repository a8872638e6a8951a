//! Every bound of the protocol, and their relations. A configurable bound has its default here.

/// Members of one group, learners and outgoing voters included.
pub const MEMBERS_MAX: usize = 15;

/// The last epoch and the last offset that a message may name: no election and no log comes near, and what is
/// computed from them never overflows.
pub const EPOCH_MAX: u64 = 1 << 62;

/// A message of an epoch that is further beyond a replica's own is not believed: at ten elections a second it would have been
/// away for more than ten years. A replica that was away for a year comes back.
pub const EPOCH_JUMP_MAX: u64 = 1 << 32;

const _: () = assert!(EPOCH_JUMP_MAX < EPOCH_MAX, "a jump is refused before the last epoch is reached");

/// See [`EPOCH_MAX`].
pub const OFFSET_MAX: u64 = 1 << 62;

/// Ticks between heartbeats of an idle leader (a tick is 10 ms by default).
pub const TICKS_HEARTBEAT: u32 = 5;

/// The shortest election timer. A follower that heard its leader within it refuses to vote.
pub const TICKS_ELECTION_MIN: u32 = 30;

/// The longest election timer.
pub const TICKS_ELECTION_MAX: u32 = 60;

/// Doublings of the election timers where elections come to nothing, at most: eight times as long, 2.4 to 4.8 s with the defaults.
pub const ELECTION_DOUBLINGS: u64 = 3;

/// Entries on their way to one replica without an ack: the pipeline's depth.
pub const ENTRIES_IN_FLIGHT_MAX: u64 = 16_384;

/// Election timers (the longest) without any ack while entries are in flight, before the leader probes anew.
pub const STALLED_TIMERS: u32 = 4;

/// Election timers (the shortest) without a step of an applier that has work, before the disk counts as one that hangs;
/// and (the longest) for which a disk that hung is not relied on, the first time.
pub const HANG_TIMERS: u32 = 10;

/// Election timers (the longest) for which whoever was given leadership keeps it though another node is preferred, a minute with
/// the defaults: an operator who moved it has a use for that, and a node that stops is not given back what it gave away.
pub const PREFERENCE_RESTS_TIMERS: u32 = 100;

/// Ticks after which a disk that hung is as good as any other: an hour of ticks of 10 ms. It is never distrusted for longer.
pub const TICKS_HANG_REMEMBERED: u32 = 360_000;

/// Checkpoints of its state that a replica remembers.
pub const CHECKPOINTS_KEPT: usize = 64;

/// Offsets between two checkpoints.
pub const CHECKPOINT_EVERY: u64 = 1_024;

/// Heartbeats that ask for one checkpoint, if there is a newer one and somebody does not answer.
pub const HEARTBEATS_COMPARED: u32 = 100;

const _: () = assert!(
    CHECKPOINT_EVERY * (CHECKPOINTS_KEPT as u64) >= ENTRIES_IN_FLIGHT_MAX,
    "a replica that keeps up still has the checkpoint that its leader asks for"
);
const _: () = assert!(
    HANG_TIMERS * TICKS_ELECTION_MAX < TICKS_HANG_REMEMBERED,
    "a disk that hangs again is distrusted for longer"
);
const _: () = assert!(
    TICKS_ELECTION_MIN >= 3 * TICKS_HEARTBEAT,
    "two lost heartbeats in a row must not start an election"
);
const _: () = assert!(
    TICKS_ELECTION_MAX >= TICKS_ELECTION_MIN + TICKS_ELECTION_MIN / 2,
    "timers must spread, or candidates split the vote again and again"
);
