//! The messages between the stages: one closed enum in and one out for each. No behaviour here.
//!
//! Request ids are the driver's: it makes them (unique over the life of a replica), the engine gives each back once.

use bytes::Bytes;
use store_core::{
    Ballot, ChangeRefusal, Checkpoint, Divergence, Entry, Epoch, Fatal, Member, MemberChange, Message,
    NodeId, Offset, Position, RoleView, WriteSeq,
};
use store_log::Quarantine;

use crate::peer_job::ToPeer;

/// A client's request, numbered by the driver; unique over the life of a replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

impl RequestId {
    /// Of what the node proposes itself: answered to nobody. A driver gives it to none.
    pub const NOBODY: RequestId = RequestId(0);
}

/// The node's jobs.
#[derive(Clone, PartialEq, Debug)]
pub enum Job {
    /// One tick of time.
    Tick,
    /// A client wants this command executed.
    Write {
        /// Answered once, by the node or by the applier.
        request_id: RequestId,
        /// An encoded `proto::store::Command`, at most [`crate::limits::COMMAND_BYTES_MAX`].
        command: Bytes,
    },
    /// An operator wants an audit or a cut, or transactions over several groups are to end: this command is written even where writes
    /// are refused because the replicas have different states.
    WriteAnyway {
        /// Answered once, by the node or by the applier.
        request_id: RequestId,
        /// An encoded `proto::store::Command`.
        command: Bytes,
    },
    /// A client wants to read linearizably: answered with [`Answer::ReadReady`] when the table may be read.
    Read {
        /// Answered once, by the node.
        request_id: RequestId,
    },
    /// A message from another replica, whose cluster, group and incarnation the driver has checked. Made by
    /// [`crate::convert`].
    Peer {
        /// The sender: its folder, by its introduction.
        from: Member,
        /// What it says.
        message: Message,
        /// With [`Message::Append`]: its entries, exactly those that its runs describe. Otherwise empty.
        entries: Vec<Entry<Bytes>>,
    },
    /// The push stream to a peer was opened anew, or its replicator found its entries purged: what was in flight may
    /// be gone.
    Reconnected {
        /// Which peer.
        peer: NodeId,
    },
    /// A peer says whether it is out of space on its disk or in its table.
    PeerHeadroom {
        /// Which peer.
        peer: NodeId,
        /// It has less than its reserve.
        is_out_of_space: bool,
    },
    /// A peer tells its wall clock, in a vote or an ack: before the message that it came with.
    PeerClock {
        /// Which peer.
        peer: NodeId,
        /// Milliseconds since 1970.
        wall_ms: i64,
    },
    /// A peer tells the last version of the state machine that its program can run.
    PeerVersion {
        /// Which peer.
        peer: NodeId,
        /// The version.
        version: u32,
    },
    /// From the ballot's writer: this ballot is durable.
    BallotSaved {
        /// The ballot.
        ballot: Ballot,
    },
    /// From the writer: this write and all before it are durable.
    Persisted {
        /// The write.
        write: WriteSeq,
        /// Bytes in the log since it was last rolled.
        bytes_since_roll: u64,
    },
    /// From the writer: the log begins after this now.
    Purged {
        /// The last offset that is gone.
        up_to: Offset,
        /// The newest snapshot, which covers it.
        snapshot: Position,
    },
    /// From the applier.
    Applied(Applied),
    /// From the writer: a new file begins after this offset.
    Rolled {
        /// The last offset of the file that ended.
        at: Offset,
        /// X of the new `log.X`, and of the snapshot of exactly `at`.
        number: u64,
    },
    /// From the writer: there was no space for another file, or its number is taken by a snapshot that is arriving.
    RollFailed {
        /// The offset asked for.
        at: Offset,
    },
    /// From the background thread: the snapshot asked for is written, durable and verified.
    SnapshotTaken {
        /// Its position.
        position: Position,
    },
    /// From the background thread: it could not be written; the next one will be tried in its turn.
    SnapshotFailed {
        /// The position asked for.
        position: Position,
    },
    /// A snapshot was fetched from the leader; it is durable, verified and has its name.
    SnapshotFetched {
        /// Its position.
        position: Position,
        /// X of its `snap.X` here.
        number: u64,
    },
    /// From the applier: the table is the fetched snapshot now.
    Imported(Imported),
    /// From the applier: a checkpoint of the state.
    Checkpoint(Checkpoint),
    /// A quarantined replica has fetched a snapshot whose last entry is in its log; it is verified and waits under the name
    /// of a transfer.
    ReplacementFetched {
        /// Its position.
        position: Position,
    },
    /// From the writer: that snapshot has its name, in the place of a wrong one.
    Adopted {
        /// Its position.
        position: Position,
        /// X of its `snap.X`.
        number: u64,
    },
    /// From the writer: there was no space for it. Another is fetched.
    NotAdopted,
    /// From the applier: the table of a quarantined replica is that snapshot now.
    Replaced(Imported),
    /// From the writer: the quarantine is durable.
    QuarantineSaved,
    /// From the writer: the wrong snapshots and the quarantine are gone.
    Released,
    /// An operator says that the table here is wrong. Answered at once, with [`Answer::Resyncing`] or
    /// [`Answer::CannotResync`].
    Resync {
        /// Answered once, by the node.
        request_id: RequestId,
    },
    /// Somebody asked for a snapshot of at least this offset, and there is none.
    SnapshotWanted {
        /// The offset.
        at: Offset,
    },
    /// From the writer: the log begins after this position now and is empty.
    Reset {
        /// The snapshot's position.
        after: Position,
    },
    /// From the writer: bytes free on the file system.
    DiskHeadroom {
        /// How many.
        free_bytes: u64,
    },
    /// Give leadership away (answered by [`NodeOut::Role`] or [`NodeOut::TransferFailed`]).
    TransferLeadership {
        /// To whom; `None`: the most advanced voter.
        to: Option<NodeId>,
    },
    /// Change who is a member: answered once, when the whole change is committed, or when it was not begun.
    ChangeMembers(ChangeRequest),
    /// Planted fault for demonstrations: keep commit orders back, or stop doing so.
    HoldCommit {
        /// Keep them back?
        hold: bool,
    },
}

/// A change of members that a client asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangeRequest {
    /// Answered once, with [`Answer::Changed`] or [`Answer::ChangeRefused`].
    pub request_id: RequestId,
    /// What is asked for.
    pub change: MemberChange,
    /// Where a learner that is added is reached (`host:port`); otherwise empty.
    pub address: String,
}

/// Where the applier stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// The last applied entry.
    pub position: Position,
    /// The offset of the last entry that changed a record: what a publisher must reach.
    pub last_change: Offset,
    /// Running hash of all effects up to `position`.
    pub state_hash: u64,
    /// The version of the rules by which entries are applied from here on.
    pub version: u32,
    /// The group stands still for a consistent view of all groups.
    pub is_frozen: bool,
}

/// What an imported snapshot holds besides records.
#[derive(Clone, PartialEq, Debug)]
pub struct Imported {
    /// X of its `snap.X`.
    pub number: u64,
    /// Its position, which is what is applied now.
    pub position: Position,
    /// The checkpoints that it brings, oldest first.
    pub checkpoints: Vec<Checkpoint>,
    /// The timestamp of the last entry that it contains.
    pub log_time_ms: i64,
    /// The offset of the entry that set the membership.
    pub membership_offset: Offset,
    /// The membership in force there.
    pub membership: proto::store::Membership,
}

/// What the node wants done.
#[derive(Clone, PartialEq, Debug)]
pub enum NodeOut {
    /// For the ballot's writer: save this, then say [`Job::BallotSaved`]. Of several that wait only the last counts.
    SaveBallot(Ballot),
    /// For the writer, in order.
    Write(WriterJob),
    /// For the applier, in order.
    Apply(ApplierJob),
    /// For a peer, or of one.
    Peer(ToPeer),
    /// A request id's answer.
    Answer {
        /// Whose.
        request_id: RequestId,
        /// What.
        answer: Answer,
    },
    /// The leader, as this replica sees it, has changed.
    Role(RoleView),
    /// Another membership is in force (with the addresses of its members).
    Members(proto::store::Membership),
    /// The leadership transfer asked for was given up.
    TransferFailed,
    /// The table is wrong from here on, or right again: whether it may be read, and why not.
    Quarantined(Option<Quarantine>),
    /// Something that an operator should know; writes may go on.
    Report(Report),
    /// Going on would break a promise: end the process.
    Fatal(Fatal),
}

/// What the node says of a request id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Read: the table may be read now; everything up to `at` is applied.
    ReadReady {
        /// The offset that the barrier asked for.
        at: Offset,
    },
    /// Never executed here: another replica leads, or none.
    NotLeader {
        /// The epoch known here.
        epoch: Epoch,
        /// The leader, if known.
        leader: Option<NodeId>,
    },
    /// Never executed: try again later.
    Overloaded(Shortage),
    /// Never executed: the command is larger than [`crate::limits::COMMAND_BYTES_MAX`] or empty.
    BadSize {
        /// Its size.
        bytes: usize,
    },
    /// Write or change of members: leadership was lost while it was in the log without being committed. It may yet
    /// happen, or not.
    Unknown,
    /// Change of members: it is committed.
    Changed {
        /// The offset of the membership that it led to.
        at: Offset,
    },
    /// Change of members: it was not begun.
    ChangeRefused(ChangeRefusal),
    /// Write, never executed: the replicas have different states at this offset, and no majority has the same.
    Diverged {
        /// The offset.
        at: Offset,
    },
    /// Resync: the quarantine is durable.
    Resyncing,
    /// Resync: nothing was done. This replica leads (true), or knows no leader.
    CannotResync {
        /// It leads.
        leads: bool,
    },
}

/// What there is too little of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shortage {
    /// Places for requests that wait.
    Places,
    /// Bytes for writes that wait.
    Bytes,
    /// Headroom on the disk, above the reserve.
    Disk,
    /// Headroom in the table, above the reserve.
    Table,
    /// Headroom on so many replicas that no majority has any.
    Majority,
}

impl Shortage {
    /// The reason that a caller is told: what passes by itself, and what somebody must mend.
    #[must_use]
    pub const fn reason(self) -> proto::store::FailureReason {
        match self {
            Shortage::Places | Shortage::Bytes => proto::store::FailureReason::Overloaded,
            Shortage::Disk | Shortage::Table | Shortage::Majority => proto::store::FailureReason::OutOfSpace,
        }
    }
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Shortage::Places => "too many requests wait",
            Shortage::Bytes => "too many bytes wait to be written",
            Shortage::Disk => "the disk is full up to its reserve",
            Shortage::Table => "the database is full up to its reserve: raise store.map_bytes, or the largest file that the process may write (ulimit -f)",
            Shortage::Majority => {
                "on a majority of the replicas the disk or the database is full up to its reserve"
            }
        })
    }
}

/// What an operator should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// A majority of the voters says that it is more than an hour later than the log, and their clocks do not agree; log time
    /// goes on from the log's last timestamp.
    ClockJump {
        /// The log's last timestamp.
        last_log_time_ms: i64,
        /// The time by their clocks.
        time_ms: i64,
    },
    /// Writes are refused for lack of space; with another voter at hand, leadership is transferred.
    OutOfSpace(Shortage),
    /// There is room again.
    HeadroomAgain,
    /// This leader thinks so of the replicas' states now.
    Divergence(Divergence),
    /// The store under the table reports this damage, and the replica goes on with it, since nobody else can lead; `None`: no
    /// longer.
    Damage(Option<String>),
    /// A member named an epoch that no election can have reached: it was not believed.
    EpochRefused {
        /// The member.
        from: NodeId,
        /// The epoch.
        epoch: Epoch,
    },
}

/// The writer's jobs.
#[derive(Clone, PartialEq, Debug)]
pub enum WriterJob {
    /// Append these.
    Append {
        /// The number to report.
        write: WriteSeq,
        /// Consecutive entries that continue the log.
        entries: Vec<Entry<Bytes>>,
        /// A commit mark that rides along: recovery applies up to here.
        committed: Offset,
    },
    /// Cut off this entry and all after it.
    Truncate {
        /// The first to go.
        from: Offset,
        /// What is known to be committed, and so never cut.
        committed: Offset,
    },
    /// Begin a new file after this offset, the last of the log.
    Roll {
        /// The last offset of the file that ends.
        at: Offset,
    },
    /// A verified snapshot of this position is there: remove files that nobody needs any more.
    Purge {
        /// The snapshot's position.
        snapshot: Position,
        /// The log after this offset is still to be pushed to a replica that answers; `Offset(u64::MAX)`: to none.
        peers: Offset,
    },
    /// A fetched snapshot turned out not to be needed: remove it.
    Discard {
        /// X of its `snap.X`.
        number: u64,
    },
    /// Say how much room there is on the file system.
    Measure,
    /// Forget that the log lost a tail.
    Trust,
    /// The table is wrong: make that durable, then say [`Job::QuarantineSaved`].
    Quarantine(Quarantine),
    /// The snapshot that a quarantined replica has fetched gets its name.
    Adopt {
        /// Its position.
        position: Position,
    },
    /// It turned out not to be needed: remove it.
    Unstage,
    /// The table was replaced by this snapshot: remove all others, then the quarantine.
    EndQuarantine {
        /// X of its `snap.X`.
        number: u64,
    },
    /// A fetched snapshot of this position is in the table: forget the whole log, and begin after it.
    Reset {
        /// X of the `log.X` to begin, and of the snapshot.
        number: u64,
        /// The snapshot's position.
        after: Position,
        /// The timestamp of the last entry in it.
        log_time_ms: i64,
    },
}

/// The applier's jobs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ApplierJob {
    /// Entries up to here are committed and durable here.
    Commit {
        /// The last.
        up_to: Position,
        /// The requests that wait for them, by offset, rising.
        request_ids: Vec<(Offset, RequestId)>,
    },
    /// Stop when exactly this offset is applied, and say [`Pause::Snapshot`].
    SnapshotAt {
        /// The offset; not yet passed.
        at: Offset,
    },
    /// The log rolled where a stop was asked for: the snapshot there is `snap.X` of this number.
    SnapshotAs {
        /// X.
        number: u64,
    },
    /// The offset asked for was truncated, or the log could not roll there: do not stop.
    CancelSnapshot,
    /// The table is wrong: neither apply to it nor take snapshots of it until it is replaced.
    Quarantine,
    /// Replace the wrong table by a snapshot of this position, from which the log goes on.
    Replace {
        /// The snapshot's position.
        position: Position,
        /// X of its `snap.X`.
        number: u64,
    },
    /// Replace the table by the fetched snapshot of this position.
    Install {
        /// The snapshot's position.
        position: Position,
        /// X of its `snap.X`.
        number: u64,
    },
}

/// What the applier says.
#[derive(Clone, PartialEq, Debug)]
pub enum ApplierOut {
    /// For the node (as [`Job::Applied`]), and for reads that wait for an offset, and the publisher.
    Applied(Applied),
    /// For the node (as [`Job::Imported`]).
    Imported(Imported),
    /// For the node (as [`Job::Checkpoint`]).
    Checkpoint(Checkpoint),
    /// For the node (as [`Job::Replaced`]).
    Replaced(Imported),
    /// What became of a request id's command.
    Answer {
        /// Whose.
        request_id: RequestId,
        /// What.
        reply: Reply,
    },
    /// The applier has paused, and applies nothing until [`crate::Applier::resume`].
    Paused(Pause),
}

/// A position that is applied, and nothing after it, so that it can be read: open a read transaction, *then* resume.
#[derive(Clone, PartialEq, Debug)]
pub enum Pause {
    /// An audit entry is applied.
    Audit {
        /// The audit's id.
        id: Bytes,
        /// Which keys the auditor wants.
        prefixes: Vec<Bytes>,
        /// The entry's position.
        position: Position,
        /// Running hash of all effects there.
        state_hash: u64,
    },
    /// The offset of a snapshot is applied. Write the snapshot from the read transaction in the background
    /// ([`crate::Snapshots::write`]), then tell the node [`Job::SnapshotTaken`] or [`Job::SnapshotFailed`].
    Snapshot {
        /// The position.
        position: Position,
        /// X of the `snap.X` to write.
        number: u64,
    },
}

/// What became of a command, the same on every replica.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// A transaction was decided, now or earlier.
    Txn(proto::store::TxnResponse),
    /// A question for an outcome was answered.
    Outcome(proto::store::OutcomeResponse),
    /// Branches of transactions that other groups decide: what became of each, in order.
    Prepared(Vec<proto::store::PrepareAnswer>),
    /// Ends of such branches that are done with.
    Finished(Vec<proto::store::FinishAck>),
    /// It was not executed and nothing is remembered: a prepared branch is in the way.
    Locked(proto::store::Holder),
    /// A command without an answer of its own (publish mark, audit, raised version) is applied.
    Done {
        /// Its position.
        position: Position,
    },
    /// It is committed; what became of it is not known here, since the table turned out to be wrong before it came to
    /// it. The same identity settles it elsewhere.
    Unknown,
    /// It was not executed, and never will be under this identity; with `LOCKED`, it may be later.
    Refused {
        /// Where this was decided.
        position: Position,
        /// `INVALID`, `ID_REUSED`, `EXPIRED_ID`, `CLOSED_ID`, `WRONG_ROUTE`, `OVERLOADED` or `LOCKED`.
        reason: proto::store::FailureReason,
        /// For people.
        message: String,
    },
}
